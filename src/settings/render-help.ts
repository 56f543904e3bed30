import { variableOf } from './flags.ts';
import type { FlagTable } from './parse-table.ts';

/** The text of `onehop COMMAND --help`. */
export function renderHelp(command: string, table: FlagTable): string {
  const blocks = rows(table).map(({ usage, help, defaultText }) => `  ${usage}\n      ${help}\n      default: ${defaultText}`);
  return [
    `Usage: onehop ${command} [flags]`,
    '',
    'Each flag can also be set by an environment variable: ONEHOP_ and its name in upper case, - as _.',
    'A flag stands above its variable.',
    '',
    ...blocks,
    '',
  ].join('\n');
}

/** A Markdown table of `docs/flags.md`. */
export function renderFlagTable(table: FlagTable): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|');
  const lines = rows(table).map(
    ({ usage, variable, help, defaultText }) => `| \`${cell(usage)}\` | \`${variable}\` | ${cell(defaultText)} | ${cell(help)} |`,
  );
  return ['| flag | variable | default | |', '|---|---|---|---|', ...lines, ''].join('\n');
}

function rows(table: FlagTable) {
  return Object.values(table).map((flag) => ({
    usage: flag.value === undefined ? `--${flag.name}` : `--${flag.name} ${flag.value}`,
    variable: variableOf(flag.name),
    help: flag.help,
    defaultText: flag.shownDefault ?? (typeof flag.default === 'string' ? flag.default : ''),
  }));
}
