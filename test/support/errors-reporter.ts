import { writeFileSync } from 'node:fs';
import process from 'node:process';
import type { Reporter, TestModule } from 'vitest/node';

/** What vitest's own JSON report leaves out. */
export interface OtherErrors {
  /** No test is to blame for them: a rejection that nobody handled, say. */
  readonly unhandled: readonly string[];
  /** Of `describe` blocks, by the path of their file: their hooks failed. */
  readonly hooks: Readonly<Record<string, readonly string[]>>;
}

interface ErrorLike {
  readonly message?: string;
  readonly stack?: string;
}

/** Reporter of vitest: writes `OtherErrors` as JSON into the file that OTHER_ERRORS names. */
export default class ErrorsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly ErrorLike[]): void {
    const path = process.env['OTHER_ERRORS'];
    if (path === undefined) return;
    const hooks = modules.map(({ moduleId, children }) => [moduleId, [...children.allSuites()].flatMap((suite) => suite.errors().map(asText))] as const);
    const errors: OtherErrors = { unhandled: unhandled.map(asText), hooks: Object.fromEntries(hooks.filter(([, said]) => said.length > 0)) };
    writeFileSync(path, JSON.stringify(errors));
  }
}

const asText = ({ stack, message }: ErrorLike): string => stack ?? message ?? 'unknown';
