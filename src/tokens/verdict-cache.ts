import type { TokenVerdict } from '../model/token.ts';

/** Refused tokens are looked at again after this time: keys or clocks may have come right. */
export const REFUSED_FOR_MS = 5_000;

interface Entry {
  readonly verdict: TokenVerdict;
  readonly untilMs: number;
}

/**
 * Verdicts by the digest of the token, the oldest out. Accepted and refused ones have a bound of their own: a flood of forged tokens
 * pushes out forged tokens only.
 */
export class VerdictCache {
  readonly #most: number;
  readonly #accepted = new Map<string, Entry>();
  readonly #refused = new Map<string, Entry>();

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#accepted.size + this.#refused.size;
  }

  /** An accepted one is good until it ends, a refused one for {@link REFUSED_FOR_MS}. */
  get(digest: string, nowMs: number): TokenVerdict | undefined {
    for (const entries of [this.#accepted, this.#refused]) {
      const entry = entries.get(digest);
      if (entry === undefined) continue;
      if (nowMs < entry.untilMs) return entry.verdict;
      entries.delete(digest);
    }
    return undefined;
  }

  add(digest: string, verdict: TokenVerdict, nowMs: number): void {
    const entries = verdict.ok ? this.#accepted : this.#refused;
    if (entries.size >= this.#most) {
      const [oldest] = entries.keys();
      if (oldest !== undefined) entries.delete(oldest);
    }
    entries.set(digest, { verdict, untilMs: verdict.ok ? (verdict.identity.expiresAtMs ?? Infinity) : nowMs + REFUSED_FOR_MS });
  }

  clear(): void {
    this.#accepted.clear();
    this.#refused.clear();
  }
}
