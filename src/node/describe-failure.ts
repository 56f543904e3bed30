import { listenerKey } from '../model/proxy.ts';
import type { ListeningSocket } from './parse-proc-net.ts';

export type PortFailureCode = 'port-taken' | 'port-denied' | 'port-unavailable';

/** Why a listener cannot be opened. `detail` is one line about it; the owner's pid and program are known only where readable. */
export interface PortFailure {
  readonly code: PortFailureCode;
  readonly detail: string;
  readonly remedy: string;
  /** The program in the way listens on all addresses. */
  readonly everywhere?: boolean;
  readonly uid?: number;
  readonly pid?: number;
  readonly program?: string;
}

/** A process that holds a socket. `program` is its executable's name, chosen by whoever started it: not to be shown unescaped. */
export interface Owner {
  readonly pid: number;
  readonly program: string;
}

/** A listener that a proxy wants to open. */
export interface WantedListener {
  readonly address: string;
  readonly port: number;
}

export const isWildcard = (address: string): boolean => address === '0.0.0.0' || address === '::';

export function describeTaken(wanted: WantedListener, holder: ListeningSocket | undefined, owner: Owner | undefined): PortFailure {
  const by =
    owner !== undefined ? `${owner.program} (pid ${owner.pid})` : holder === undefined ? 'another program' : `a program of uid ${holder.uid}`;
  const everywhere = holder !== undefined && isWildcard(holder.address);
  return {
    code: 'port-taken',
    detail: `port ${wanted.port} on ${wanted.address} is taken by ${by}${everywhere ? ', which listens on all addresses' : ''}`,
    remedy: 'stop that program or bind it to its own address, or choose another port in spec.port.listen',
    ...(everywhere ? { everywhere } : {}),
    ...(holder === undefined ? {} : { uid: holder.uid }),
    ...owner,
  };
}

/** `unprivilegedFrom`: net.ipv4.ip_unprivileged_port_start. */
export function describeDenied(wanted: WantedListener, unprivilegedFrom: number): PortFailure {
  return {
    code: 'port-denied',
    detail: `no permission to listen on ${listenerKey(wanted.address, wanted.port)}`,
    remedy: `set spec.port.listen (or --http-port) to ${unprivilegedFrom} or above, or give the process NET_BIND_SERVICE`,
  };
}

export function describeUnavailable(wanted: WantedListener, errorCode: string): PortFailure {
  return {
    code: 'port-unavailable',
    detail: `${wanted.address} is not an address of this node (${errorCode} on port ${wanted.port})`,
    remedy: 'let the agent install the pool route (NET_ADMIN), or install it yourself (docs/install.md); onehop doctor checks it',
  };
}
