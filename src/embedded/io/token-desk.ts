import { tokenDigest, type TokenVerdict } from '../../model/token.ts';
import type { WorkerQuestion } from '../worker-messages.ts';

/** As HAProxy waits for the agent. */
export const ANSWER_MS = 2_000;
/** Beyond it tokens are refused at once. */
const MAX_ASKED = 1_000;
const MAX_KNOWN = 10_000;

/** Asks the agent's thread whom tokens name. Invariants: what is remembered is a good token that has not ended and was not forgotten since. */
export class TokenDesk {
  readonly #send: (question: WorkerQuestion) => void;
  readonly #asked = new Map<number, (verdict: TokenVerdict, keep: boolean) => void>();
  /** By digest, the oldest first. */
  readonly #known = new Map<string, TokenVerdict & { readonly ok: true }>();
  #nextId = 0;

  constructor(send: (question: WorkerQuestion) => void) {
    this.#send = send;
  }

  /** Never rejects; a question that is not answered in time is a refusal. */
  async verify(token: string): Promise<TokenVerdict> {
    const digest = tokenDigest(token);
    const known = this.#known.get(digest);
    if (known !== undefined && Date.now() < (known.identity.expiresAtMs ?? Infinity)) return known;
    this.#known.delete(digest);
    if (this.#asked.size >= MAX_ASKED) return { ok: false, why: 'too many new tokens at a time' };
    const id = this.#nextId++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#asked.delete(id);
        resolve({ ok: false, why: 'the agent did not say in time whom it names' });
      }, ANSWER_MS);
      this.#asked.set(id, (verdict, keep) => {
        clearTimeout(timer);
        if (verdict.ok && keep) this.#remember(digest, verdict);
        resolve(verdict);
      });
      this.#send({ verify: token, id });
    });
  }

  answered(id: number, verdict: TokenVerdict, keep: boolean): void {
    const answer = this.#asked.get(id);
    this.#asked.delete(id);
    answer?.(verdict, keep);
  }

  /** Keys or codes changed. */
  forget(): void {
    this.#known.clear();
  }

  #remember(digest: string, verdict: TokenVerdict & { readonly ok: true }): void {
    if (this.#known.size >= MAX_KNOWN) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(digest, verdict);
  }
}
