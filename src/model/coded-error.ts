/** 2: wrong usage; 3: cannot run (port, privilege, HAProxy). The process's exit code when the error ends it. */
export type FailureExitCode = 2 | 3;

/**
 * A failure that a person has to act on: a stable code, one line that says what happened, one that says the remedy.
 * Programming errors stay plain Errors.
 */
export class CodedError extends Error {
  override readonly name = 'CodedError';
  readonly code: string;
  readonly remedy: string;
  readonly exitCode: FailureExitCode;

  constructor(
    failure: { readonly code: string; readonly message: string; readonly remedy: string; readonly exitCode?: FailureExitCode },
    cause?: unknown,
  ) {
    super(failure.message, cause === undefined ? undefined : { cause });
    this.code = failure.code;
    this.remedy = failure.remedy;
    this.exitCode = failure.exitCode ?? 3;
  }

  /** `message [code]; remedy`: the one line for a terminal. */
  get line(): string {
    return `${this.message} [${this.code}]; ${this.remedy}`;
  }
}

/** The message of anything thrown. */
export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));

/** Node's `code` of a system error (`EADDRINUSE`), undefined for anything else. */
export function systemCode(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined;
}
