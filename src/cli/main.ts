import { CodedError } from '../model/coded-error.ts';
import { breaker } from './breaker.ts';
import { UsageError, type Command, type ExitCode, type Terminal } from './command.ts';
import { doctor } from './doctor.ts';
import { explain } from './explain.ts';
import { release } from './release.ts';
import { render } from './render.ts';
import { routes } from './routes.ts';
import { validate } from './validate.ts';

const COMMANDS: readonly Command[] = [validate, render, routes, explain, breaker, doctor, release];

/** The text of `onehop --help`. `agent` and `controller` are processes of their own and not in the table of commands. */
export function renderUsage(): string {
  const rows = [{ name: 'agent', summary: 'run the router of this node' }, { name: 'controller', summary: 'give routes their addresses and conditions, once per cluster' }, ...COMMANDS];
  return `Onehop: a sidecar-free service router for Kubernetes.

Usage: onehop COMMAND [flags]

${rows.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`).join('\n')}

'onehop COMMAND --help' shows the flags of a command. 'onehop --version' prints the version.
Exit codes: 0 done or asked to stop, 1 problems found, 2 wrong usage, 3 cannot run.
`;
}

/** Runs one command other than `agent`; never throws what a person has to mend. */
export async function runCommand(name: string, argv: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const command = COMMANDS.find((each) => each.name === name);
  if (command === undefined) {
    terminal.err(`onehop: '${name}' is not a command; see 'onehop --help'\n`);
    return 2;
  }
  if (argv.includes('--help') || argv.includes('-h')) {
    terminal.out(command.help);
    return 0;
  }
  try {
    return await command.run(argv, terminal);
  } catch (error) {
    if (error instanceof UsageError) {
      terminal.err(`onehop ${name}: ${error.message}\nSee 'onehop ${name} --help'.\n`);
      return 2;
    }
    if (error instanceof CodedError) {
      terminal.err(`onehop ${name}: ${error.line}\n`);
      return error.exitCode;
    }
    throw error;
  }
}
