import type { BreakerMode } from '../model/breaker.ts';
import { objectKey } from '../model/names.ts';
import { printable } from '../model/problem.ts';
import type { TableView } from '../desired/table-view.ts';
import type { Route, Version } from '../model/route-table.ts';
import { UsageError, type Command } from './command.ts';
import { describeBreaker } from './describe-breaker.ts';
import { breakerOf, findRoute, notFound } from './explain-call.ts';
import { getFromAgent, postToAgent } from './io/admin-client.ts';
import { readArguments, readShared, refuseRest } from './read-arguments.ts';
import { renderTextTable } from './text-table.ts';

const MODES: readonly BreakerMode[] = ['open', 'close', 'auto'];

export const breaker: Command = {
  name: 'breaker',
  summary: 'what the circuit breakers of this node do; holds one open or closed',
  help: `Usage: onehop breaker [list] [--run-dir DIR]
       onehop breaker open|close|auto ROUTE VERSION [--run-dir DIR]

Shows the circuit breakers of the routes that the agent on this node serves, or changes one:

  open     refuse all calls of the version (503 breaker-open), whatever its servers do
  close    let all calls pass, whatever their errors
  auto     leave it to its errors again, which are counted anew

ROUTE is namespace/name, a name as callers write it (svc21.shop), or a VIP; VERSION is the name of the version's
Service. The version must have a breaker: breaker.threshold above 0. It holds on this node, until 'auto' or the end of
the proxy. Asks the agent over admin.sock in its run folder (default /run/onehop, or ONEHOP_RUN_DIR).

Exit codes: 0 done, 1 there is no such route, version or breaker, 2 wrong usage, 3 no agent answers.
`,
  run: async (argv, terminal) => {
    const { positionals, own, rest } = readArguments(argv, { 'run-dir': { value: true } });
    refuseRest(rest);
    const [action = 'list', host, versionName, ...more] = positionals;
    const mode = MODES.find((each) => each === action);
    if (mode === undefined && action !== 'list') throw new UsageError(`'${printable(action, 40)}' is none of list, open, close, auto`);
    if (mode === undefined && host !== undefined) throw new UsageError('list takes no route');
    const runDir = readShared('runDir', own, terminal);
    if (mode === undefined) {
      terminal.out(renderBreakers((await getFromAgent(runDir, '/table')) as TableView));
      return 0;
    }
    if (host === undefined || versionName === undefined || more.length > 0) throw new UsageError(`${mode} takes ROUTE and VERSION`);
    const view = (await getFromAgent(runDir, '/table')) as TableView;
    const found = findBreaker(view, host, versionName);
    if ('missing' in found) {
      terminal.err(`onehop breaker: ${found.missing}\n`);
      return 1;
    }
    const { route, version } = found;
    await postToAgent(runDir, '/breaker', { namespace: route.namespace, route: route.name, version: version.name, mode });
    terminal.out(`${objectKey(route)} ${version.name}: ${mode === 'auto' ? 'left to its errors' : `held ${mode === 'open' ? 'open' : 'closed'} on node ${view.table.node}`}\n`);
    return 0;
  },
};

/** One row for each version that has a breaker. */
export function renderBreakers(view: TableView): string {
  const rows = view.table.routes.flatMap((route) =>
    route.versions.flatMap((version) => {
      const state = breakerOf(view, route, version);
      return state === undefined ? [] : [[objectKey(route), version.name, state.open ? 'open' : 'closed', state.mode, describeBreaker(state, version)]];
    }),
  );
  return rows.length === 0 ? 'no version has a breaker\n' : `${renderTextTable([['ROUTE', 'VERSION', 'STATE', 'MODE', ''], ...rows])}\n`;
}

/** `missing`: one line for people. */
function findBreaker(view: TableView, host: string, versionName: string): { readonly route: Route; readonly version: Version } | { readonly missing: string } {
  const route = findRoute(view, host, { kind: 'host' })?.route;
  if (route === undefined) return { missing: `${printable(notFound(view, host))}; give namespace/name` };
  const version = route.versions.find(({ name }) => name === versionName);
  const names = route.versions.map(({ name }) => name).join(', ');
  if (version === undefined) return { missing: `route ${objectKey(route)} has no version ${printable(versionName, 80)}; it has ${names || 'none'}` };
  if ((version.breaker?.threshold ?? 0) === 0) return { missing: `version ${version.name} of ${objectKey(route)} has no breaker; set its breaker.threshold in the ServiceRoute` };
  return { route, version };
}
