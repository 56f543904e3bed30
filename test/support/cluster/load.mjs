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
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { call, openConnections } from './call.mjs';

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
  const agent = openConnections(url, keepAlive);
  while (!stopping.signal.aborted) {
    const calledAt = performance.now();
    note(await call(url, { agent, headers, timeoutMs }), performance.now() - calledAt);
    if (Number(values['interval-ms']) > 0) await delay(Number(values['interval-ms']));
  }
  agent.destroy();
}

function note({ message, pod, version, isResent }, ms) {
  result.calls++;
  if (isResent) result.resent++;
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
