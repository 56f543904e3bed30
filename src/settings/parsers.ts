import { isAbsolute, normalize, resolve } from 'node:path';
import ipaddr from 'ipaddr.js';
import { isNamespaceName, isSubdomain } from '../model/names.ts';
import type { ListenAddress, SourceSetting, TrustedCaller } from './settings.ts';

/*
 * One parser per kind of value: text -> value. A parser throws an Error whose message completes the line
 * `--flag: `: it says what is wrong and what is accepted. The caller makes it printable.
 */

/** `on` forms of a switch in the environment; a bare flag means `true`. */
export function parseSwitch(text: string): boolean {
  if (/^(?:true|yes|on|1)$/i.test(text)) return true;
  if (/^(?:false|no|off|0)$/i.test(text)) return false;
  throw new Error(`'${text}' is neither true nor false`);
}

/** A decimal integer within [min, max]. */
export const parseInteger =
  (min: number, max: number, unit: string) =>
  (text: string): number => {
    const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new Error(`'${text}' is not ${unit} from ${min} to ${max}`);
  };

export const parsePort = parseInteger(1, 65535, 'a port');

/** One word of a fixed list. */
export const parseChoice =
  <const Choice extends string>(...choices: readonly Choice[]) =>
  (text: string): Choice => {
    const choice = choices.find((each) => each === text);
    if (choice === undefined) throw new Error(`'${text}' is not one of ${choices.join(', ')}`);
    return choice;
  };

/** `kubernetes` or `dir:PATH`. */
export function parseSource(text: string, workingDirectory: string): SourceSetting {
  if (text === 'kubernetes') return { kind: 'kubernetes' };
  if (!text.startsWith('dir:') || text === 'dir:') throw new Error(`'${text}' is neither kubernetes nor dir:PATH`);
  return { kind: 'dir', path: resolve(workingDirectory, text.slice('dir:'.length)) };
}

export function parseNodeName(text: string): string {
  if (isSubdomain(text)) return text;
  throw new Error(`'${text}' is not a node's name (lower-case letters, digits, '-' and '.'); set --node-name`);
}

/** A DNS name of at least one label, short enough that `<route>.<namespace>.<zone>` stays within 253 octets (RFC 1035 2.3.4). */
export function parseZone(text: string): string {
  const zone = text.toLowerCase().replace(/\.$/, '');
  if (zone === 'arpa' || zone.endsWith('.arpa')) throw new Error(`'${text}' lies in arpa, where the pool's reverse zones are; take another name, for example route.internal`);
  if (isSubdomain(zone) && zone.length <= 253 - 2 * 64) return zone;
  throw new Error(`'${text}' is not a DNS name of at most ${253 - 2 * 64} characters, for example route.internal`);
}

export function parseNamespace(text: string): string {
  if (isNamespaceName(text)) return text;
  throw new Error(`'${text}' is not a namespace's name`);
}

/** `NS[/SA],...`; empty: none. */
export function parseTrustedCallers(text: string): readonly TrustedCaller[] {
  if (text === '') return [];
  return text.split(',').map((part) => {
    const [namespace = '', serviceAccount, ...more] = part.trim().split('/');
    const valid = isNamespaceName(namespace) && (serviceAccount === undefined || isSubdomain(serviceAccount)) && more.length === 0;
    if (!valid) throw new Error(`'${part.trim()}' is not NAMESPACE or NAMESPACE/SERVICEACCOUNT`);
    return serviceAccount === undefined ? { namespace } : { namespace, serviceAccount };
  });
}

/** `ADDR:PORT`, an IPv6 address in brackets: `[::1]:53`. */
export function parseListen(text: string): ListenAddress {
  const parts = /^(?:\[(?<v6>[^\]%]+)\]|(?<v4>[^:]+)):(?<port>\d+)$/.exec(text)?.groups;
  const address = parts?.['v6'] ?? parts?.['v4'] ?? '';
  const valid = parts?.['v6'] === undefined ? ipaddr.IPv4.isValidFourPartDecimal(address) : ipaddr.IPv6.isValid(address);
  if (!valid) throw new Error(`'${text}' is not ADDRESS:PORT (an IPv6 address in brackets: [::1]:53)`);
  return { address: ipaddr.parse(address).toString(), port: parsePort(parts?.['port'] ?? '') };
}

/** `ADDR:PORT[,ADDR:PORT]...`, no two alike. */
export function parseListenList(text: string): readonly ListenAddress[] {
  const list = text.split(',').map((part) => parseListen(part.trim()));
  const twice = list.find((a, i) => list.findIndex((b) => a.address === b.address && a.port === b.port) < i);
  if (twice !== undefined) throw new Error(`${twice.address} port ${twice.port} is given twice`);
  return list;
}

/**
 * A folder that ends up in haproxy.cfg and holds Unix sockets. HAProxy binds them first under a longer temporary name, and a socket's
 * path is at most 107 bytes (unix(7)), so the folder's is at most 80.
 */
export function parseRunDir(text: string, workingDirectory: string): string {
  const path = parsePath(text, workingDirectory);
  if (!/^[\w./@:+,=-]+$/.test(path)) throw new Error(`'${path}' has characters other than letters, digits and . / _ @ : + , = -`);
  if (path.length > 80) throw new Error(`'${path}' is longer than 80 characters; its sockets would not fit a Unix socket address`);
  return path;
}

export function parsePath(text: string, workingDirectory: string): string {
  if (text === '' || text.includes('\0')) throw new Error(`'${text}' is not a path`);
  return isAbsolute(text) ? normalize(text) : resolve(workingDirectory, text);
}

/** A program: a bare name is looked up in PATH later, anything else is a path. */
export const parseProgram = (text: string, workingDirectory: string): string =>
  text !== '' && !text.includes('/') ? text : parsePath(text, workingDirectory);
