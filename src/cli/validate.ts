import { access } from 'node:fs/promises';
import { validatePaths } from '../kube/io/read-folder.ts';
import { problemLine, type Problem } from '../model/problem.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { isRouteVip, parseVipPool, type VipPool } from '../model/vip-pool.ts';
import { buildTable } from '../routing/build-table.ts';
import { UsageError, type Command } from './command.ts';
import { openBestRegexCheck } from './io/open-best-regex-check.ts';
import { isGiven, readArguments, readShared, refuseRest } from './read-arguments.ts';

export const validate: Command = {
  name: 'validate',
  summary: 'check files of ServiceRoutes before they are applied',
  help: `Usage: onehop validate PATH... [--global-namespace NAME] [--vip-pool CIDR] [--haproxy-bin PATH] [--strict]

Reads files and folders of Kubernetes YAML and prints every problem with file, line, object, field and remedy.
ServiceRoutes are checked against their schema, regular expressions with HAProxy when it is installed. When the files hold
Services too, references to Services, ports and addresses are checked as an agent does; whether an address in status.vip lies
in the pool only with --vip-pool.

  --strict   warnings count as problems

Exit codes: 0 no problems, 1 problems found, 2 wrong usage.
`,
  run: async (argv, terminal) => {
    const { positionals, own, rest } = readArguments(argv, {
      'global-namespace': { value: true },
      'vip-pool': { value: true },
      'haproxy-bin': { value: true },
      strict: { value: false },
    });
    refuseRest(rest);
    if (positionals.length === 0) throw new UsageError('give at least one file or folder');
    for (const path of positionals) {
      await access(path).catch(() => {
        throw new UsageError(`there is no file or folder '${path}'`);
      });
    }
    const globalNamespace = readShared('globalNamespace', own, terminal);
    const knownPool = own['vip-pool'] !== undefined || isGiven('vip-pool', rest, terminal) ? readShared('vipPool', own, terminal) : undefined;
    const checkRegexes = await openBestRegexCheck(readShared('haproxyBin', own, terminal));
    const { objects, problems: found, snapshot } = await validatePaths(positionals, { globalNamespace, checkRegexes });
    // Without Services the files hold routes alone: what they refer to is elsewhere.
    const problems: readonly Problem[] = snapshot.services.length === 0 ? found : resolveAll(knownPool === undefined ? withoutForeignPins(snapshot) : snapshot, knownPool ?? guessPool(snapshot), globalNamespace);

    for (const one of problems) terminal.out(`${one.severity}: ${problemLine(one)}\n`);
    const errors = problems.filter((one) => one.severity === 'error').length;
    const warnings = problems.length - errors;
    terminal.out(`${count(objects, 'object')}: ${count(errors, 'error')}, ${count(warnings, 'warning')}\n`);
    return errors > 0 || (own['strict'] !== undefined && warnings > 0) ? 1 : 0;
  },
};

/** The problems of a whole cluster: as seen by a node that has none of its pods. */
function resolveAll(snapshot: Snapshot, pool: VipPool, globalNamespace: string): readonly Problem[] {
  const options = { nodeName: '', ownAddresses: [], pool, vips: 'allocate' as const, globalNamespace, trustedCallers: [], httpPort: 80 };
  return buildTable(snapshot, options, {}, 0).table.problems;
}

/** The default pool, or the quickstart's when endpoints say loopback. */
function guessPool({ endpointSlices }: Snapshot): VipPool {
  const onLoopback = endpointSlices.some((slice) => slice.endpoints.some((endpoint) => endpoint.addresses.some((address) => address.startsWith('127.'))));
  return parseVipPool(onLoopback ? '127.77.0.0/16' : '169.254.192.0/19');
}

/** Without the pinned addresses that a guessed pool does not have: they may well lie in the real one. */
function withoutForeignPins(snapshot: Snapshot): Snapshot {
  const pool = guessPool(snapshot);
  const inPool = (vip: string | undefined): boolean => vip === undefined || isRouteVip(pool, vip);
  return { ...snapshot, serviceRoutes: snapshot.serviceRoutes.map((route) => (inPool(route.status.vip) && inPool(route.status.globalVip) ? route : { ...route, status: {} })) };
}

const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`;
