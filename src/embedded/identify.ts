import ipaddr from 'ipaddr.js';
import type { Caller, CallerTable } from '../model/route-table.ts';

/** Who a caller is: by its source address, and by the token that it showed. */
export type CallerIdentity =
  /** `proven`: it showed a token of its own ServiceAccount. */
  | { readonly kind: 'pod'; readonly caller: Caller; readonly proven?: true }
  | { readonly kind: 'host' }
  | { readonly kind: 'unknown' }
  /** Known by a token alone. */
  | { readonly kind: 'account'; readonly namespace: string; readonly serviceAccount: string; readonly trusted: boolean }
  /** `contradicts`: the token is good and names another account than the calling pod has. `why`: one printable line. */
  | { readonly kind: 'bad-token'; readonly contradicts: boolean; readonly why: string };

/** A CallerTable made ready for one look-up per call. Build it with {@link buildCallerIndex}. */
export interface CallerIndex {
  readonly pods: ReadonlyMap<string, Caller>;
  readonly unknownPrefixes: readonly Cidr[];
  readonly hostPrefixes: readonly Cidr[];
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Cidr = readonly [Address, number];

/** Parses an address as sockets report it: IPv4-mapped IPv6 is IPv4, a zone (`%eth0`) is dropped. Undefined: not an address. */
function parseAddress(text: string): Address | undefined {
  const bare = text.split('%', 1)[0] ?? '';
  if (ipaddr.IPv4.isValidFourPartDecimal(bare)) return ipaddr.IPv4.parse(bare);
  return ipaddr.IPv6.isValid(bare) ? ipaddr.process(bare) : undefined;
}

/** One spelling per address: `::ffff:10.0.0.1` is `10.0.0.1`, IPv6 is compressed. Text that is no address stays as it is. */
export const canonicalAddress = (text: string): string => parseAddress(text)?.toString() ?? text;

const within = (address: Address, prefixes: readonly Cidr[]): boolean =>
  prefixes.some(([network, bits]) => network.kind() === address.kind() && address.match([network, bits] as [ipaddr.IPv4, number] & [ipaddr.IPv6, number]));

/** Indexes the callers of one table. Prefixes that are no CIDR are ignored: they can match nobody. */
export function buildCallerIndex(callers: CallerTable): CallerIndex {
  const cidrs = (prefixes: readonly string[]): Cidr[] => prefixes.filter((prefix) => ipaddr.isValidCIDR(prefix)).map((prefix) => ipaddr.parseCIDR(prefix));
  return {
    pods: new Map(callers.pods.map((caller) => [canonicalAddress(caller.address), caller])),
    unknownPrefixes: cidrs(callers.unknownPrefixes),
    hostPrefixes: cidrs(callers.hostPrefixes),
  };
}

/** Identity of a source address: a pod's own address first, then `unknownPrefixes`, then `hostPrefixes`; anything else is unknown. */
export function identify(index: CallerIndex, address: string): CallerIdentity {
  const parsed = parseAddress(address);
  if (parsed === undefined) return { kind: 'unknown' };
  const caller = index.pods.get(parsed.toString());
  if (caller !== undefined) return { kind: 'pod', caller };
  if (within(parsed, index.unknownPrefixes) || !within(parsed, index.hostPrefixes)) return { kind: 'unknown' };
  return { kind: 'host' };
}
