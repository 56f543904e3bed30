import { problemLine } from '../model/problem.ts';
import { UsageError, type Command } from './command.ts';
import { renderZone } from '../dns/render-zone.ts';
import { renderNodeConfig } from './io/render-node-config.ts';
import { readDesired } from './io/read-table-view.ts';
import { openBestRegexCheck } from './io/open-best-regex-check.ts';
import { isGiven, readArguments, readSettings } from './read-arguments.ts';

const PARTS = ['config', 'zone', 'problems'] as const;

export const render: Command = {
  name: 'render',
  summary: 'HAProxy configuration, zone and problems from a folder, for any node',
  help: `Usage: onehop render PATH [--only config|zone|problems] [--node-name NAME] [--state-dir DIR] [agent flags]

Prints what an agent with these flags would serve for a folder of Kubernetes YAML, without starting anything:
haproxy.cfg and its map files, the DNS zone in master file form, and the problems. --node-name may be any node.
With --state-dir addresses are those that the agent of that folder remembers.

  --only PART   one part only

Exit codes: 0 no problems, 1 problems found, 2 wrong usage.
`,
  run: async (argv, terminal) => {
    const { positionals, own, rest } = readArguments(argv, { only: { value: true } });
    const only = own['only']?.at(-1);
    if (only !== undefined && !PARTS.some((part) => part === only)) throw new UsageError(`--only ${only}: give one of ${PARTS.join(', ')}`);
    const fromFlag = rest.some((flag) => flag.startsWith('--source='));
    if (positionals.length !== (fromFlag ? 0 : 1)) throw new UsageError('give one folder or file');
    const settings = readSettings(rest, positionals[0], terminal);
    const useLedger = isGiven('state-dir', rest, terminal);
    const desired = await readDesired(settings, terminal.version, useLedger, await openBestRegexCheck(settings.haproxyBin));
    const { problems } = desired.table;

    const sections = {
      config: () => renderNodeConfig(desired.table, settings),
      zone: async () => renderZone(desired.zone),
      problems: async () => problems.map((one) => `${one.severity}: ${problemLine(one)}\n`).join('') || 'no problems\n',
    };
    for (const part of PARTS) {
      if (only !== undefined && only !== part) continue;
      if (only === undefined) terminal.out(`### ${part}\n`);
      terminal.out(await sections[part]());
    }
    return problems.some((one) => one.severity === 'error') ? 1 : 0;
  },
};
