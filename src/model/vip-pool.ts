import ipaddr from 'ipaddr.js';

/** The addresses that routes get, and those of the infrastructure (the first /24: `.10` DNS, `.11` admin). */
export interface VipPool {
  /** IPv4 CIDR in canonical form, /8../22. */
  readonly cidr: string;
  readonly cidr6?: string;
  /** True when the pool lies in 127/8: nothing has to be installed, and 127.88.0.0/16 are pods. */
  readonly loopback: boolean;
  readonly dnsAddress: string;
  readonly adminAddress: string;
  /** First address a route may get, as a 32-bit number, and how many there are (the broadcast address is left out). */
  readonly first: number;
  readonly size: number;
  /** Set beside `cidr6`: the IPv6 address with the same offset as an IPv4 VIP. */
  readonly base6?: string;
}

export const LOOPBACK_POD_PREFIX = '127.88.0.0/16';
const INFRASTRUCTURE = 256;
const DOT = 46;
const ZERO = 48;
const DOTTED = /^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$/;

/** Dotted IPv4 -> unsigned 32-bit number. The text must be a valid address: called for every endpoint, it checks nothing. */
export function ipv4ToNumber(address: string): number {
  let value = 0;
  let octet = 0;
  for (let i = 0; i < address.length; i++) {
    const code = address.charCodeAt(i);
    if (code === DOT) {
      value = value * 256 + octet;
      octet = 0;
    } else octet = octet * 10 + code - ZERO;
  }
  return value * 256 + octet;
}

/** Unsigned 32-bit number -> dotted IPv4. */
export function numberToIpv4(value: number): string {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.');
}

/**
 * Parses `CIDR[,CIDR6]` (the value of `--vip-pool`).
 * @throws Error with one line that says what is wrong and what is accepted.
 */
export function parseVipPool(text: string): VipPool {
  const [v4, v6, ...more] = text.split(',').map((part) => part.trim());
  if (v4 === undefined || more.length > 0 || !ipaddr.IPv4.isValidCIDRFourPartDecimal(v4)) {
    throw new Error(`'${text}' is not IPV4CIDR[,IPV6CIDR], for example 169.254.192.0/19`);
  }
  const bits = Number(v4.split('/')[1]);
  const network = ipaddr.IPv4.networkAddressFromCIDR(v4).toString();
  if (`${network}/${bits}` !== v4) throw new Error(`'${v4}' has host bits set; write ${network}/${bits}`);
  if (bits < 8 || bits > 22) throw new Error(`'${v4}' is a /${bits}; a pool is /8 to /22 (its first /24 is infrastructure)`);
  const start = ipv4ToNumber(network);
  const loopback = v4.startsWith('127.');
  const pods = ipaddr.IPv4.parseCIDR(LOOPBACK_POD_PREFIX);
  if (loopback && (ipaddr.IPv4.parse(network).match(pods) || pods[0].match(ipaddr.IPv4.parseCIDR(v4)))) {
    throw new Error(`'${v4}' overlaps ${LOOPBACK_POD_PREFIX}, where pods live on loopback; use 127.77.0.0/16`);
  }
  const pool = {
    cidr: v4,
    loopback,
    dnsAddress: numberToIpv4(start + 10),
    adminAddress: numberToIpv4(start + 11),
    first: start + INFRASTRUCTURE,
    size: 2 ** (32 - bits) - INFRASTRUCTURE - 1,
  };
  if (v6 === undefined) return pool;
  if (!ipaddr.IPv6.isValidCIDR(v6)) throw new Error(`'${v6}' is not an IPv6 CIDR`);
  const bits6 = Number(v6.split('/')[1]);
  if (loopback) throw new Error(`an IPv6 pool needs an IPv4 pool outside 127/8: only 127/8 is local by itself`);
  if (bits6 > 128 - (32 - bits)) throw new Error(`'${v6}' is smaller than the IPv4 pool; use a /${128 - (32 - bits)} or larger`);
  const base6 = ipaddr.IPv6.networkAddressFromCIDR(v6).toString();
  return { ...pool, cidr6: `${base6}/${bits6}`, base6 };
}

/** True when `address` (IPv4 or IPv6 text) lies in the pool. Invalid text: false. */
export function poolContains(pool: VipPool, address: string): boolean {
  if (DOTTED.test(address)) {
    const offset = ipv4ToNumber(address) - (pool.first - INFRASTRUCTURE);
    return offset >= 0 && offset <= INFRASTRUCTURE + pool.size;
  }
  return pool.cidr6 !== undefined && ipaddr.IPv6.isValid(address) && ipaddr.IPv6.parse(address).match(ipaddr.IPv6.parseCIDR(pool.cidr6));
}

/** True when a route may hold this IPv4 address: in the pool, outside its first /24, not its last address. */
export function isRouteVip(pool: VipPool, address: string): boolean {
  if (!ipaddr.IPv4.isValidFourPartDecimal(address)) return false;
  const slot = ipv4ToNumber(address) - pool.first;
  return slot >= 0 && slot < pool.size;
}

/** The IPv6 VIP beside an IPv4 VIP: the same offset in the IPv6 pool; undefined without one. */
export function pairedVip6(pool: VipPool, vip: string): string | undefined {
  if (pool.base6 === undefined) return undefined;
  const bytes = ipaddr.IPv6.parse(pool.base6).toByteArray();
  const offset = ipv4ToNumber(vip) - (pool.first - INFRASTRUCTURE);
  for (let i = 0; i < 4; i++) bytes[15 - i] = (bytes[15 - i] ?? 0) + (Math.floor(offset / 256 ** i) % 256);
  return ipaddr.fromByteArray(bytes).toString();
}
