import { openBenchHaproxy, type BenchProcess } from './bench-process.ts';
import { join } from 'node:path';

/** Addresses of the servers behind all proxies: four "pods" on loopback, one process. */
export const SERVERS = ['127.88.85.1', '127.88.85.2', '127.88.85.3', '127.88.85.4'] as const;
export const SERVER_PORT = 8080;
const BODY_BYTES = 1024;

/** A HAProxy that answers every request with 1 KB: the fastest server at hand. Node would be slower than the proxies. */
export const openBenchServers = (folder: string, threads: number): Promise<BenchProcess> =>
  openBenchHaproxy(join(folder, 'servers'), renderServers(threads), `http://${SERVERS[0]}:${SERVER_PORT}/`);

const renderServers = (threads: number): string =>
  `global
  maxconn 8000
  nbthread ${threads}
defaults
  mode http
  timeout client 60s
  timeout http-keep-alive 60s
frontend servers
${SERVERS.map((address) => `  bind ${address}:${SERVER_PORT}`).join('\n')}
  http-request return status 200 content-type text/plain string "${'x'.repeat(BODY_BYTES)}"
`;
