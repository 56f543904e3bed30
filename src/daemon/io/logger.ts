import { pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { printable } from '../../model/problem.ts';

/** A room gets its own child: `log.child({ room: 'dns' })`. */
export type Logger = pino.Logger;

const STANDARD_ERROR = 2;
const MAX_VALUE = 2_000;

export interface LoggerOptions {
  readonly level: string;
  readonly format: 'json' | 'pretty';
  readonly colorize?: boolean;
  /** Standard error unless given: standard output belongs to the CLI's results. */
  readonly destination?: number | string;
}

/**
 * Opens the log of this process. Lines are written at once, so none is lost when the process ends. JSON escapes control
 * characters by itself; for people every text is made printable first, so that no object's text can steer a terminal or forge a line.
 */
export function openLogger(options: LoggerOptions): Logger {
  const destination = pino.destination({ dest: options.destination ?? STANDARD_ERROR, sync: true });
  const settings: pino.LoggerOptions = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { error: pino.stdSerializers.err },
  };
  if (options.format === 'json') return pino(settings, destination);
  const prettify = prettyFactory({
    colorize: options.colorize ?? false,
    translateTime: 'SYS:HH:MM:ss.l',
    singleLine: true,
    messageFormat: (line, key, _label, { colors }) => {
      const { room, [key]: message } = line;
      return `${typeof room === 'string' ? `${colors.cyan(room)}: ` : ''}${typeof message === 'string' ? message : ''}`;
    },
    ignore: 'room',
    // By itself it would show an object as [object Object].
    customPrettifiers: { caller: (caller) => JSON.stringify(caller) },
    errorLikeObjectKeys: [],
  });
  return pino(settings, { write: (line) => void destination.write(prettify(makePrintable(JSON.parse(line)))) });
}

/** Every text inside `value`, keys too, printable and bounded. */
function makePrintable(value: unknown): unknown {
  if (typeof value === 'string') return printable(value, MAX_VALUE);
  if (Array.isArray(value)) return value.map(makePrintable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [printable(key, 100), makePrintable(inner)]));
}
