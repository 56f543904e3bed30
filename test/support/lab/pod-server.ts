import { createServer } from 'node:http';

/**
 * `pod-server NAME ADDRESS PORT`: answers every request with its name; `/who` also with the caller's address, `/soon` after 10 ms, `/slow` after
 * 2 s. Headers say who is on the other side of the connection, and how many connections there have been.
 */
const [name = '', address = '', port = ''] = process.argv.slice(2);
const DELAYS_MS: Readonly<Record<string, number>> = { '/soon': 10, '/slow': 2_000 };

let connections = 0;
createServer((request, response) => {
  const forwardedFor = request.headers['x-forwarded-for'];
  response.setHeader('x-pod', name);
  response.setHeader('x-peer', String(request.socket.remoteAddress));
  response.setHeader('x-connections', String(connections));
  const answer = request.url === '/who' ? `${name} ${String(forwardedFor)}\n` : `${name}\n`;
  setTimeout(() => response.end(answer), DELAYS_MS[request.url ?? ''] ?? 0);
})
  .on('connection', () => connections++)
  .listen(Number(port), address);
