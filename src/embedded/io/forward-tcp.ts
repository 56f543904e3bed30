import net from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { once } from 'node:events';
import type { Endpoint, Route, Version } from '../../model/route-table.ts';
import type { CallTrace } from './call-trace.ts';
import type { ForwardTools } from './forward-http.ts';
import { joinSockets } from './join-sockets.ts';

const SAME_SERVER_PAUSE_MS = 200;

/** Joins a client's connection with the first server of the version that can be connected; none: the client is closed (`connect-failed`). */
export async function forwardTcp(client: Socket, route: Route, version: Version, hashKey: string | undefined, trace: CallTrace, tools: ForwardTools): Promise<void> {
  client.pause();
  const { servers, spilled } = tools.pool.order(version, hashKey);
  const attempts = route.retries.on.includes('connect-failure') ? route.retries.attempts : 0;
  for (let attempt = 0; attempt <= attempts && !client.destroyed; attempt++) {
    const server = servers[attempt % servers.length];
    if (server === undefined) break;
    if (attempt >= servers.length) await delay(SAME_SERVER_PAUSE_MS);
    const done = tools.pool.begin(server);
    trace.tries(server);
    try {
      const upstream = await connect(server, route.timeout.connectMs);
      trace.connected();
      tools.counters.addForwarded(route, version, server, spilled);
      await joinSockets(client, upstream, (socket) => trace.aborted(socket === client ? 'client' : 'server'));
      trace.bytesOut = upstream.bytesRead;
      return;
    } catch {
      tools.pool.connectFailed(server);
    } finally {
      done();
    }
  }
  if (!client.destroyed) {
    trace.refused('connect-failed');
    tools.counters.add('connect-failed');
  }
  client.destroy();
}

async function connect(server: Endpoint, connectMs: number): Promise<Socket> {
  const socket = net.connect({ host: server.address, port: server.port, allowHalfOpen: true, noDelay: true });
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(connectMs) });
    return socket;
  } catch (error) {
    socket.on('error', () => {});
    socket.destroy();
    throw error;
  }
}
