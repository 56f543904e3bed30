// The server of test pods: plain JavaScript without packages, for it runs inside an image.
//
// Environment: POD_NAME, POD_NAMESPACE, NODE_NAME, VERSION (all repeated in answers); PORT (8080); TLS_PORT and ECHO_PORT (off);
// DRAIN_MS (2000): how long it goes on serving after SIGTERM; CALL_LOG (off): a folder, in which it notes each call (not /ready)
// in the file POD_NAME, one a line: ms since 1970, the same as the caller sent it in X-Sent-At (0: it did not), `proxied` or, without
// X-Forwarded-For, `direct`.
//
// GET /...               200 {pod, namespace, node, version, from, path, headers}; ?headers=a,b: those of the request
// GET /status/503        that status
// GET /slow?ms=1000      answers late
// GET /bytes?count=1000  a body of that size
// GET /ready             200, or 503 after POST /ready/off, while the file /tmp/not-ready exists, and after SIGTERM; POST /ready/on
// TLS_PORT               the same over TLS with a certificate of its own making
// ECHO_PORT              TCP: sends back what it gets, after a first line with its name
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createTcpServer } from 'node:net';
import { hostname } from 'node:os';

const { POD_NAME = hostname(), POD_NAMESPACE = '', NODE_NAME = '', VERSION = '', PORT = '8080', TLS_PORT, ECHO_PORT, CALL_LOG, DRAIN_MS = '2000' } = process.env;
const NOT_READY_FILE = '/tmp/not-ready';
const identity = { pod: POD_NAME, namespace: POD_NAMESPACE, node: NODE_NAME, version: VERSION };

let isReady = true;
let isDraining = false;

const servers = [createServer(answer).listen(Number(PORT))];
if (TLS_PORT !== undefined) servers.push(createTlsServer(makeCertificate(), answer).listen(Number(TLS_PORT)));
if (ECHO_PORT !== undefined) servers.push(createTcpServer(echo).listen(Number(ECHO_PORT)));
// Longer than any proxy in front keeps an idle connection: the side that calls closes first, else calls race with the close.
for (const server of servers) server.keepAliveTimeout = 75_000;

process.on('SIGTERM', () => {
  isReady = false;
  isDraining = true;
  setTimeout(end, Number(DRAIN_MS));
});
process.on('SIGINT', () => process.exit(0));

/** Calls under way are answered; idle connections close. */
function end() {
  for (const server of servers) server.close();
  for (const server of servers) server.closeIdleConnections?.();
  setTimeout(() => process.exit(0), 10_000).unref();
}

function answer(request, response) {
  request.resume();
  const url = new URL(request.url, 'http://pod');
  const [, what, argument] = url.pathname.split('/');
  if (CALL_LOG !== undefined && what !== 'ready') appendFileSync(`${CALL_LOG}/${POD_NAME}`, `${Date.now()} ${Number(request.headers['x-sent-at'] ?? 0)} ${request.headers['x-forwarded-for'] === undefined ? 'direct' : 'proxied'}\n`);
  if (isDraining) response.setHeader('connection', 'close');
  response.setHeader('x-pod', POD_NAME);
  if (what === 'status') return send(response, Number(argument), describe(request, url));
  if (what === 'slow') return setTimeout(() => send(response, 200, describe(request, url)), Number(url.searchParams.get('ms') ?? 1000));
  if (what === 'bytes') return response.end(Buffer.alloc(Number(url.searchParams.get('count') ?? 0), 'x'));
  if (what === 'ready') return ready(request, response, argument);
  return send(response, 200, describe(request, url));
}

function ready(request, response, argument) {
  if (request.method === 'POST') isReady = argument !== 'off' && !isDraining;
  const isNow = isReady && !existsSync(NOT_READY_FILE);
  return send(response, isNow || request.method === 'POST' ? 200 : 503, { ready: isNow });
}

function describe(request, url) {
  const wanted = url.searchParams.get('headers')?.split(',') ?? [];
  const headers = Object.fromEntries(wanted.map((name) => [name, request.headers[name.toLowerCase()] ?? null]));
  return { ...identity, from: request.socket.remoteAddress.replace('::ffff:', ''), path: url.pathname, headers };
}

function send(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`);
}

function echo(socket) {
  socket.on('error', () => socket.destroy());
  socket.write(`${POD_NAME}\n`);
  socket.pipe(socket);
}

function makeCertificate() {
  const files = ['-keyout', '/tmp/tls.key', '-out', '/tmp/tls.crt'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
  execFileSync('openssl', ['req', '-x509', ...key, '-subj', `/CN=${POD_NAME}`, '-days', '30', ...files], { stdio: 'ignore' });
  return { key: readFileSync('/tmp/tls.key'), cert: readFileSync('/tmp/tls.crt') };
}
