import http from 'node:http';
import http2 from 'node:http2';
import type { Socket } from 'node:net';
import type { Problem } from '../../model/problem.ts';
import type { BreakerState } from '../../model/breaker.ts';
import type { CallRecord } from '../../model/call-record.ts';
import type { Route, Version } from '../../model/route-table.ts';
import type { VerifyToken } from '../../model/token.ts';
import { buildCallRecord, isLogged } from '../build-call-record.ts';
import { declaresBody, isAmbiguous, lastHeaderValue } from '../headers.ts';
import { canonicalAddress } from '../identify.ts';
import type { CallerIdentity } from '../identify.ts';
import { readTokenField, type TokenField } from '../identify-by-token.ts';
import type { CompiledRegex } from '../compile-regex.ts';
import { decide } from '../decide.ts';
import type { Decision } from '../decide.ts';
import { planListeners, wantedListeners } from '../plan-listeners.ts';
import type { WantedListener } from '../plan-listeners.ts';
import { Governor } from '../governor.ts';
import { compileRoutes } from '../serve-table.ts';
import type { ServedTable } from '../serve-table.ts';
import type { BreakerOrder, IdleConnections } from '../worker-messages.ts';
import { Admission } from './admission.ts';
import { bindProblem } from './bind-problem.ts';
import { CallJournal } from './call-journal.ts';
import { CallTrace } from './call-trace.ts';
import type { Counters } from './counters.ts';
import { forwardHttp, refuseHttp, rejectHttp } from './forward-http.ts';
import type { ClientRequest, ClientResponse, ForwardTools, HttpCall } from './forward-http.ts';
import { forwardTcp } from './forward-tcp.ts';
import { openHttp1Client } from './http1-exchange.ts';
import { openHttp2Client } from './http2-exchange.ts';
import { RouteListener } from './route-listener.ts';
import type { ConnectionHandlers } from './route-listener.ts';
import { ServerPool } from './server-pool.ts';

/** As HAProxy's `timeout http-request` and `timeout http-keep-alive`. */
const HEADERS_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 60_000;
/** Listeners opened at the same time. */
const OPEN_BATCH = 64;

export interface RouteServerOptions {
  readonly tokenHeader: string;
  readonly verifyToken: VerifyToken;
  readonly counters: Counters;
  /** See EmbeddedProxyOptions. */
  readonly givesWay: boolean;
  /** Calls for the access log, now and then; `lost`: how many more there was no room for. */
  readonly onCalls: (records: readonly CallRecord[], lost: number) => void;
}

/**
 * Serves the routes of the newest table in this thread. Invariants: `apply` and `close` never overlap (their caller sees to it); a call is
 * decided by the route that its listener has when the caller is known; an error in one call or connection ends that one alone.
 */
export class RouteServer {
  readonly #counters: Counters;
  readonly #listeners = new Map<string, RouteListener>();
  readonly #connections = new Map<Socket, RouteListener>();
  /** HTTP/2 connections; a session's own `socket` is a proxy object. */
  readonly #sessions = new Map<http2.Http2Session, Socket>();
  readonly #admission = new Admission();
  readonly #http1Client = openHttp1Client();
  readonly #http2Client = openHttp2Client();
  readonly #tools: ForwardTools;
  readonly #http1: http.Server;
  readonly #http2: http2.Http2Server;
  readonly #governor = new Governor();
  readonly #journal: CallJournal;
  #routes: readonly Route[] = [];
  #regexes: ReadonlyMap<string, CompiledRegex> = new Map();

  readonly #verifyToken: VerifyToken;
  readonly #givesWay: boolean;

  constructor(options: RouteServerOptions) {
    this.#givesWay = options.givesWay;
    this.#verifyToken = options.verifyToken;
    this.#journal = new CallJournal(options.onCalls);
    this.#counters = options.counters;
    this.#tools = { pool: new ServerPool(), counters: options.counters, tokenHeader: options.tokenHeader, openHttp1: this.#http1Client.open, openHttp2: this.#http2Client.open };
    this.#http1 = this.#createHttp1();
    this.#http2 = this.#createHttp2();
  }

  /** Brings listeners, routes, regexes and callers to `table`, and breakers to `modes` before anybody is served by it. Problems are those of routes that could not be opened or matched. */
  async apply(table: ServedTable, modes: readonly BreakerOrder[] = []): Promise<readonly Problem[]> {
    const { routes, regexes, problems } = compileRoutes(table.routes, this.#regexes);
    this.#routes = routes;
    this.#governor.apply(routes, performance.now());
    for (const mode of modes) this.setBreaker(mode);
    const plan = planListeners(new Set(this.#listeners.keys()), wantedListeners(routes));
    for (const wanted of plan.keep) {
      const listener = this.#listeners.get(wanted.key);
      if (listener !== undefined) listener.wanted = wanted;
    }
    this.#regexes = regexes;
    this.#admission.setCallers(table.callers);
    this.#tools.pool.prune();
    for (const key of plan.close) this.#closeListener(key);
    const failed: Problem[] = [];
    for (let i = 0; i < plan.open.length; i += OPEN_BATCH) {
      const batch = plan.open.slice(i, i + OPEN_BATCH).map((wanted) => this.#openListener(wanted));
      failed.push(...(await Promise.all(batch)).filter((found) => found !== undefined));
    }
    return [...problems, ...failed];
  }

  /** Of every version that has a breaker. */
  breakers(): readonly BreakerState[] {
    return this.#governor.states(this.#routes, performance.now(), Date.now());
  }

  /** Nothing happens when that version has no breaker. */
  setBreaker({ route, version, mode }: BreakerOrder): void {
    this.#governor.setMode(route, version, mode);
  }

  listeners(): string[] {
    return [...this.#listeners.keys()];
  }

  /** No new connections; those open get `drainMs` to finish, then they are cut. */
  async close(drainMs: number, idle: IdleConnections = 'end'): Promise<void> {
    for (const key of this.listeners()) {
      // What waited in its queue has just been accepted: the fewer things happen in between, the fewer connections come in behind it.
      if (idle === 'keep') await new Promise((resolve) => setImmediate(resolve));
      this.#closeListener(key, idle);
    }
    const begun = performance.now();
    for (let pauseMs = 20; this.#connections.size > 0 && performance.now() - begun < drainMs; pauseMs = Math.min(pauseMs + 5, 500)) {
      await new Promise((resolve) => setTimeout(resolve, Math.min(pauseMs, drainMs)));
    }
    for (const socket of this.#connections.keys()) socket.destroy();
    this.#http1Client.close();
    this.#http2Client.close();
    this.#http1.close();
    this.#http1.closeAllConnections();
    this.#journal.flush();
  }

  async #openListener(wanted: WantedListener): Promise<Problem | undefined> {
    try {
      this.#listeners.set(wanted.key, await RouteListener.open(wanted, this.#handlers, this.#givesWay));
      return undefined;
    } catch (error) {
      return bindProblem(wanted, error as NodeJS.ErrnoException);
    }
  }

  #closeListener(key: string, idle: IdleConnections = 'end'): void {
    this.#listeners.get(key)?.close();
    this.#listeners.delete(key);
    for (const [session, socket] of this.#sessions) if (this.#connections.get(socket)?.closing === true) session.close();
    // The others end after the answer that they carry, or, kept, that they will carry.
    if (idle === 'keep') return;
    const multiplexed = new Set(this.#sessions.values());
    for (const [socket, listener] of this.#connections) if (listener.closing && !this.#busy.has(socket) && !multiplexed.has(socket)) socket.end();
  }

  /** Connections that end with a 400: what came behind such a request may be its body as well as another request. */
  readonly #rejected = new WeakSet<Socket>();

  /** Connections with a call in progress. */
  readonly #busy = new WeakSet<Socket>();

  readonly #handlers: ConnectionHandlers = {
    accepted: (socket, listener) => {
      this.#connections.set(socket, listener);
      this.#counters.add('connections');
      socket.once('close', () => {
        this.#connections.delete(socket);
        this.#counters.add('connections', -1);
      });
    },
    http1: (socket) => this.#http1.emit('connection', socket),
    http2: (socket) => {
      // Node makes the session, and says so, before `emit` returns.
      this.#http2.once('session', (session) => {
        this.#sessions.set(session, socket);
        session.on('close', () => this.#sessions.delete(session));
      });
      this.#http2.emit('connection', socket);
    },
    tcp: (socket, listener) => void this.#serveTcp(socket, listener).catch(() => socket.destroy()),
  };

  #createHttp1(): http.Server {
    const server = http.createServer({ headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: HEADERS_TIMEOUT_MS / 4, requestTimeout: 0, keepAliveTimeout: KEEP_ALIVE_MS, shouldUpgradeCallback: isUpgrade });
    server.on('request', (request, response) => this.#start(request, response));
    server.on('checkContinue', (request: http.IncomingMessage, response: http.ServerResponse) => this.#start(request, response));
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => this.#refuseUnread(error, socket));
    server.on('upgrade', (request: http.IncomingMessage, socket: Socket, head: Buffer) => {
      const response = new http.ServerResponse(request);
      response.shouldKeepAlive = false;
      response.assignSocket(socket);
      response.on('finish', () => socket.end());
      this.#start(request, response, { socket, head });
    });
    // This server gets its sockets from the route listeners and never listens; the event starts its check of header timeouts.
    server.emit('listening');
    return server;
  }

  /** What is no request, or a header above the bound, gets HAProxy's answers. In the middle of another answer nothing may be written. */
  #refuseUnread(error: NodeJS.ErrnoException, socket: Socket): void {
    if (!socket.writable || this.#busy.has(socket) || error.code === 'ECONNRESET') return void socket.destroy();
    const status = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request';
    socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  }

  #createHttp2(): http2.Http2Server {
    const server = http2.createServer({ settings: { maxConcurrentStreams: 250, maxHeaderListSize: 16_384 } });
    server.on('session', (session) => session.on('error', () => session.destroy()));
    server.on('request', (request, response) => this.#start(request, response));
    server.on('checkContinue', (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => this.#start(request, response));
    server.on('sessionError', () => {});
    return server;
  }

  #socketOf(session: http2.Http2Session | undefined): Socket | undefined {
    return session === undefined ? undefined : this.#sessions.get(session);
  }

  #start(request: ClientRequest, response: ClientResponse, upgrade?: HttpCall['upgrade']): void {
    const socket = request instanceof http2.Http2ServerRequest ? this.#socketOf(request.stream.session) : request.socket;
    const listener = socket === undefined ? undefined : this.#connections.get(socket);
    if (socket === undefined || listener === undefined) return void response.destroy?.();
    if (this.#rejected.has(socket)) return;
    if (isAmbiguous(request.rawHeaders, request.url ?? '/', request.httpVersion)) {
      if (!(request instanceof http2.Http2ServerRequest)) this.#rejected.add(socket);
      return rejectHttp(response);
    }
    const gone = new AbortController();
    const leave = (): void => {
      this.#busy.delete(socket);
      // The listener closed while this answer was on its way.
      if (listener.closing && !(request instanceof http2.Http2ServerRequest)) socket.end();
      if (!response.writableFinished) gone.abort();
    };
    this.#busy.add(socket);
    response.on('close', leave);
    response.on('error', leave);
    request.on('error', () => {});
    // A reset HTTP/2 stream looks like a finished response otherwise.
    request.on('aborted', () => gone.abort());
    const call: HttpCall = {
      request,
      response,
      clientAddress: canonicalAddress(socket.remoteAddress ?? ''),
      gone: gone.signal,
      trace: new CallTrace(),
      lastOnConnection: () => listener.closing,
      ...(upgrade === undefined ? {} : { upgrade }),
    };
    this.#serveHttp(call, listener).catch(() => socket.destroy());
  }

  async #serveHttp(call: HttpCall, listener: RouteListener): Promise<void> {
    const { clientAddress, gone, trace } = call;
    const raw = call.request.rawHeaders;
    const field = readTokenField(raw, this.#tools.tokenHeader);
    const identity = await (field === undefined ? this.#identify(clientAddress, listener, gone) : this.#identifyByToken(clientAddress, field));
    if (gone.aborted) return;
    const { route, arrivedOn } = listener.wanted;
    const decision = decide(route, {
      identity,
      arrivedOn,
      headerValue: (name) => lastHeaderValue(raw, name),
      draw: Math.random(),
      matches: (pattern, value) => this.#matches(pattern, value),
      limits: this.#governor.limitsFor(route, clientAddress, performance.now()),
    });
    if (decision.kind === 'refuse') refuseHttp(call, decision, this.#counters);
    else await this.#counted(route, decision.version, trace, () => forwardHttp(call, route, decision.version, hashKey(decision.version, clientAddress, raw), this.#tools));
    if (gone.aborted) trace.aborted('client');
    this.#note(route, trace, { address: clientAddress, identity }, call.request);
  }

  /** A call that `decide` lets pass is counted in at once, so that no other can be decided in between; its errors go to the breaker. */
  async #counted(route: Route, version: Version, trace: CallTrace, forward: () => Promise<void>): Promise<void> {
    const guard = this.#governor.guardOf(route, version);
    trace.forwarded(version, () => guard.breaker?.error(performance.now()));
    guard.inFlight++;
    try {
      await forward();
    } finally {
      guard.inFlight--;
    }
  }

  #note(route: Route, trace: CallTrace, caller: Parameters<typeof buildCallRecord>[1], request?: ClientRequest): void {
    if (route.log === undefined) return;
    const facts = trace.end();
    if (!isLogged(route, facts, Math.random())) return;
    const line = request === undefined ? undefined : { method: request.method ?? '', path: request.url ?? '' };
    this.#journal.write(() => buildCallRecord(route, caller, line, facts));
  }

  async #identifyByToken(address: string, field: NonNullable<TokenField>): Promise<CallerIdentity> {
    const verdict = 'token' in field ? await this.#verifyToken(field.token) : { ok: false as const, why: field.refused };
    return this.#admission.identifyByToken(address, verdict);
  }

  /** Nobody is held for a route that refuses everybody. */
  #identify(address: string, listener: RouteListener, gone: AbortSignal): Promise<CallerIdentity> {
    return listener.wanted.route.invalid ? Promise.resolve({ kind: 'unknown' }) : this.#admission.identify(address, gone);
  }

  async #serveTcp(socket: Socket, listener: RouteListener): Promise<void> {
    const gone = new AbortController();
    socket.once('close', () => gone.abort());
    this.#busy.add(socket);
    const clientAddress = canonicalAddress(socket.remoteAddress ?? '');
    const identity = await this.#identify(clientAddress, listener, gone.signal);
    if (gone.signal.aborted) return;
    const { route, arrivedOn } = listener.wanted;
    const trace = new CallTrace();
    const limits = this.#governor.limitsFor(route, clientAddress, performance.now());
    const decision: Decision = decide(route, { identity, arrivedOn, headerValue: () => undefined, draw: Math.random(), matches: () => false, limits });
    if (decision.kind === 'refuse') {
      trace.refused(decision.code);
      this.#counters.add(decision.code);
      socket.destroy();
    } else {
      await this.#counted(route, decision.version, trace, () => forwardTcp(socket, route, decision.version, hashKey(decision.version, clientAddress, []), trace, this.#tools));
    }
    this.#note(route, trace, { address: clientAddress, identity });
  }

  #matches(pattern: string, value: string): boolean {
    return this.#regexes.get(pattern)?.test(value) ?? false;
  }
}

/** `Upgrade: h2c` is answered as HTTP/1.1, as HAProxy does; every other protocol is the server's to accept. */
function isUpgrade(request: http.IncomingMessage): boolean {
  const protocol = lastHeaderValue(request.rawHeaders, 'upgrade')?.toLowerCase() ?? '';
  return protocol !== '' && !protocol.includes('h2c') && !declaresBody(request.rawHeaders);
}

function hashKey(version: Version, clientAddress: string, raw: readonly string[]): string | undefined {
  if (version.algorithm === 'SourceHash') return clientAddress;
  return version.algorithm === 'HeaderHash' && version.hashHeader !== undefined ? lastHeaderValue(raw, version.hashHeader) : undefined;
}
