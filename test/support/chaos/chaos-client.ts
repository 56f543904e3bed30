import { Agent, request, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { HTTP_PORT, TCP_PORT } from './node-under-test.ts';

export interface CallPlan {
  readonly kind: string;
  readonly route: string;
  readonly protocol: 'http' | 'tcp';
  readonly address: string;
  readonly global: boolean;
  /** Caller's address. */
  readonly from: string;
  readonly method: 'GET' | 'POST';
  /** Unique: an answer that names another path is another call's. */
  readonly path: string;
  readonly query: string;
  readonly header?: string | undefined;
  readonly keepAlive: boolean;
}

export interface CallResult {
  /**
   * Since when what serves it may have been chosen: of a kept connection, since the head of its last answer. A worker that is replaced while
   * the rest of an answer is on its way has not said that it will close: it serves one more call, by what was in effect then.
   */
  readonly sinceMs: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly status: number;
  /** Label of the pod that answered. */
  readonly label?: string;
  readonly reason?: string;
  /** What went wrong with the connection, or with the answer's form. */
  readonly error?: string;
}

const TIMEOUT_MS = 30_000;
/** A busy client lets go of connections that it does not use; others keep theirs. */
const IDLE_MS = 3_000;
export const BUSY_LANE = 'busy';

/** When a kept connection had the head of its last answer. */
const lastUsed = new WeakMap<Socket, number>();

/** The kept connections of callers: one pool for each, which a person can let go of. */
export class Connections {
  readonly #agents = new Map<string, Agent>();

  of(from: string, lane: string): Agent {
    const key = `${from} ${lane}`;
    const isSleeper = lane !== BUSY_LANE;
    const agent = this.#agents.get(key) ?? new Agent({ keepAlive: true, localAddress: from, maxSockets: 8, scheduling: 'fifo', ...(isSleeper ? {} : { timeout: IDLE_MS }) });
    this.#agents.set(key, agent);
    return agent;
  }

  /** Ends the connections of a caller, of one lane or all, or of everybody. */
  drop(from?: string, lane = ''): void {
    for (const [key, agent] of this.#agents) {
      if (from !== undefined && !key.startsWith(`${from} ${lane}`)) continue;
      agent.destroy();
      this.#agents.delete(key);
    }
  }
}

export const runCall = (plan: CallPlan, connections: Connections, lane = BUSY_LANE): Promise<CallResult> => (plan.protocol === 'tcp' ? callTcp(plan) : callHttp(plan, connections, lane));

function callHttp(plan: CallPlan, connections: Connections, lane: string): Promise<CallResult> {
  const startMs = Date.now();
  let sinceMs = startMs;
  return new Promise((resolve) => {
    const finish = (end: Pick<CallResult, 'label' | 'reason' | 'error'> & { readonly status?: number }): void => resolve({ status: 0, ...end, sinceMs, startMs, endMs: Date.now() });
    const asked = request({
      host: plan.address,
      port: HTTP_PORT,
      path: `${plan.path}${plan.query}`,
      method: plan.method,
      timeout: TIMEOUT_MS,
      headers: { ...(plan.header === undefined ? {} : { 'X-Version': plan.header }), ...(plan.method === 'POST' ? { 'content-length': '4' } : {}) },
      ...(plan.keepAlive ? { agent: connections.of(plan.from, lane) } : { agent: false, localAddress: plan.from }),
    });
    asked.on('socket', (socket) => {
      const used = lastUsed.get(socket);
      if (used !== undefined) sinceMs = Math.min(startMs, used);
      lastUsed.set(socket, startMs);
    });
    asked.on('response', (response) => {
      lastUsed.set(response.socket, Date.now());
      read(response).then(
        (body) => finish(judgeForm(plan, response, body)),
        (error: unknown) => finish({ error: `broken answer: ${String(error)}` }),
      );
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    asked.on('error', (error: NodeJS.ErrnoException) => finish({ error: `${error.code ?? error.message}${asked.reusedSocket ? ' (kept connection)' : ''}` }));
    asked.end(plan.method === 'POST' ? 'body' : undefined);
  });
}

/** Of a long answer only its beginning matters, and that it comes to its end. */
function read(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let body = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      if (body.length < 1_000) body += chunk;
    });
    response.on('end', () => (response.complete ? resolve(body) : reject(new Error('cut off')))).on('error', reject);
    response.on('close', () => reject(new Error('closed')));
  });
}

function judgeForm(plan: CallPlan, response: IncomingMessage, body: string): Pick<CallResult, 'label' | 'reason' | 'error' | 'status'> {
  const status = response.statusCode ?? 0;
  const reason = response.headers['x-onehop-reason'];
  if (typeof reason === 'string') return { status, reason };
  const [, label, path] = /^(\S+) (\/[0-9a-z/]+)/.exec(body) ?? [];
  if (status !== 200 || label === undefined) return { status, error: `status ${status} without a reason` };
  return path === plan.path ? { status, label } : { status, error: `an answer to ${String(path).slice(0, 40)}` };
}

/** Connects, says a line, reads a line, closes. A connection that ends before it says anything is a refusal. */
function callTcp(plan: CallPlan): Promise<CallResult> {
  const startMs = Date.now();
  return new Promise((resolve) => {
    const socket = connect({ host: plan.address, port: TCP_PORT, localAddress: plan.from });
    let text = '';
    let connected = false;
    let over = false;
    const finish = (end: Pick<CallResult, 'label' | 'reason' | 'error'>): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      socket.destroy();
      resolve({ status: 0, ...end, sinceMs: startMs, startMs, endMs: Date.now() });
    };
    const timer = setTimeout(() => finish({ error: `no answer within ${TIMEOUT_MS} ms` }), TIMEOUT_MS);
    socket.setEncoding('utf8');
    socket.on('connect', () => {
      connected = true;
      socket.write(`${plan.path}\n`);
    });
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (!text.endsWith('\n')) return;
      const [label = '', path] = text.trim().split(' ');
      finish(path === plan.path ? { label } : { error: `an answer to ${String(path).slice(0, 40)}` });
    });
    socket.on('error', (error: NodeJS.ErrnoException) => finish({ error: `${error.code ?? error.message}${connected ? ' (connected)' : ''}` }));
    socket.on('close', () => finish({ error: 'closed' }));
  });
}
