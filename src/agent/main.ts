import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { Backoff } from '../daemon/backoff.ts';
import type { CloseStep } from '../daemon/close-in-order.ts';
import { openAdminServer } from '../daemon/io/admin-server.ts';
import type { Logger } from '../daemon/io/logger.ts';
import { ADMIN_SOCKET } from '../daemon/io/generations.ts';
import { addProcessMetrics } from '../daemon/io/process-metrics.ts';
import { runDaemon } from '../daemon/io/run-daemon.ts';
import { sleep } from '../daemon/io/timers.ts';
import { Metrics } from '../daemon/metrics.ts';
import { Readiness } from '../daemon/readiness.ts';
import { SerialRunner } from '../daemon/serial-runner.ts';
import { CodedError, messageOf } from '../model/coded-error.ts';
import { isUnapplied } from '../haproxy/describe-refusal.ts';
import { problemLine } from '../model/problem.ts';
import { listenerKey } from '../model/proxy.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { checkListeners } from '../node/io/ports.ts';
import { ownAddresses } from '../node/io/read-node.ts';
import { parseSettings } from '../settings/parse-settings.ts';
import type { Settings } from '../settings/settings.ts';
import { AgentState } from './agent-state.ts';
import { BreakerControl } from './breaker-control.ts';
import { ChangeTimes } from './change-times.ts';
import { openClientIpWatch } from './client-ip.ts';
import { openDnsFront } from './dns-front.ts';
import { openHandOver } from './hand-over.ts';
import { LastKnownGood } from './last-known-good.ts';
import { openLedgerFile } from '../state/io/ledger-file.ts';
import { openSnapshotFile } from '../state/io/open-snapshot-file.ts';
import { openNodeNetwork } from './node-network.ts';
import type { ProxyParts } from './node-proxy.ts';
import { addAccessLogMetrics, openAccessLog } from './open-access-log.ts';
import { openProxy } from './open-proxy.ts';
import { addTokenMetrics, openTokens } from './open-tokens.ts';
import { openSource, sourceName } from './open-source.ts';
import { ProxyReadiness } from './proxy-readiness.ts';
import { reconcile } from './reconcile.ts';
import { PORT_REST_MS, RestingPorts } from './resting-ports.ts';

/** Of the grace period, what stays for ending what the drain left. */
const END_SECONDS = 5;
/** Taken ports, quarantines and drift are looked at again this often, without any change. */
const RESYNC_MS = 5_000;

/** `onehop agent`: runs until a signal. Resolves with the exit code: 0 asked to stop, 2 wrong usage, 3 cannot run. */
export function runAgent(argv: readonly string[], version: string): Promise<number> {
  return runDaemon({
    command: 'onehop agent',
    parsed: parseSettings(argv, process.env, { hostname: hostname(), workingDirectory: process.cwd(), terminal: process.stderr.isTTY }),
    drainMs: ({ graceSeconds }) => (graceSeconds - END_SECONDS) * 1000,
    start: (settings, log, opened) => start(settings, version, log, opened),
  });
}

/** Opens everything in order; each part is noted in `opened`, to be closed in reverse. `failed` rejects when the process cannot go on. */
async function start(settings: Settings, version: string, log: Logger, opened: CloseStep[]): Promise<{ readonly failed: Promise<never> }> {
  const metrics = new Metrics();
  addProcessMetrics(metrics);
  const source = await openSource(settings, version, metrics, log.child({ room: 'kube' }));
  opened.push({ name: 'source', close: () => source.close() });
  log.info({ version, node: settings.nodeName, source: source.name, pool: settings.vipPool.cidr, zone: settings.zone }, 'onehop agent starts');
  const readiness = new Readiness({ source: source.waitsFor, dns: 'the first table' });
  await makeRunDir(settings.runDir);

  const ledgerFile = await openLedgerFile(settings.stateDir);
  if (ledgerFile.warning !== undefined) log.warn(ledgerFile.warning);

  const network = await openNodeNetwork(settings, Date.now, log.child({ room: 'node' }));
  opened.push({ name: 'node network', close: () => network.close() });

  const clientIp = openClientIpWatch(settings, () => performance.now());

  const state = new AgentState(settings, log);
  const changeTimes = new ChangeTimes(metrics, () => performance.now());
  const proxyReadiness = new ProxyReadiness(readiness);
  const handOver = openHandOver(settings, readiness, process.getuid?.(), log);
  let latest: Snapshot | undefined;
  const tokens = openTokens(settings, source.readKeys, log.child({ room: 'tokens' }), () => {
    if (latest !== undefined) runner.want(latest);
  });
  opened.push({ name: 'tokens', close: () => tokens.close() });
  addTokenMetrics(metrics, tokens);
  const accessLog = openAccessLog(log);
  opened.push({ name: 'access log', close: () => accessLog.close() });
  const proxyParts: ProxyParts = {
    verifyToken: tokens.verify,
    onTokensChanged: tokens.verifier.onChange,
    onCall: (record) => accessLog.add(record),
    onTrouble: (trouble) => {
      proxyReadiness.seen(trouble);
      // One that runs something else, or is back, is brought in step at once.
      if (latest !== undefined) runner.want(latest);
    },
    onStandIn: (why) => {
      proxyReadiness.standsIn(why);
      if (latest !== undefined) runner.want(latest);
    },
    siblingServes: () => handOver.siblingServes(),
  };
  const { proxy, adopt, checkRegexes, counters, calls, lostCalls, prepareClose } = await openProxy(settings, proxyParts, log.child({ room: 'proxy' }));
  opened.push({ name: 'proxy', close: (remainingMs) => proxy.close({ drainMs: remainingMs, leaveRunning: settings.haproxyAttach }) });
  addAccessLogMetrics(metrics, accessLog, lostCalls);
  // Adopted, it has what was in effect last; the stored snapshot may be some seconds older, and would take back what came after it.
  const isAdopted = proxy.listeners().size > 0;
  const dns = openDnsFront(settings, log.child({ room: 'dns' }));
  opened.push({ name: 'dns', close: (remainingMs) => dns.close(remainingMs) });

  const breakers = new BreakerControl(proxy, () => state.effect?.table, log.child({ room: 'proxy' }));
  state.addMetrics(metrics, { dns: () => dns.counters(), proxy: counters, calls, breakers: () => breakers.states() });
  const admin = await openAdminServer({
    listen: settings.adminListen,
    pool: settings.vipPool,
    socketPath: join(settings.runDir, ADMIN_SOCKET),
    ownAddresses,
    readiness,
    metrics,
    routes: state.adminRoutes({ proxyKind: () => proxy.kind, pid: process.pid, breakers, verifyToken: tokens.verify }),
    onError: (what, error) => log.error({ what, error }, 'admin request failed'),
  });
  // Closed after proxy and DNS, so that one can watch the drain, and before the node network, whose addresses it may listen on.
  opened.splice(2, 0, { name: 'admin server', close: () => admin.close() });
  for (const warning of admin.warnings) log.warn(warning);

  const fatal = Promise.withResolvers<never>();
  // The first table may be refused before anybody waits for that: a stored one comes while the source is still asked.
  fatal.promise.catch(() => undefined);
  // Programs of a node do not meet routes on loopback.
  const restingPorts = new RestingPorts(settings.vipPool.loopback ? 0 : PORT_REST_MS);
  const runner = new SerialRunner<Snapshot>({
    apply: async (snapshot, _, overtaken) => {
      const effect = await reconcile(
        {
          now: Date.now,
          options: () => ({
            nodeName: settings.nodeName,
            ownAddresses: ownAddresses(),
            pool: settings.vipPool,
            vips: settings.source.kind === 'kubernetes' ? 'status' : 'allocate',
            globalNamespace: settings.globalNamespace,
            trustedCallers: settings.trustedCallers,
            httpPort: settings.httpPort,
            zoneName: settings.zone,
            version,
          }),
          proxy: isAdopted && lastKnownGood.isStale(snapshot) ? { listeners: () => proxy.listeners(), apply: adopt } : proxy,
          saveLedger: (ledger) => ledgerFile.write(ledger),
          useTokenCodes: (codes) => tokens.verifier.setCodes(codes),
          problems: () => [...tokens.problems(), ...clientIp.problems()],
          prepareNode: async (table) => {
            await clientIp.look(table);
            await network.ensure(table);
          },
          checkListeners: async (wanted) => {
            const taken = await checkListeners(wanted, await handOver.portsHeld(proxy.listeners()));
            return restingPorts.refuse(wanted.map(({ address, port }) => ({ key: listenerKey(address, port), port })), taken, performance.now());
          },
          prepareZone: (zone) => dns.prepare(zone),
          serveZone: (zone) => dns.serve(zone),
        },
        snapshot,
        state.effect ?? { generation: 0, ledger: ledgerFile.ledger },
        overtaken,
      );
      state.publish(effect, lastKnownGood.isStale(snapshot));
      // What the API server has never said is no news to it.
      if (!lastKnownGood.isStale(snapshot)) source.report(snapshot, effect.table, effect.problems);
      lastKnownGood.inEffect(snapshot);
      if (!effect.problems.some(isUnapplied)) changeTimes.inEffect(snapshot, performance.now());
      const stuck = effect.problems.find(({ object }) => object.kind === 'Node');
      proxyReadiness.passed(stuck !== undefined && proxy.listeners().size === 0 ? problemLine(stuck) : undefined);
      readiness.done('dns');
      await handOver.passed();
    },
    onError: (error, retryInMs) => {
      // What a person has to mend at the start ends the process with its remedy; later, what is in effect stays.
      if (state.effect === undefined && error instanceof CodedError) fatal.reject(error);
      else log.error({ error: messageOf(error), retryInMs }, 'the change could not be applied and is tried again');
    },
    backoff: new Backoff({ baseMs: 100, maxMs: 10_000 }, Math.random),
    sleep,
  });
  opened.push({ name: 'reconciler', close: () => runner.close() });

  const serve = (snapshot: Snapshot): void => {
    latest = snapshot;
    runner.want(snapshot);
  };
  const lastKnownGood = new LastKnownGood({
    file: openSnapshotFile({ stateDir: settings.stateDir, owner: { node: settings.nodeName, source: sourceName(settings) }, onTrouble: (line) => log.warn(line) }),
    readiness,
    log,
    serve,
  });
  lastKnownGood.addMetrics(metrics);
  opened.push({ name: 'snapshot', close: () => lastKnownGood.close() });
  const objects = await source.listen({
    checkRegexes,
    onSnapshot: (snapshot, changedAtMs) => {
      lastKnownGood.delivered();
      changeTimes.came(snapshot, changedAtMs);
      serve(snapshot);
    },
    onWaiting: (why, refused = false) => {
      lastKnownGood.waiting(why, refused);
    },
    onError: (error) => log.error({ error: messageOf(error) }, 'the source failed and is tried again'),
  });
  opened.push({ name: 'objects', close: () => objects.close() });
  const resync = setInterval(() => {
    if (latest !== undefined) runner.want(latest);
  }, RESYNC_MS);
  opened.push({ name: 'resync', close: async () => clearInterval(resync) });
  opened.push({ name: 'successor', close: () => (proxy.listeners().size > 0 ? handOver.untilSuccessor() : Promise.resolve()) });
  // The first thing to close.
  opened.push({ name: 'stand-in', close: async () => prepareClose() });
  return { failed: fatal.promise };
}

async function makeRunDir(runDir: string): Promise<void> {
  await mkdir(runDir, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw new CodedError({ code: 'run-dir', message: `cannot create ${runDir}: ${messageOf(error)}`, remedy: 'choose a folder that this user may write with --run-dir' }, error);
  });
}
