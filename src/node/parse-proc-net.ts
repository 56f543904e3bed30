import ipaddr from 'ipaddr.js';

/** A TCP socket in LISTEN state. */
export interface ListeningSocket {
  /** `0.0.0.0` and `::` are wildcards. */
  readonly address: string;
  readonly port: number;
  readonly uid: number;
  readonly inode: string;
}

const LISTEN = '0A';

/** Listening sockets in the text of /proc/net/tcp or /proc/net/tcp6 (proc(5)). Lines that do not parse are skipped. */
export function parseListeningSockets(text: string): readonly ListeningSocket[] {
  const sockets: ListeningSocket[] = [];
  for (const line of text.split('\n')) {
    const [, local = '', , state, , , , uid, , inode] = line.trim().split(/\s+/);
    const [hexAddress = '', hexPort = ''] = local.split(':');
    if (state !== LISTEN || inode === undefined || !/^(?:[\dA-F]{8}|[\dA-F]{32})$/.test(hexAddress)) continue;
    sockets.push({ address: decodeAddress(hexAddress), port: Number.parseInt(hexPort, 16), uid: Number(uid), inode });
  }
  return sockets;
}

/**
 * The kernel prints each 32-bit word in host byte order, which is little-endian on every machine that we run on. IPv4 written as IPv6
 * (`::ffff:...`) becomes IPv4.
 */
function decodeAddress(hex: string): string {
  const bytes = Buffer.from(hex, 'hex').swap32();
  return ipaddr.process(ipaddr.fromByteArray([...bytes]).toString()).toString();
}

export interface FdLimits {
  readonly soft: number;
  readonly hard: number;
}

/** The limit of open files in the text of /proc/PID/limits (`unlimited` becomes Infinity); undefined when it is not there. */
export function parseFdLimits(text: string): FdLimits | undefined {
  const found = /^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)\s/m.exec(text);
  const read = (limit: string | undefined): number => (limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit));
  return found === null ? undefined : { soft: read(found[1]), hard: read(found[2]) };
}
