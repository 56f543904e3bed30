import { parseArgs } from 'node:util';
import { messageOf } from '../model/coded-error.ts';
import { printable } from '../model/problem.ts';
import { isReservedPort } from '../model/reserved-ports.ts';
import { FLAGS, variableOf } from './flags.ts';
import type { DefaultsFrom, Flag } from './flags.ts';
import { refusedForNow } from './later.ts';
import { nearest } from './nearest.ts';
import { renderHelp } from './render-help.ts';
import type { Facts, ListenAddress, Settings } from './settings.ts';

export type ParsedSettings =
  | { readonly settings: Settings }
  /** Every error, each one printable line. The process ends with exit code 2. */
  | { readonly errors: readonly string[] }
  | { readonly help: string };

/**
 * Reads the agent's arguments (after the subcommand) and environment. A flag stands above its variable `ONEHOP_...`,
 * that above the default; an empty variable counts as absent. All errors are reported together.
 */
export function parseSettings(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  facts: Facts,
): ParsedSettings {
  const { given, errors } = readFlags(argv);
  if (given.has('help')) return { help: renderHelp() };

  const found: { -readonly [Key in keyof Settings]?: unknown } = {};
  for (const [key, flag] of Object.entries<Flag<unknown>>(FLAGS) as [keyof Settings, Flag<unknown>][]) {
    const chosen = chooseText(flag, given.get(flag.name), { env, facts, above: found as Partial<Settings> });
    if (chosen === undefined) continue;
    const refusal = refusedForNow(flag.name, chosen.text, chosen.setByHand);
    try {
      if (refusal !== undefined) errors.push(`--${flag.name}${refusal}`);
      else found[key] = flag.parse(chosen.text, facts);
    } catch (error) {
      errors.push(`${chosen.from}: ${messageOf(error)}`);
    }
  }
  if (errors.length > 0) return { errors: errors.map((line) => printable(line)) };

  const settings = found as Settings;
  const contradictions = findContradictions(settings);
  return contradictions.length > 0 ? { errors: contradictions } : { settings: Object.freeze(settings) };
}

/** Which text decides a setting, and where it comes from. */
function chooseText(flag: Flag<unknown>, fromFlag: string | undefined, defaults: DefaultsFrom) {
  if (fromFlag !== undefined) return { text: fromFlag, from: `--${flag.name}`, setByHand: true };
  const variable = variableOf(flag.name);
  const fromEnv = defaults.env[variable];
  if (fromEnv !== undefined && fromEnv !== '') return { text: fromEnv, from: variable, setByHand: true };
  const text = typeof flag.default === 'string' ? flag.default : flag.default(defaults);
  return text === undefined ? undefined : { text, from: `--${flag.name}`, setByHand: false };
}

/** Splits the arguments into flag -> text (a bare switch is `true`) and errors. */
function readFlags(argv: readonly string[]): { given: Map<string, string>; errors: string[] } {
  const flags = new Map<string, Flag<unknown>>(Object.values<Flag<unknown>>(FLAGS).map((flag) => [flag.name, flag]));
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

/** Rules between settings that are each valid alone. */
function findContradictions(settings: Settings): string[] {
  const errors: string[] = [];
  if (settings.haproxyAttach && settings.proxy === 'embedded') {
    errors.push('--haproxy-attach and --proxy embedded exclude each other; leave one out');
  }
  if (isReservedPort(settings.httpPort)) {
    errors.push(`--http-port ${settings.httpPort} is reserved (DNS, admin, kubelet or node ports): every route without spec.port.listen would be invalid`);
  }
  const { adminListen, dnsListen, httpPort } = settings;
  if (dnsListen.some((dns) => dns.port === adminListen.port && (isWildcard(dns) || isWildcard(adminListen) || dns.address === adminListen.address))) {
    errors.push(`--dns-listen and --admin-listen share port ${adminListen.port}; DNS also listens on TCP: choose another port for one of them`);
  }
  for (const [flag, listen] of [['admin-listen', [adminListen]], ['dns-listen', dnsListen]] as const) {
    if (listen.some((each) => isWildcard(each) && each.port === httpPort)) {
      errors.push(`--${flag} takes port ${httpPort} of all addresses, which is --http-port: name an address, or choose another port for one of them`);
    }
  }
  return errors;
}

const isWildcard = ({ address }: ListenAddress): boolean => address === '0.0.0.0' || address === '::';
