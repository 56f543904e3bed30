import { printable, problemLine } from '../model/problem.ts';
import type { TableView } from '../desired/table-view.ts';
import type { Route, Version } from '../model/route-table.ts';
import { describeBreaker } from './describe-breaker.ts';
import { breakerOf } from './explain-call.ts';
import { getFromAgent } from './io/admin-client.ts';
import { readArguments, readShared, refuseRest } from './read-arguments.ts';
import { renderTextTable } from './text-table.ts';
import { UsageError, type Command } from './command.ts';

export const routes: Command = {
  name: 'routes',
  summary: 'table of what a running agent serves',
  help: `Usage: onehop routes [--run-dir DIR] [--json]

Prints the routes that the agent on this node serves, and the problems it knows of. Asks the agent over
admin.sock in its run folder (default /run/onehop, or ONEHOP_RUN_DIR).

  --json   the agent's GET /routes as it is

Exit codes: 0 done, 2 wrong usage, 3 no agent answers.
`,
  run: async (argv, terminal) => {
    const { positionals, own, rest } = readArguments(argv, { 'run-dir': { value: true }, json: { value: false } });
    refuseRest(rest);
    if (positionals.length > 0) throw new UsageError(`'${positionals[0] ?? ''}' is not a flag`);
    const runDir = readShared('runDir', own, terminal);
    if (own['json'] !== undefined) {
      terminal.out(`${JSON.stringify(await getFromAgent(runDir, '/routes'), null, 2)}\n`);
      return 0;
    }
    terminal.out(renderRoutes((await getFromAgent(runDir, '/table')) as TableView));
    return 0;
  },
};

/** The table of routes for people, then the problems. */
export function renderRoutes(view: TableView): string {
  const { table } = view;
  const head = `node ${table.node}, zone ${view.zone}, proxy ${view.proxy}, generation ${view.generation}: ${table.routes.length} routes, ${table.callers.pods.length} local pods`;
  const rows = [['NAMESPACE', 'NAME', 'VIP', 'GLOBAL', 'PORT', 'RULE', 'LIMITS', 'VERSIONS (share: active + backup)'], ...table.routes.map((route) => renderRow(view, route))];
  const problems = [...table.problems, ...view.applyProblems].map((one) => `  ${one.severity}: ${problemLine(one)}`);
  return [head, '', renderTextTable(rows), '', problems.length === 0 ? 'no problems' : `${problems.length} problems:`, ...problems, ''].join('\n');
}

function renderRow(view: TableView, route: Route): readonly string[] {
  const rule = route.invalid ? 'invalid' : route.rule.type === 'Header' ? `Header ${printable(route.rule.header ?? '', 30)}` : route.rule.type || '-';
  return [
    route.namespace,
    route.name,
    route.vip,
    route.globalVip ?? '-',
    `${route.listen}/${route.protocol}`,
    rule,
    renderLimits(route),
    route.versions.map((version) => renderVersion(view, version, route)).join(', ') || '-',
  ];
}

/** Rate, spill-over and access log of a route: `100/s per caller, spills at 16, logs errors`. */
function renderLimits({ rateLimit, log, versions }: Route): string {
  const rate = rateLimit === undefined ? [] : [`${rateLimit.requestsPerSecond}/s ${rateLimit.per === 'Caller' ? 'per caller' : 'in all'}`];
  const logged = log === undefined ? [] : [log.mode === 'Errors' ? 'logs errors' : `logs ${log.percent}%`];
  const at = versions.find(({ spill }) => spill !== undefined)?.spill?.at;
  const spills = at === undefined ? [] : [`spills at ${at}`];
  return [...rate, ...spills, ...logged].join(', ') || '-';
}

function renderVersion(view: TableView, version: Version, route: Route): string {
  const { rule } = route;
  const state = breakerOf(view, route, version);
  const connLimit = version.breaker?.connLimit ?? 0;
  const guards = [...(state === undefined ? [] : [`breaker ${describeBreaker(state, version)}`]), ...(connLimit === 0 ? [] : [`at most ${connLimit} calls`])];

  const share = version.weight !== undefined ? `${version.weight}%` : version.match !== undefined ? `/${printable(version.match, 24)}/` : version.name === rule.prefer ? 'preferred' : 'any';
  const tier = version.active[0]?.tier;
  const guarded = guards.length === 0 ? '' : ` [${guards.join('; ')}]`;
  return `${version.name} (${share}: ${version.active.length}${tier === undefined ? '' : ` ${tier}`} + ${version.backup.length})${guarded}`;
}
