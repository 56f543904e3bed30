import process from 'node:process';
import { CodedError, messageOf } from '../../model/coded-error.ts';
import { closeInOrder, type CloseStep } from '../close-in-order.ts';
import { openLogger, type Logger, type LoggerOptions } from './logger.ts';
import { catchStopSignals, runUntilSignal } from './run-until-signal.ts';
import { sleep } from './timers.ts';

/** What every long-running process is told. */
interface LogSettings {
  readonly logLevel: LoggerOptions['level'];
  readonly logFormat: LoggerOptions['format'];
}

export interface DaemonPlan<Settings extends LogSettings> {
  /** As people start it: `onehop agent`. */
  readonly command: string;
  readonly parsed: { readonly settings: Settings } | { readonly errors: readonly string[] } | { readonly help: string };
  /** How long what is in flight may take after a stop signal. */
  readonly drainMs: (settings: Settings) => number;
  /**
   * Opens everything in order; each part is noted in `opened`, to be closed in reverse. `failed` rejects when the process cannot go on.
   * @throws CodedError when a person has to mend something first
   */
  readonly start: (settings: Settings, log: Logger, opened: CloseStep[]) => Promise<{ readonly failed?: Promise<never> }>;
}

/** Runs one long-lived process until a signal. Resolves with the exit code: 0 asked to stop, 2 wrong usage, 3 cannot run. */
export async function runDaemon<Settings extends LogSettings>({ command, parsed, drainMs, start }: DaemonPlan<Settings>): Promise<number> {
  if ('help' in parsed) {
    process.stdout.write(parsed.help);
    return 0;
  }
  if ('errors' in parsed) {
    process.stderr.write(`${parsed.errors.map((line) => `${command}: ${line}\n`).join('')}See '${command} --help'.\n`);
    return 2;
  }
  const { settings } = parsed;
  const log = openLogger({ level: settings.logLevel, format: settings.logFormat, colorize: settings.logFormat === 'pretty' && process.stderr.isTTY });
  /** The one line of a process that cannot run. */
  const tell = (error: unknown): void => void process.stderr.write(`${command}: ${error instanceof CodedError ? error.line : messageOf(error)}\n`);
  const opened: CloseStep[] = [];
  const signals = catchStopSignals({ withParent: process.env['npm_command'] !== undefined });
  try {
    const { failed } = await start(settings, log, opened);
    failed?.catch(tell);
    return await runUntilSignal({
      signals,
      steps: () => opened.toReversed(),
      deadlineMs: drainMs(settings),
      ...(failed === undefined ? {} : { failed }),
      onStop: (reason) => log.info({ reason }, 'stopping: draining what is in flight'),
      onClosed: (steps) => {
        for (const step of steps) if (step.outcome !== 'closed') log.error({ step: step.name, outcome: step.outcome, error: step.error }, 'not closed cleanly');
        log.info('stopped');
      },
    });
  } catch (error) {
    await closeInOrder(opened.toReversed(), { deadlineMs: 0, graceMs: 2_000, now: () => performance.now(), sleep });
    if (error instanceof CodedError) tell(error);
    else log.fatal({ error }, 'cannot start');
    return error instanceof CodedError ? error.exitCode : 3;
  }
}
