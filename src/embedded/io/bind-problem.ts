import { problem } from '../../model/problem.ts';
import type { Problem } from '../../model/problem.ts';
import type { WantedListener } from '../plan-listeners.ts';

/** The Problem of a route whose listener could not be bound. */
export function bindProblem({ key, route, port }: WantedListener, error: NodeJS.ErrnoException): Problem {
  const object = { kind: 'ServiceRoute', namespace: route.namespace, name: route.name };
  const field = 'spec.port.listen';
  if (error.code === 'EADDRINUSE') {
    return problem({ code: 'port-taken', object, field, message: `${key} is taken by another process`, remedy: `set spec.port.listen to a free port, or end what listens on port ${port} (ss -ltnp 'sport = :${port}')` });
  }
  if (error.code === 'EACCES') {
    return problem({ code: 'port-denied', object, field, message: `${key} may not be bound: port ${port} is privileged`, remedy: 'set spec.port.listen at or above net.ipv4.ip_unprivileged_port_start, or give the agent NET_BIND_SERVICE' });
  }
  return problem({ code: 'listen-failed', object, field, message: `${key} cannot be bound: ${error.code ?? error.message}`, remedy: 'make the VIP pool local on this node (onehop doctor checks it)' });
}
