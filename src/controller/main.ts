import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import process from 'node:process';
import { Backoff } from '../daemon/backoff.ts';
import type { CloseStep } from '../daemon/close-in-order.ts';
import { openAdminServer } from '../daemon/io/admin-server.ts';
import type { Logger } from '../daemon/io/logger.ts';
import { addProcessMetrics } from '../daemon/io/process-metrics.ts';
import { runDaemon } from '../daemon/io/run-daemon.ts';
import { sleep } from '../daemon/io/timers.ts';
import { Metrics } from '../daemon/metrics.ts';
import { Readiness } from '../daemon/readiness.ts';
import { SerialRunner } from '../daemon/serial-runner.ts';
import type { ApiError } from '../kube/api-error.ts';
import { openApiAccess } from '../kube/io/open-api-access.ts';
import { openApiClient } from '../kube/io/open-api-client.ts';
import { readRouteSchema } from '../kube/io/read-crd.ts';
import { DEFAULT_SYSTEM_NAMESPACE } from '../kube/watched-resources.ts';
import { messageOf } from '../model/coded-error.ts';
import { parseControllerSettings, type ControllerSettings } from '../settings/controller-flags.ts';
import { addControllerMetrics } from './controller-metrics.ts';
import { CONCURRENCY, StepApplier } from './io/apply-steps.ts';
import { ClusterView } from './io/cluster-view.ts';
import { GuardedWriter, NotLeader } from './io/guarded-writer.ts';
import { LedgerStore } from './io/ledger-store.ts';
import { openElection } from './io/open-election.ts';
import { openTokenCodes } from './io/open-token-codes.ts';
import type { ControllerOptions } from './observed.ts';
import { PassBudget } from './pass-budget.ts';
import { runPass, type PassWorld } from './run-pass.ts';
import { TokenBucket } from '../daemon/token-bucket.ts';

const LEASE_NAME = 'onehop-controller';
/** How long writes in flight may take after SIGTERM; then the Lease is given back. */
const STOP_MS = 10_000;
/** Counts of nodes, quarantines, the ledger and what was put off are looked at this often, without any change. */
const TICK_MS = 2_000;
/** A right that is missing refuses the writes of every route alike, again and again: some lines say it, the metrics count them all. */
const REFUSALS_TOLD = { burst: 20, perSecond: 0.2 };

/** `onehop controller`: runs until a signal. Resolves with the exit code: 0 asked to stop, 2 wrong usage, 3 cannot run. */
export function runController(argv: readonly string[], version: string): Promise<number> {
  return runDaemon({
    command: 'onehop controller',
    parsed: parseControllerSettings(argv, process.env, { hostname: hostname(), workingDirectory: process.cwd(), terminal: process.stderr.isTTY }),
    drainMs: () => STOP_MS,
    start: async (settings, log, opened) => {
      await start(settings, version, log, opened);
      return {};
    },
  });
}

/** Opens everything in order; each part is noted in `opened`, to be closed in reverse: first the writes, then the Lease. */
async function start(settings: ControllerSettings, version: string, log: Logger, opened: CloseStep[]): Promise<void> {
  const access = await openApiAccess(settings.kubeconfig === '' ? {} : { kubeconfig: settings.kubeconfig });
  const systemNamespace = settings.systemNamespace || (access.origin === 'in cluster' ? access.namespace : undefined) || DEFAULT_SYSTEM_NAMESPACE;
  const identity = `${settings.identity}_${randomUUID()}`;
  log.info({ version, identity, systemNamespace, server: access.server.origin, pool: settings.vipPool.cidr, zone: settings.zone }, 'onehop controller starts');
  const readiness = new Readiness({ watch: 'the first lists' });
  const metrics = new Metrics();
  addProcessMetrics(metrics);
  const parseContext = { schema: await readRouteSchema(), globalNamespace: settings.globalNamespace };
  const admin = await openAdminServer({
    listen: settings.adminListen,
    pool: settings.vipPool,
    ownAddresses: () => [],
    readiness,
    metrics,
    routes: {},
    onError: (what, error) => log.error({ what, error }, 'admin request failed'),
  });
  opened.push({ name: 'admin server', close: () => admin.close() });

  const client = openApiClient(access, { userAgent: `onehop-controller/${version}`, idleConnections: CONCURRENCY });
  opened.push({ name: 'api client', close: async () => client.close() });
  const view = new ClusterView({
    client,
    systemNamespace,
    parseContext,
    startupTaint: settings.startupTaint || undefined,
    onChange: () => wake(false),
    onTrouble: (what, error, retryInMs) => log.warn({ what, reason: error.reason, retryInMs }, error.message),
  });
  opened.push({ name: 'watches', close: () => view.close() });
  let trouble = '';
  const election = openElection({
    client,
    namespace: systemNamespace,
    name: LEASE_NAME,
    identity,
    onChange: (isLeader) => {
      trouble = '';
      log.info(isLeader ? 'this controller leads' : 'this controller does not lead any more');
      ledger.forget();
      wake(true);
      tokenCodes.lead();
    },
    onTrouble: (message) => {
      if (message !== trouble) log.warn({ holder: election.holder }, `election: ${message}`);
      trouble = message;
    },
  });
  opened.push({ name: 'election', close: () => election.close() });

  const refusalsTold = new TokenBucket(REFUSALS_TOLD, performance.now());
  const tellRefusal = (kind: string, error: ApiError): void => {
    if (refusalsTold.take(performance.now())) log.error({ kind, reason: error.reason }, `the API server refuses a write: ${error.message}`);
  };
  const tokenTroubleTold = new TokenBucket(REFUSALS_TOLD, performance.now());

  const writer = new GuardedWriter(client, election);
  const ledger = new LedgerStore(writer, systemNamespace);
  const applier = new StepApplier({ writer, ledger, view, identity, onRefused: ({ kind }, error) => tellRefusal(kind, error) });
  const { vipPool: pool, zone, globalNamespace, httpPort, startupTaint } = settings;
  const options: ControllerOptions = { pool, zone, globalNamespace, httpPort, ...(startupTaint === '' ? {} : { startupTaint }) };
  const budget = new PassBudget(performance.now());
  const worldUntil = (signal: AbortSignal): PassWorld => ({
    isLeader: () => writer.isLeader && !signal.aborted,
    refreshLedger: () => ledger.refresh(),
    observe: () => view.observe(ledger.records),
    apply: (steps) => applier.apply(steps, signal),
    monotonicMs: () => performance.now(),
    wallMs: () => Date.now(),
    budget,
  });
  const tokenCodes = openTokenCodes({
    client,
    writer,
    systemNamespace,
    identity,
    onTrouble: (what, error) => {
      if (tokenTroubleTold.take(performance.now())) log.warn({ what }, `codes of callers: ${messageOf(error)}`);
    },
  });
  opened.push({ name: 'token codes', close: () => tokenCodes.close() });
  let plans = 0;
  let countsDue = false;
  const runner = new SerialRunner<'pass'>({
    apply: async (_, signal) => {
      if (view.waitingFor !== undefined) return;
      const withCounts = countsDue;
      countsDue = false;
      plans += await runPass(worldUntil(signal), options, withCounts);
    },
    onError: (error, retryInMs) => {
      if (error instanceof NotLeader) return;
      log.warn({ error: messageOf(error), retryInMs }, 'not everything could be written; it is tried again');
    },
    backoff: new Backoff({ baseMs: 200, maxMs: 10_000 }, Math.random),
    sleep,
  });
  opened.push({ name: 'writer', close: () => runner.close() });
  /** `withCounts`: writes that only change how many nodes have a route may be made, too. */
  function wake(withCounts: boolean): void {
    countsDue ||= withCounts;
    if (view.waitingFor === undefined) readiness.done('watch');
    else readiness.pending('watch', `the first list of ${view.waitingFor}`);
    if (writer.isLeader) runner.want('pass');
  }
  addControllerMetrics(metrics, {
    isLeader: () => writer.isLeader,
    transitions: () => election.transitions,
    reflectors: () => view.reflectors(),
    records: () => ledger.records,
    writes: () => writer.counts,
    reads: () => writer.reads,
    plans: () => plans,
    eventsDropped: () => applier.eventsDropped,
    tokenCodes: () => tokenCodes.counts(),
    pool,
  });
  const tick = setInterval(() => wake(true), TICK_MS);
  opened.push({ name: 'tick', close: async () => clearInterval(tick) });
}
