/** What a command may touch: given once by `main.ts`, so that commands can be tested. */
export interface Terminal {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  readonly hostname: string;
  /** Onehop's version. */
  readonly version: string;
}

/** 0 done, 1 problems found, 2 wrong usage, 3 cannot run. */
export type ExitCode = 0 | 1 | 2 | 3;

export interface Command {
  readonly name: string;
  /** One line of `onehop --help`. */
  readonly summary: string;
  /** The text of `onehop NAME --help`. */
  readonly help: string;
  readonly run: (argv: readonly string[], terminal: Terminal) => Promise<ExitCode>;
}

/** Wrong usage: ends a command with exit code 2 and this line. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
