import type { Logger } from '../daemon/io/logger.ts';
import type { AdminRoutes } from '../daemon/io/admin-server.ts';
import type { Metrics } from '../daemon/metrics.ts';
import type { TableView } from '../desired/table-view.ts';
import { problemLine, type Problem } from '../model/problem.ts';
import type { BreakerState } from '../model/breaker.ts';
import type { Proxy } from '../model/proxy.ts';
import type { VerifyToken } from '../model/token.ts';
import type { Settings } from '../settings/settings.ts';
import { addAgentMetrics, type Observed } from './agent-metrics.ts';
import type { BreakerControl } from './breaker-control.ts';
import { sourceName } from './open-source.ts';
import { ProblemLog } from './problem-log.ts';
import type { InEffect } from './reconcile.ts';
import { buildRoutesView } from './routes-view.ts';

/** Problem lines written per pass; the rest follows in the next passes. */
const MAX_LOGGED = 50;

/** What this node has in effect, and how it is shown: log, metrics, admin server. */
export class AgentState {
  readonly #settings: Settings;
  readonly #log: Logger;
  readonly #problemLog = new ProblemLog();
  #effect: InEffect | undefined;
  #stale = false;

  constructor(settings: Settings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
  }

  get effect(): InEffect | undefined {
    return this.#effect;
  }

  /** A pass is through; `stale`: of the stored Snapshot. */
  publish(effect: InEffect, stale: boolean): void {
    this.#effect = effect;
    this.#stale = stale;
    const { appeared, resolved, waiting } = this.#problemLog.update(this.#problems(), MAX_LOGGED);
    for (const one of appeared) this.#log[one.severity === 'error' ? 'error' : 'warn']({ code: one.code, object: one.object }, problemLine(one));
    for (const one of resolved) this.#log.info(`resolved: ${problemLine(one)}`);
    if (waiting > 0) this.#log.warn(`${waiting} more problems follow; 'onehop routes' shows all`);
    const { table, generation } = effect;
    this.#log.debug({ generation, routes: table.routes.length, pods: table.callers.pods.length, problems: this.#problems().length }, 'table in effect');
  }

  addMetrics(metrics: Metrics, parts: Pick<Observed, 'dns' | 'proxy' | 'calls' | 'breakers'>): void {
    addAgentMetrics(metrics, {
      table: () => this.#effect?.table,
      problems: () => this.#problems(),
      generation: () => this.#effect?.generation ?? 0,
      ...parts,
    });
  }

  adminRoutes({ proxyKind, pid, breakers: control, verifyToken }: { readonly proxyKind: () => Proxy['kind']; readonly pid: number; readonly breakers: BreakerControl; readonly verifyToken: VerifyToken }): AdminRoutes {
    const whenReady = (render: (effect: InEffect, breakers: readonly BreakerState[]) => object) => async () => {
      const breakers = await control.states();
      const effect = this.#effect;
      if (effect === undefined) return { status: 503, body: 'no table is in effect yet; see /readyz\n' };
      return { contentType: 'application/json', body: `${JSON.stringify(render(effect, breakers))}\n` };
    };
    const { zone, globalNamespace, vipPool: pool, dnsListen } = this.#settings;
    const source = sourceName(this.#settings);
    return {
      '/routes': {
        access: 'host',
        handler: whenReady(({ table, generation, problems }, breakers) => buildRoutesView(table, { generation, source, stale: this.#stale, proxy: proxyKind(), problems, breakers })),
      },
      '/token': {
        access: 'socket',
        method: 'POST',
        handler: async ({ body }) => ({ contentType: 'application/json', body: `${JSON.stringify(await verifyToken(readToken(body)))}\n` }),
      },
      '/table': {
        access: 'host',
        // Without the digests of codes, which nobody needs to see; /token says whom a token names.
        handler: whenReady(
          ({ table, generation, problems }, breakers) =>
            ({ pid, generation, proxy: proxyKind(), zone, globalNamespace, pool, dnsListen, table: { ...table, tokenCodes: [] }, applyProblems: problems, breakers }) satisfies TableView,
        ),
      },
      '/breaker': { access: 'socket', method: 'POST', handler: ({ body }) => control.answer(body) },
    };
  }

  #problems(): readonly Problem[] {
    return this.#effect === undefined ? [] : [...this.#effect.table.problems, ...this.#effect.problems];
  }
}

/** The token of a body `{"token": ...}`; empty, which is none, when it is anything else. */
function readToken(body: string): string {
  try {
    const { token } = JSON.parse(body) as { readonly token?: unknown };
    return typeof token === 'string' ? token : '';
  } catch {
    return '';
  }
}
