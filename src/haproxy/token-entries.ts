import type { TokenIdentity } from '../model/token.ts';
import { accountKey } from './render-tokens.ts';

/** A verified token as the map holds it: `namespace/account@ms since the epoch`, 0 for one without an end. */
interface Entry {
  readonly value: string;
  readonly expiresAtMs: number | undefined;
}

/** Entries of a token map whose file is not ours to trust: digest, account, time; anything else is left out. */
const LINE = /^([0-9a-f]{64}) ([a-z0-9-]{1,63}\/[a-z0-9.-]{1,253}@(\d{1,16}))$/;

/** The value of an identity; undefined when it can be no ServiceAccount's, or its time is no time. */
export function tokenValue({ namespace, serviceAccount, expiresAtMs }: TokenIdentity): string | undefined {
  const account = accountKey(namespace, serviceAccount);
  if (account === undefined) return undefined;
  if (expiresAtMs === undefined) return `${account}@0`;
  return Number.isSafeInteger(expiresAtMs) && expiresAtMs > 0 ? `${account}@${expiresAtMs}` : undefined;
}

/** Verified tokens by digest, at most `bound`: the one that was added first goes for a new one. Pure but for its own state. */
export class TokenEntries {
  readonly #bound: number;
  readonly #entries = new Map<string, Entry>();

  constructor(bound: number) {
    this.#bound = bound;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Adds one, or gives it another value; `evicted`: digests that must leave the map for it. Undefined: it cannot be added. */
  add(digest: string, identity: TokenIdentity): { readonly value: string; readonly again: boolean; readonly evicted: readonly string[] } | undefined {
    const value = tokenValue(identity);
    if (value === undefined) return undefined;
    const evicted: string[] = [];
    const again = this.#entries.delete(digest);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size < this.#bound) break;
      this.#entries.delete(oldest);
      evicted.push(oldest);
    }
    this.#entries.set(digest, { value, expiresAtMs: identity.expiresAtMs });
    return { value, again, evicted };
  }

  /** Forgets those whose time is over; gives their digests. */
  prune(nowMs: number): readonly string[] {
    const over = [...this.#entries].filter(([, { expiresAtMs }]) => expiresAtMs !== undefined && expiresAtMs <= nowMs).map(([digest]) => digest);
    for (const digest of over) this.#entries.delete(digest);
    return over;
  }

  clear(): void {
    this.#entries.clear();
  }

  render(): string {
    return [...this.#entries].map(([digest, { value }]) => `${digest} ${value}\n`).join('');
  }

  /**
   * Takes over what an agent before wrote. Tokens without an end are left out: whether they still hold is asked at their next use; of the
   * others the keys will tell, which are new to this agent and void all entries when they come.
   */
  load(text: string, nowMs: number): void {
    for (const line of text.split('\n')) {
      const [, digest, value, expires] = LINE.exec(line) ?? [];
      if (digest === undefined || value === undefined || Number(expires) <= nowMs || this.#entries.size >= this.#bound) continue;
      this.#entries.set(digest, { value, expiresAtMs: Number(expires) });
    }
  }
}
