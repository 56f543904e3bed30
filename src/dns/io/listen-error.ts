import { listenerKey } from '../../model/proxy.ts';
import type { ListenAddress } from './worker-protocol.ts';

/** A socket of the DNS front could not be bound. `code` is the system's error code; the message ends with the remedy. */
export class ListenError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = 'ListenError';
    this.code = code;
  }
}

/** Says what could not be bound, why, and what to do about it. */
export function buildListenError(transport: 'udp' | 'tcp', at: ListenAddress, cause: NodeJS.ErrnoException): ListenError {
  const code = cause.code ?? 'EUNKNOWN';
  return new ListenError(code, `DNS cannot listen on ${transport} ${listenerKey(at.address, at.port)}: ${explain(code, transport, at, cause)}`);
}

function explain(code: string, transport: 'udp' | 'tcp', at: ListenAddress, cause: Error): string {
  switch (code) {
    case 'EADDRINUSE':
      return `another program has this port (${code}); find it with 'ss -l${transport === 'udp' ? 'u' : 't'}np sport = :${at.port}' and end it, or choose another address with --dns-listen`;
    case 'EACCES':
      return `no privilege for this port (${code}); grant CAP_NET_BIND_SERVICE, or choose a port at or above net.ipv4.ip_unprivileged_port_start with --dns-listen`;
    case 'EADDRNOTAVAIL':
      return `the address is not one of this node's (${code}); make it local first ('ip route replace local POOL dev lo'), or choose another with --dns-listen`;
    case 'EAFNOSUPPORT':
      return `this machine has no such address family (${code}); leave the address out of --dns-listen`;
    default:
      return `${cause.message}; choose another address with --dns-listen`;
  }
}
