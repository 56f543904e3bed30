import { messageOf } from '../../model/coded-error.ts';
import { printable } from '../../model/problem.ts';
import { parseJwks } from '../parse-jwks.ts';
import type { KeySource } from '../token-verifier.ts';
import type { KeySet } from '../verify-jwt.ts';

/** What was read. Issuers and audiences only where the place of the keys knows them (a cluster does). */
export interface ReadKeys {
  readonly jwks: string;
  readonly issuers?: readonly string[];
  readonly audiences?: readonly string[];
}

export interface KeySourceOptions {
  /** For messages: a path or a URL. */
  readonly name: string;
  /** Reads the keys; rejects with a line for people. Ends soon after `signal` does. */
  readonly read: (signal: AbortSignal) => Promise<ReadKeys>;
  /** What tokens must say, where that is set by hand: above what `read` says. */
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
  /** Time between two readings; up to a tenth of it more or less, so that nodes do not ask together. */
  readonly periodMs: number;
  /** The least time between two readings, whoever asks. */
  readonly minGapMs: number;
  readonly onEvent?: (event: KeyEvent) => void;
}

/** One printable line: `trouble` (the last good keys stay), or what changed for the better. */
export interface KeyEvent {
  readonly level: 'info' | 'warn' | 'error';
  readonly text: string;
}

export interface OpenKeySource extends KeySource {
  close(): Promise<void>;
}

const READ_TIMEOUT_MS = 10_000;

/**
 * Keeps keys in step with where they come from. Invariants: one reading at a time; what cannot be read or used leaves the last good keys;
 * `keys` is another object exactly when something in it changed; trouble is told when it begins, changes and ends.
 */
export function openKeySource(options: KeySourceOptions): OpenKeySource {
  const { name, periodMs, minGapMs, onEvent = () => {} } = options;
  const shownName = printable(name, 200);
  const changed: (() => void)[] = [];
  const closing = new AbortController();
  let keys: KeySet | undefined;
  let lastText = '';
  let trouble: string | undefined;
  let reading: Promise<void> | undefined;
  let lastStartMs = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;

  const tell = (): void => {
    for (const one of changed) one();
  };

  const readOnce = async (): Promise<void> => {
    try {
      const read = await options.read(AbortSignal.any([closing.signal, AbortSignal.timeout(READ_TIMEOUT_MS)]));
      if (!closing.signal.aborted) take(read);
    } catch (error) {
      if (!closing.signal.aborted) fail(printable(messageOf(error)));
    }
  };

  const take = (read: ReadKeys): void => {
    const issuers = options.issuer === undefined ? (read.issuers ?? []) : [options.issuer];
    const audiences = options.audience === undefined ? (read.audiences ?? []) : [options.audience];
    const text = JSON.stringify([read.jwks, issuers, audiences]);
    if (text !== lastText) {
      const parsed = parseJwks(read.jwks);
      keys = { keys: parsed.keys, issuers, audiences };
      lastText = text;
      onEvent({ level: 'info', text: `keys of ${shownName}: ${parsed.keys.length} in use (${parsed.keys.map(({ kid, alg }) => `${printable(kid ?? 'no kid', 60)} ${alg}`).slice(0, 10).join(', ')})` });
      for (const line of parsed.leftOut.slice(0, 10)) onEvent({ level: 'warn', text: `keys of ${shownName}: ${line}` });
    } else if (trouble !== undefined) onEvent({ level: 'info', text: `keys of ${shownName} can be read again` });
    trouble = undefined;
    tell();
  };

  const fail = (why: string): void => {
    if (why === trouble) return;
    trouble = why;
    onEvent({ level: 'error', text: `keys of ${shownName}: ${why}; ${keys === undefined ? 'no JWT can be verified' : 'the last good keys stay in use'}` });
    tell();
  };

  const read = (): Promise<void> => {
    if (reading !== undefined) return reading;
    if (closing.signal.aborted || performance.now() - lastStartMs < minGapMs) return Promise.resolve();
    lastStartMs = performance.now();
    clearTimeout(timer);
    reading = readOnce().finally(() => {
      reading = undefined;
      if (closing.signal.aborted) return;
      // What is missing is looked for more often than what may change.
      const waitMs = trouble === undefined ? periodMs : Math.min(periodMs, Math.max(minGapMs, 15_000));
      timer = setTimeout(() => void read(), Math.max(minGapMs, waitMs * (0.9 + 0.2 * Math.random())));
      timer.unref();
    });
    return reading;
  };

  void read();
  return {
    get keys() {
      return keys;
    },
    get trouble() {
      return trouble;
    },
    refresh: read,
    onChange: (one) => {
      changed.push(one);
    },
    async close() {
      closing.abort();
      clearTimeout(timer);
      await reading;
    },
  };
}
