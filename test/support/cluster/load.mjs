// Load from a test pod: plain JavaScript without packages, for it runs inside an image.
//
// load.mjs URL [--workers 4] [--seconds 10 | --until-stopped] [--connection keep-alive|per-call] [--interval-ms 0] [--timeout-ms 5000]
//          [--header 'Name: value']...
//
// Prints one line of JSON at the end; it ends after --seconds, on SIGTERM or SIGINT, or with --until-stopped when its input ends or
// brings a line: {calls, failed, failures: [{at, afterMs, message}], pods: {name: calls}, versions: {name: calls}, resent, seconds,
// maxMs}. A call fails when there is no answer or its status is 400 or more; at most 100 failures are described.
// A GET that finds its kept connection closed is sent again once on a new one, as every HTTP client does (RFC 9112 section 9.3.1);
// `resent` counts them.
import { Agent, get } from 'node:http';
import { Agent as TlsAgent, get as tlsGet } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    workers: { type: 'string', default: '4' },
    seconds: { type: 'string', default: '10' },
    'until-stopped': { type: 'boolean', default: false },
    connection: { type: 'string', default: 'keep-alive' },
    'interval-ms': { type: 'string', default: '0' },
    'timeout-ms': { type: 'string', default: '5000' },
    header: { type: 'string', multiple: true, default: [] },
  },
});
const [url] = positionals;
if (url === undefined) throw new Error('load.mjs URL [options]');
const MAX_DESCRIBED = 100;
const isTls = url.startsWith('https:');
const keepAlive = values.connection === 'keep-alive';
const timeoutMs = Number(values['timeout-ms']);
const headers = Object.fromEntries(values.header.map((line) => line.split(/:\s*/, 2)));
const result = { calls: 0, failed: 0, failures: [], pods: {}, versions: {}, resent: 0, seconds: 0, maxMs: 0 };

const startedAt = performance.now();
const stopping = new AbortController();
const stop = () => stopping.abort();
process.on('SIGTERM', stop).on('SIGINT', stop);
if (values['until-stopped']) process.stdin.on('data', stop).on('end', stop);
else setTimeout(stop, Number(values.seconds) * 1000).unref();

await Promise.all(Array.from({ length: Number(values.workers) }, () => work()));
result.seconds = Math.round((performance.now() - startedAt) / 10) / 100;
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));

async function work() {
  const agent = new (isTls ? TlsAgent : Agent)({ keepAlive, maxSockets: 1, rejectUnauthorized: false });
  while (!stopping.signal.aborted) {
    const calledAt = performance.now();
    const outcome = await callOnce(agent).catch((error) => (error.isResendable ? resend(agent) : { message: error.message }));
    note(outcome, performance.now() - calledAt);
    if (Number(values['interval-ms']) > 0) await delay(Number(values['interval-ms']));
  }
  agent.destroy();
}

function resend(agent) {
  result.resent++;
  return callOnce(agent).catch((error) => ({ message: error.message }));
}

/** Resolves with the answer, or with a message when its status says failure; rejects when there is no whole answer. */
function callOnce(agent) {
  return new Promise((resolve, reject) => {
    const request = (isTls ? tlsGet : get)(url, { agent, headers, timeout: timeoutMs });
    let isAnswering = false;
    const fail = (error) => reject(Object.assign(error, { isResendable: request.reusedSocket && !isAnswering && ['ECONNRESET', 'EPIPE'].includes(error.code) }));
    request.on('timeout', () => request.destroy(new Error(`no answer within ${timeoutMs} ms`))).on('error', fail);
    request.on('response', (response) => {
      isAnswering = true;
      let body = '';
      response.setEncoding('utf8').on('data', (text) => (body += text)).on('error', fail);
      response.on('end', () => resolve(readAnswer(response, body)));
    });
  });
}

function readAnswer({ statusCode, headers: answered }, body) {
  if (statusCode >= 400) return { message: `${statusCode} ${answered['x-onehop-reason'] ?? body.slice(0, 100).trim()}` };
  try {
    return JSON.parse(body);
  } catch {
    return { pod: answered['x-pod'] ?? '' };
  }
}

function note({ message, pod, version }, ms) {
  result.calls++;
  result.maxMs = Math.max(result.maxMs, Math.round(ms));
  if (message === undefined) {
    count(result.pods, pod);
    count(result.versions, version);
    return;
  }
  result.failed++;
  if (result.failures.length >= MAX_DESCRIBED) return;
  result.failures.push({ at: new Date().toISOString(), afterMs: Math.round(ms), message });
}

function count(counts, name = '') {
  counts[name] = (counts[name] ?? 0) + 1;
}
