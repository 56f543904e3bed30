import { createServer } from 'node:net';
import type { Route } from '../../model/route-table.ts';
import { bindsOf } from '../render-frontend.ts';

/** True when every listener of the route could be opened now (opened and closed at once). */
export async function canBind(route: Route): Promise<boolean> {
  for (const { address } of bindsOf(route)) if (!(await canListen(address, route.listen))) return false;
  return true;
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
