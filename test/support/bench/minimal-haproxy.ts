import { LISTEN } from './bench-table.ts';
import { SERVER_PORT, SERVERS } from './bench-servers.ts';

/** What one would write by hand to reach four servers through HAProxy, and nothing else: the yardstick. */
export const renderMinimal = (vip: string, threads: number): string =>
  `global
  maxconn 4000
  nbthread ${threads}
defaults
  mode http
  timeout connect 250ms
  timeout client 60s
  timeout server 60s
frontend minimal
  bind ${vip}:${LISTEN}
  default_backend servers
backend servers
${SERVERS.map((address, index) => `  server s${index} ${address}:${SERVER_PORT}`).join('\n')}
`;
