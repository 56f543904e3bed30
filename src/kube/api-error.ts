import { printable } from '../model/problem.ts';
import { valueAt } from './field-path.ts';

/**
 * Why a request to the API server failed. `status` is the HTTP status, 0 when there was no answer. `reason` is Kubernetes' word
 * (`NotFound`, `Conflict`, `Forbidden`, `Expired`, ... of metav1.Status), or one of ours where the server gave none: `Unreachable`,
 * `Timeout`, `TooLarge`, `Unreadable`, `Credentials`, `Aborted`. `message` is printable and bounded.
 */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly reason: string;
  /** The server asks to stay away this long. */
  readonly retryAfterMs?: number;

  constructor(failure: { readonly status: number; readonly reason: string; readonly message: string; readonly retryAfterMs?: number | undefined }, cause?: unknown) {
    super(printable(failure.message), cause === undefined ? undefined : { cause });
    this.status = failure.status;
    this.reason = printable(failure.reason, 64);
    if (failure.retryAfterMs !== undefined) this.retryAfterMs = failure.retryAfterMs;
  }
}

/** What a status without a readable body means (RFC 9110 section 15, and Kubernetes' own use). */
const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Expired',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

/** No server may send its clients away for longer than this. */
const MAX_RETRY_AFTER_MS = 300_000;

/**
 * Reads a failed answer: a metav1.Status (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/), as body
 * or as the object of an ERROR event of a watch. `retryAfter` is the header's text; dates in it are passed over.
 */
export function parseStatus(status: number, body: unknown, retryAfter?: string): ApiError {
  const text = (...path: string[]): string | undefined => {
    const value = valueAt(body, path);
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const code = valueAt(body, ['code']);
  const number = status > 0 ? status : typeof code === 'number' ? code : 0;
  const detail = valueAt(body, ['details', 'retryAfterSeconds']);
  const seconds = retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : typeof detail === 'number' ? detail : 0;
  return new ApiError({
    status: number,
    reason: text('reason') ?? REASONS[number] ?? 'Unknown',
    message: text('message') ?? `the API server answered ${number}`,
    ...(seconds > 0 ? { retryAfterMs: Math.min(seconds * 1000, MAX_RETRY_AFTER_MS) } : {}),
  });
}
