import { parseArgs } from 'node:util';
import { messageOf } from '../model/coded-error.ts';
import { variableOf } from './flags.ts';
import type { DefaultsFrom, Flag } from './flags.ts';
import { nearest } from './nearest.ts';
import type { Facts } from './settings.ts';

/** The flags of one process by the name of the setting, in the order of its help text. */
export type FlagTable<Settings = Readonly<Record<string, unknown>>> = { readonly [Key in keyof Settings]: Flag<Settings[Key]> };

export type ParsedTable<Settings> =
  /** By the name of the setting; complete when there are no errors. */
  | { readonly found: Partial<Settings>; readonly errors: readonly string[] }
  | { readonly help: true };

/**
 * Reads arguments and environment by a table. A flag stands above its variable `ONEHOP_...`, that above the default; an empty variable
 * counts as absent.
 */
export function parseTable<Settings>(
  table: FlagTable<Settings>,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  facts: Facts,
): ParsedTable<Settings> {
  const flags = Object.entries<Flag<unknown>>(table);
  const { given, errors } = readFlags(flags.map(([, flag]) => flag), argv);
  if (given.has('help')) return { help: true };
  const found: { -readonly [Key in keyof Settings]?: unknown } = {};
  for (const [key, flag] of flags as [keyof Settings, Flag<unknown>][]) {
    const chosen = chooseText(flag, given.get(flag.name), { env, facts, above: found });
    if (chosen === undefined) continue;
    try {
      found[key] = flag.parse(chosen.text, facts);
    } catch (error) {
      errors.push(`${chosen.from}: ${messageOf(error)}`);
    }
  }
  return { found: found as Partial<Settings>, errors };
}

/** Which text decides a setting, and where it comes from. */
function chooseText(flag: Flag<unknown>, fromFlag: string | undefined, defaults: DefaultsFrom) {
  if (fromFlag !== undefined) return { text: fromFlag, from: `--${flag.name}` };
  const variable = variableOf(flag.name);
  const fromEnv = defaults.env[variable];
  if (fromEnv !== undefined && fromEnv !== '') return { text: fromEnv, from: variable };
  const text = typeof flag.default === 'string' ? flag.default : flag.default(defaults);
  return text === undefined ? undefined : { text, from: `--${flag.name}` };
}

/** Splits the arguments into flag -> text (a bare switch is `true`) and errors. */
function readFlags(table: readonly Flag<unknown>[], argv: readonly string[]): { given: Map<string, string>; errors: string[] } {
  const flags = new Map<string, Flag<unknown>>(table.map((flag) => [flag.name, flag]));
  const { tokens } = parseArgs({
    args: [...argv],
    strict: false,
    tokens: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      ...Object.fromEntries([...flags.values()].map((flag) => [flag.name, { type: flag.value === undefined ? 'boolean' : 'string' } as const])),
    },
  });
  const given = new Map<string, string>();
  const errors: string[] = [];
  let strayIsValue = false;
  for (const token of tokens) {
    if (token.kind === 'positional' && !strayIsValue) errors.push(`'${token.value}' is not a flag; flags begin with --`);
    strayIsValue = false;
    if (token.kind !== 'option') continue;
    const flag = flags.get(token.name);
    if (token.name === 'help') given.set('help', 'true');
    else if (flag === undefined) {
      const like = nearest(token.name, [...flags.keys(), 'help']);
      errors.push(`${token.rawName} is not a flag${like === undefined ? '' : `; did you mean --${like}?`}`);
      strayIsValue = token.value === undefined;
    } else if (given.has(flag.name)) errors.push(`--${flag.name} is given twice`);
    else if (flag.value === undefined) given.set(flag.name, token.value ?? 'true');
    else if (token.value === undefined || (!token.inlineValue && token.value.startsWith('--'))) {
      errors.push(`--${flag.name} needs a value: --${flag.name} ${flag.value}`);
    } else given.set(flag.name, token.value);
  }
  return { given, errors };
}
