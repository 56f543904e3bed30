import { messageOf } from '../model/coded-error.ts';
import { printable } from '../model/problem.ts';
import { FLAGS, variableOf } from '../settings/flags.ts';
import { parseSettings } from '../settings/parse-settings.ts';
import type { Settings } from '../settings/settings.ts';
import { UsageError, type Terminal } from './command.ts';

/** A flag of one command: `value` flags take a text, may be repeated; switches do not. */
export type OwnFlags = Readonly<Record<string, { readonly value: boolean; readonly short?: string }>>;

export interface Arguments {
  readonly positionals: readonly string[];
  /** Texts of each own flag, in order; a switch that is there has one empty text. */
  readonly own: Readonly<Record<string, readonly string[]>>;
  /** What is left for the agent's flags. */
  readonly rest: readonly string[];
}

/**
 * Splits arguments into positionals, the command's own flags and the agent's flags (which it may share: `--node-name`, `--zone`, ...).
 * @throws UsageError on a flag without its value
 */
export function readArguments(argv: readonly string[], ownFlags: OwnFlags): Arguments {
  const agentSwitches = new Set(Object.values(FLAGS).filter((flag) => flag.value === undefined).map((flag) => flag.name));
  const positionals: string[] = [];
  const own: Record<string, string[]> = {};
  const rest: string[] = [];
  const queue = [...argv];
  for (let text = queue.shift(); text !== undefined; text = queue.shift()) {
    if (!text.startsWith('-') || text === '-') {
      positionals.push(text);
      continue;
    }
    const [dashed = '', inline] = splitOnce(text, '=');
    const name = Object.keys(ownFlags).find((each) => `--${each}` === dashed || `-${ownFlags[each]?.short ?? ''}` === dashed);
    const takesValue = name === undefined ? !agentSwitches.has(dashed.slice(2)) : ownFlags[name]?.value === true;
    const value = inline ?? (takesValue ? queue.shift() : '');
    if (value === undefined) throw new UsageError(`${dashed} needs a value`);
    if (name !== undefined) (own[name] ??= []).push(value);
    else rest.push(takesValue ? `${dashed}=${value}` : text);
  }
  return { positionals, own, rest };
}

function splitOnce(text: string, separator: string): readonly string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/**
 * The agent's settings for a command that reads a folder: its path comes from a positional or `--source dir:PATH`.
 * @throws UsageError with all errors, one per line
 */
export function readSettings(rest: readonly string[], path: string | undefined, terminal: Terminal): Settings {
  const source = path === undefined ? [] : [`--source=dir:${path}`];
  const parsed = parseSettings([...source, ...rest], terminal.env, {
    hostname: terminal.hostname,
    workingDirectory: terminal.workingDirectory,
    terminal: false,
  });
  if ('settings' in parsed) return parsed.settings;
  throw new UsageError('errors' in parsed ? parsed.errors.join('\n') : parsed.help);
}

/** One of the agent's flags that a command has as its own: the flag, its variable (empty counts as absent) or its default. */
export function readShared<Key extends 'runDir' | 'globalNamespace' | 'haproxyBin' | 'vipPool' | 'kubeconfig' | 'systemNamespace'>(key: Key, own: Arguments['own'], terminal: Terminal): Settings[Key] {
  const flag = FLAGS[key];
  const variable = variableOf(flag.name);
  const given = own[flag.name]?.at(-1);
  const text = given ?? (terminal.env[variable] || String(flag.default));
  try {
    return flag.parse(text, { hostname: terminal.hostname, workingDirectory: terminal.workingDirectory, terminal: false });
  } catch (error) {
    throw new UsageError(printable(`${given === undefined ? variable : `--${flag.name}`}: ${messageOf(error)}`));
  }
}

/** Whether one of the agent's flags was given, on the command line or by its variable. */
export const isGiven = (flagName: string, rest: readonly string[], terminal: Terminal): boolean =>
  rest.some((flag) => flag.startsWith(`--${flagName}=`)) || (terminal.env[variableOf(flagName)] ?? '') !== '';

/** @throws UsageError when flags are left that the command does not know */
export function refuseRest(rest: readonly string[]): void {
  const [first] = rest;
  if (first !== undefined) throw new UsageError(`${first.split('=')[0] ?? ''} is not a flag of this command`);
}
