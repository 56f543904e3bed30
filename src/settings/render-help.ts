import { FLAGS, variableOf } from './flags.ts';
import type { Flag } from './flags.ts';
import { LATER } from './later.ts';

/** The text of `onehop agent --help`. */
export function renderHelp(): string {
  const blocks = rows().map(({ usage, help, defaultText }) => `  ${usage}\n      ${help}\n      default: ${defaultText}`);
  return [
    'Usage: onehop agent [flags]',
    '',
    'Each flag can also be set by an environment variable: ONEHOP_ and its name in upper case, - as _.',
    'A flag stands above its variable.',
    '',
    ...blocks,
    '',
  ].join('\n');
}

/** The Markdown table of `docs/flags.md`. */
export function renderFlagTable(): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|');
  const lines = rows().map(
    ({ usage, variable, help, defaultText }) => `| \`${cell(usage)}\` | \`${variable}\` | ${cell(defaultText)} | ${cell(help)} |`,
  );
  return ['| flag | variable | default | |', '|---|---|---|---|', ...lines, ''].join('\n');
}

function rows() {
  return Object.values<Flag<unknown>>(FLAGS).map((flag) => ({
    usage: flag.value === undefined ? `--${flag.name}` : `--${flag.name} ${flag.value}`,
    variable: variableOf(flag.name),
    help: `${flag.help}${laterNote(flag.name)}`,
    defaultText: flag.shownDefault ?? (typeof flag.default === 'string' ? flag.default : ''),
  }));
}

function laterNote(flagName: string): string {
  const later = LATER.find((each) => each.flag === flagName);
  if (later === undefined) return '';
  return later.value === undefined ? ' (not in this version)' : ` (${later.value}: not in this version)`;
}
