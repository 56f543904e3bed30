import { writeFileSync } from 'node:fs';
import process from 'node:process';
import type { Reporter } from 'vitest/node';

/**
 * Reporter of vitest: writes the messages of errors that no test is to blame for (a rejection that nobody handled, say) as a JSON list into
 * the file that UNHANDLED_ERRORS names. Vitest's own JSON report has only what concerns tests.
 */
export default class UnhandledErrors implements Reporter {
  onTestRunEnd(_: unknown, errors: readonly { readonly message?: string; readonly stack?: string }[]): void {
    const path = process.env['UNHANDLED_ERRORS'];
    if (path !== undefined) writeFileSync(path, JSON.stringify(errors.map(({ stack, message }) => stack ?? message ?? 'unknown')));
  }
}
