import { messageOf } from '../model/coded-error.ts';
import type { Command, Terminal } from './command.ts';
import type { Finding } from './finding.ts';
import { DOCTOR_CHECKS } from './io/doctor-checks.ts';
import { isGiven, readArguments, readSettings } from './read-arguments.ts';

const MARKS: Readonly<Record<Finding['state'], string>> = { ok: 'ok  ', problem: 'FAIL', note: 'note', skipped: '-   ' };

export const doctor: Command = {
  name: 'doctor',
  summary: 'check this node: ports, pool, HAProxy, limits, DNS',
  help: `Usage: onehop doctor [agent flags]

Checks what Onehop needs on this node and says what to do about each thing that is not as it should be: the pool route and the
claim table, overlaps of the pool with the node's routes, the ports of DNS and admin server and who holds them, HAProxy's version
and features, the limit of open files, whether the API server lets the agent read what it needs, whether the agent is ready, whether a
pod can take another's address, what --client-ip preserve needs, whether DNS answers and the node's resolver forwards the zone.
Give it the flags of the agent that runs here, or the same ONEHOP_ variables.

Exit codes: 0 all is well, 1 problems found, 2 wrong usage.
`,
  run: async (argv, terminal) => {
    const { rest } = readArguments(argv, {});
    // Without a word about it the source is the cluster only inside one: the demo's agent, say, reads a folder.
    const told = isGiven('source', rest, terminal) || isGiven('kubeconfig', rest, terminal) || terminal.env['KUBERNETES_SERVICE_HOST'] !== undefined;
    const settings = readSettings(rest, told ? undefined : terminal.workingDirectory, terminal);
    let problems = 0;
    for (const { name, check } of DOCTOR_CHECKS) {
      const findings = await check(settings).catch((error: unknown): readonly Finding[] => [{ state: 'problem', text: messageOf(error) }]);
      for (const finding of findings) {
        if (finding.state === 'problem') problems++;
        print(terminal, name, finding);
      }
    }
    terminal.out(problems === 0 ? 'all is well\n' : `${problems} ${problems === 1 ? 'problem' : 'problems'} found\n`);
    return problems === 0 ? 0 : 1;
  },
};

function print(terminal: Terminal, name: string, { state, text, remedy }: Finding): void {
  terminal.out(`${MARKS[state]} ${name.padEnd(14)} ${text}${remedy === undefined ? '' : `\n     ${''.padEnd(14)} -> ${remedy}`}\n`);
}
