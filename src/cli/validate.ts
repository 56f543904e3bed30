import { access } from 'node:fs/promises';
import { validatePaths } from '../kube/io/read-folder.ts';
import { problemLine, type Problem } from '../model/problem.ts';
import { parseVipPool } from '../model/vip-pool.ts';
import { buildTable } from '../routing/build-table.ts';
import { UsageError, type Command } from './command.ts';
import { openBestRegexCheck } from './io/open-best-regex-check.ts';
import { readArguments, readShared, refuseRest } from './read-arguments.ts';

export const validate: Command = {
  name: 'validate',
  summary: 'check files of ServiceRoutes before they are applied',
  help: `Usage: onehop validate PATH... [--global-namespace NAME] [--haproxy-bin PATH] [--strict]

Reads files and folders of Kubernetes YAML and prints every problem with file, line, object, field and remedy.
ServiceRoutes are checked against their schema, regular expressions with HAProxy when it is installed. When the files hold
Services too, references to Services, ports and addresses are checked as an agent does.

  --strict   warnings count as problems

Exit codes: 0 no problems, 1 problems found, 2 wrong usage.
`,
  run: async (argv, terminal) => {
    const { positionals, own, rest } = readArguments(argv, { 'global-namespace': { value: true }, 'haproxy-bin': { value: true }, strict: { value: false } });
    refuseRest(rest);
    if (positionals.length === 0) throw new UsageError('give at least one file or folder');
    for (const path of positionals) {
      await access(path).catch(() => {
        throw new UsageError(`there is no file or folder '${path}'`);
      });
    }
    const globalNamespace = readShared('globalNamespace', own, terminal);
    const checkRegexes = await openBestRegexCheck(readShared('haproxyBin', own, terminal));
    const { objects, problems: found, snapshot } = await validatePaths(positionals, { globalNamespace, checkRegexes });
    // Without Services the files hold routes alone: what they refer to is elsewhere.
    const problems: readonly Problem[] = snapshot.services.length === 0 ? found : resolveAll(snapshot, globalNamespace);

    for (const one of problems) terminal.out(`${one.severity}: ${problemLine(one)}\n`);
    const errors = problems.filter((one) => one.severity === 'error').length;
    const warnings = problems.length - errors;
    terminal.out(`${objects} objects: ${errors} errors, ${warnings} warnings\n`);
    return errors > 0 || (own['strict'] !== undefined && warnings > 0) ? 1 : 0;
  },
};

/** The problems of a whole cluster: as seen by a node that has none of its pods, in the default pool unless files say loopback. */
function resolveAll(snapshot: Parameters<typeof buildTable>[0], globalNamespace: string): readonly Problem[] {
  const onLoopback = snapshot.endpointSlices.some((slice) => slice.endpoints.some((endpoint) => endpoint.addresses.some((address) => address.startsWith('127.'))));
  const pool = parseVipPool(onLoopback ? '127.77.0.0/16' : '169.254.192.0/19');
  const options = { nodeName: '', ownAddresses: [], pool, globalNamespace, trustedCallers: [], httpPort: 80 };
  return buildTable(snapshot, options, {}, 0).table.problems;
}
