import { createServer } from 'node:http';

/** `pod-server NAME ADDRESS PORT`: answers every request with its name; `/who` also with the caller's address, `/slow` after 2 s. */
const [name = '', address = '', port = ''] = process.argv.slice(2);

createServer((request, response) => {
  const forwardedFor = request.headers['x-forwarded-for'];
  response.setHeader('x-pod', name);
  const answer = request.url === '/who' ? `${name} ${String(forwardedFor)}\n` : `${name}\n`;
  setTimeout(() => response.end(answer), request.url === '/slow' ? 2_000 : 0);
}).listen(Number(port), address);
