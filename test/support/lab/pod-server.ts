import { createServer } from 'node:http';

/** `pod-server NAME ADDRESS PORT`: answers every request with its name and the caller's address as the proxy tells it. */
const [name = '', address = '', port = ''] = process.argv.slice(2);

createServer((request, response) => {
  const forwardedFor = request.headers['x-forwarded-for'];
  response.setHeader('x-pod', name);
  response.end(request.url === '/who' ? `${name} ${String(forwardedFor)}\n` : `${name}\n`);
}).listen(Number(port), address);
