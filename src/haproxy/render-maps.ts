import ipaddr from 'ipaddr.js';
import { isBoundByReach } from '../model/regex-reach.ts';
import type { CallerTable, Route } from '../model/route-table.ts';
import { FIRST_MAP } from './plan-servers.ts';
import { label } from './quote.ts';
import { BREAKER_MAP } from './render-breakers.ts';
import { SPILL_MAP } from './render-spill.ts';
import { backendNames, frontendName } from './section-names.ts';

/** Who calls, by source address; changed at run time. */
export const IDENTITY_MAP = 'maps/callers.map';
/** ServiceAccount of each pod of this node, by source address; read only for calls that carry a token. */
export const ACCOUNTS_MAP = 'maps/accounts.map';
export const HOLD_SCRIPT = 'hold.lua';

/** Values of the identity map that are no namespaces (no label begins with @). */
export const UNKNOWN = '@unknown';
export const HOST = '@host';
export const TRUSTED = '@trusted';

/**
 * Bounds a match of a tenant's regex at one position of the value; `regex-reach` bounds the value. Without them a hostile pattern starves
 * the node for tens of ms per request.
 * PCRE2 takes the lower value when the pattern brings its own (pcre2pattern, "Setting match resource limits").
 */
export const MATCH_LIMIT = '(*LIMIT_MATCH=1000)';
/** Where the length of the value bounds the match: too high to be met, since a match that meets its limit is none. */
const WIDE_MATCH_LIMIT = '(*LIMIT_MATCH=100000)';

/** `maps/shop.cart.denied.map`: the exceptions. Its meaning is in its name, so a live change can never turn it over. */
export const exceptionsMap = (route: Route): string =>
  `maps/${frontendName(route)}.${route.access.defaultAllow ? 'denied' : 'allowed'}.map`;
export const sharesMap = (route: Route): string => `maps/${frontendName(route)}.shares.map`;
export const headerMap = (route: Route): string => `maps/${frontendName(route)}.header.map`;
/** How long a header's value may be to be matched: `0:REACH 1`. */
export const reachMap = (route: Route): string => `maps/${frontendName(route)}.reach.map`;

/** Maps of an ACL's exceptions. */
export const isAclMap = (file: string): boolean => /\.(?:denied|allowed)(?:-accounts)?\.map$/.test(file);

/**
 * Maps that only mean something to the rules that the route has: which version, how long a header's value may be for that, and a rate,
 * whose unit stands in the rules.
 */
export const isRuleMap = (file: string): boolean => /\.(?:shares|header|reach|rate)\.map$/.test(file);

/** Maps that hold a limit of connections, which means the same to any rules. */
const isLimitMap = (file: string): boolean => file.endsWith('.limit.map');

/** True for the maps that are brought to a running worker by commands; a change of any other file needs a reload. */
export const isLiveMap = (file: string): boolean =>
  file === IDENTITY_MAP || file === ACCOUNTS_MAP || file === BREAKER_MAP || file === SPILL_MAP || file === FIRST_MAP || isAclMap(file) || isRuleMap(file) || isLimitMap(file);

/** Why a pattern cannot stand in a map file: its key ends at the first blank, and the file at a line's end. */
export function unfitForMap(pattern: string): string | undefined {
  if (pattern === '') return 'an empty regular expression matches nothing here';
  if (/[ \t]/.test(pattern)) return String.raw`a literal blank; write \x20`;
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(pattern)) return String.raw`a control character; write it as \xHH`;
  return undefined;
}

const lines = (entries: readonly (readonly [key: string, value: string])[]): string =>
  entries.map(([key, value]) => `${key} ${value}\n`).join('');

/**
 * The identity map (`map_ip` takes the longest prefix): pods by address, then prefixes.
 * An address that is none is left out: one bad line would refuse the whole file.
 */
export function renderIdentities(callers: CallerTable): string {
  const pods = callers.pods.map((pod) => [pod.address, pod.trusted ? TRUSTED : label(pod.namespace)] as const);
  const unknown = callers.unknownPrefixes.map((prefix) => [prefix, UNKNOWN] as const);
  const host = callers.hostPrefixes.map((prefix) => [prefix, HOST] as const);
  return lines([...pods, ...unknown, ...host].filter(([key]) => ipaddr.isValid(key) || ipaddr.isValidCIDR(key)));
}

/** The ACL's exceptions by source address. */
export const renderExceptions = (route: Route): string =>
  lines(route.access.exceptions.filter((address) => ipaddr.isValid(address)).map((address) => [address, 'exception']));

/** Draws of a route whose shares are counts of endpoints: a fixed number, so that the rule stays as it is while endpoints come and go. */
const DRAWS = 1_000_000;

/** Upper bound of a route's random draw. */
export const drawsOf = ({ rule, choice }: Route): number => (rule.type === 'Percentage' && choice.kind === 'weighted' ? choice.total : DRAWS);

/** Share of each version as ranges of `rand(draws)`: `0:49 shop.cart.v1`. */
export function renderShares(route: Route): string {
  const { choice } = route;
  if (choice.kind !== 'weighted') return '';
  const names = backendNames(route);
  const draws = drawsOf(route);
  let from = 0;
  const entries: [string, string][] = [];
  for (const { below, version } of choice.shares) {
    const name = names[version];
    const to = Math.round((below / choice.total) * draws);
    if (name !== undefined && to > from) entries.push([`${from}:${to - 1}`, name]);
    from = Math.max(from, to);
  }
  return lines(entries);
}

/** Regex per version, in order: the first that matches wins. A version without a usable regex never matches. */
export function renderHeaderMatches(route: Route): string {
  const names = backendNames(route);
  const limit = isBoundByReach(route.versions) ? WIDE_MATCH_LIMIT : MATCH_LIMIT;
  return lines(
    route.versions.flatMap((version, index) => {
      const name = names[index];
      const usable = version.match !== undefined && unfitForMap(version.match) === undefined;
      return name !== undefined && usable ? [[`${limit}${version.match}`, name] as const] : [];
    }),
  );
}

/**
 * Holds a caller without identity for up to 2 s: pods may call before the API server shows their address.
 * Reads the live map, so an identity added at run time ends the wait. At most 500 waits begin per second on the node;
 * strangers above that are refused at once, so a flood cannot keep thousands of coroutines.
 */
export const renderHoldScript = (): string => `-- Holds callers whose address is not known yet: looks again for up to 2 s.
local callers = Map.new("${IDENTITY_MAP}", Map._ip)
local WAITS_PER_SECOND = 500
local second, begun = 0, 0

local function known(txn)
  local who = callers:lookup(txn.f:src())
  if who == nil or who == "${UNKNOWN}" then return false end
  txn:set_var("sess.caller", who)
  return true
end

core.register_action("hold_unknown", { "http-req", "tcp-req" }, function(txn)
  if known(txn) then return end
  local now = core.now().sec
  if now ~= second then second, begun = now, 0 end
  begun = begun + 1
  if begun > WAITS_PER_SECOND then return end
  for _ = 1, 40 do
    core.msleep(50)
    if known(txn) then return end
  end
end)
`;
