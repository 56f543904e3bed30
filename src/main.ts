import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import process from 'node:process';
import { keepHeapSmall } from './daemon/io/small-heap.ts';

const USAGE_ERROR = 2;

const [command = '--help', ...argv] = process.argv.slice(2);
// `onehop render ... | head`: the reader has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 3));
process.exitCode = await run();

/** Hands over to one main; each is loaded only when it is asked for. */
async function run(): Promise<number> {
  const version = readVersion();
  if (command === '--version' || command === 'version') return print(`onehop ${version}\n`);
  if (command === 'agent') {
    keepHeapSmall();
    const { runAgent } = await import('./agent/main.ts');
    return runAgent(argv, version);
  }
  if (command === 'controller') {
    const { runController } = await import('./controller/main.ts');
    return runController(argv, version);
  }
  const { renderUsage, runCommand } = await import('./cli/main.ts');
  if (command === '--help' || command === '-h' || command === 'help') return print(renderUsage());
  if (command.startsWith('-')) {
    process.stderr.write(`onehop: give a command before flags; see 'onehop --help'\n`);
    return USAGE_ERROR;
  }
  return runCommand(command, argv, {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    env: process.env,
    workingDirectory: process.cwd(),
    hostname: hostname(),
    version,
  });
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** The version of the package that this file belongs to. */
function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { readonly version: string };
  return version;
}
