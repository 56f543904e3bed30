// Calls to several routes and questions to the cluster's DNS from a test pod, each answer judged: plain JavaScript without packages, for it
// runs inside an image. The plan and the result are described in mixed-load.ts.
//
// mixed-load.mjs PLAN   the plan as JSON; it ends when its input ends or brings a line, and prints the result as one line of JSON
import { createSocket } from 'node:dgram';
import { setTimeout as delay } from 'node:timers/promises';
import { call, openConnections } from './call.mjs';

const { targets, dns } = JSON.parse(process.argv[2]);
const MAX_DESCRIBED = 2_000;
const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];
const [TYPE_A, CLASS_IN] = [1, 1];
const NO_ANSWER = 'no answer';
const result = { calls: 0, resent: 0, maxMs: 0, pods: {}, failures: [], wrong: [], questions: 0, askedAgain: [], lost: [], dnsMaxMs: 0 };
let serial = process.pid;

const stopping = new AbortController();
const stop = () => stopping.abort();
process.on('SIGTERM', stop).stdin.on('data', stop).on('end', stop);
await Promise.all([...targets.map(callAgainAndAgain), ...(dns?.questions ?? []).map(askAgainAndAgain)]);
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));

function describe(list, what) {
  if (list.length < MAX_DESCRIBED) list.push(what);
}

async function callAgainAndAgain({ name, url, headers = {}, keepAlive, intervalMs, timeoutMs, namespace, versions }) {
  const agent = openConnections(url, keepAlive);
  while (!stopping.signal.aborted) {
    const [atMs, startedAt] = [Date.now(), performance.now()];
    const answer = await call(url, { agent, headers: { ...headers, 'x-sent-at': atMs }, timeoutMs });
    const tookMs = Math.round(performance.now() - startedAt);
    result.calls++;
    result.maxMs = Math.max(result.maxMs, tookMs);
    if (answer.isResent) result.resent++;
    if (answer.message !== undefined) describe(result.failures, { name, atMs, tookMs, message: answer.message });
    else if (answer.namespace !== namespace || !versions.includes(answer.version)) describe(result.wrong, { name, atMs, by: `${answer.namespace}/${answer.pod} ${answer.version}` });
    else result.pods[answer.pod] = (result.pods[answer.pod] ?? 0) + 1;
    await delay(intervalMs);
  }
  agent.destroy();
}

/** One question after the other, each from a port of its own, as a resolver does; after SERVFAIL, or without an answer, it is asked once more (resolv.conf(5), attempts: 2). */
async function askAgainAndAgain({ name, status, address }) {
  while (!stopping.signal.aborted) {
    const [atMs, startedAt] = [Date.now(), performance.now()];
    const question = name.replace('*', `q${serial++}`);
    let said = await ask(question);
    if (said === 'SERVFAIL' || said.startsWith(NO_ANSWER)) {
      describe(result.askedAgain, { name: question, atMs, said });
      said = await ask(question);
    }
    result.questions++;
    result.dnsMaxMs = Math.max(result.dnsMaxMs, Math.round(performance.now() - startedAt));
    const wanted = address === undefined ? status : `${status} ${address}`;
    if (said !== wanted) describe(result.lost, { name: question, atMs, said, wanted });
    await delay(dns.intervalMs);
  }
}

/** `NOERROR 169.254.193.1`: status and the last address of the answer; `no answer`, and why. */
function ask(name) {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const id = Math.floor(Math.random() * 65_536);
    const end = (said) => {
      clearTimeout(timer);
      socket.close();
      resolve(said);
    };
    const timer = setTimeout(end, dns.timeoutMs, NO_ANSWER);
    // Refused by a node: the pod of CoreDNS that was asked has just ended.
    socket.on('error', (error) => end(`${NO_ANSWER}: ${error.message}`));
    socket.on('message', (message) => (message.readUInt16BE(0) === id ? end(readAnswer(message)) : undefined));
    socket.connect(53, dns.server, (error) => (error ? end(error.message) : socket.send(query(id, name))));
  });
}

/** RFC 1035 section 4.1: header with RD, one question for an A record. */
function query(id, name) {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(0x0100, 2);
  header.writeUInt16BE(1, 4);
  const labels = name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]);
  return Buffer.concat([header, ...labels, Buffer.from([0, 0, TYPE_A, 0, CLASS_IN])]);
}

function readAnswer(message) {
  const status = RCODES[message[3] & 15] ?? `rcode ${message[3] & 15}`;
  let at = skipName(message, 12) + 4;
  let address = '';
  for (let left = message.readUInt16BE(6); left > 0; left--) {
    at = skipName(message, at);
    const length = message.readUInt16BE(at + 8);
    if (message.readUInt16BE(at) === TYPE_A) address = [...message.subarray(at + 10, at + 10 + length)].join('.');
    at += 10 + length;
  }
  return address === '' ? status : `${status} ${address}`;
}

/** A pointer ends a name (section 4.1.4). */
function skipName(message, at) {
  while (message[at] !== 0) {
    if (message[at] >= 0xc0) return at + 2;
    at += 1 + message[at];
  }
  return at + 1;
}
