import { MAX_TOKEN_BYTES, tokenDigest, type OnTokensChanged, type TokenCode, type TokenVerdict, type VerifyToken } from '../model/token.ts';
import { VerdictCache } from './verdict-cache.ts';
import { VerificationGate, type GateLimits } from './verification-gate.ts';
import { looksLikeJwt, verifyJwt, type KeySet } from './verify-jwt.ts';

/** Keys that change by themselves. `io/open-key-source` is one. */
export interface KeySource {
  /** Undefined: none were ever read. Another object whenever something changed. */
  readonly keys: KeySet | undefined;
  /** Why the newest keys could not be read, one printable line; undefined: they could. */
  readonly trouble: string | undefined;
  /** Reads them again because a token names a key that is not there; bounds itself. Never rejects. */
  refresh(): Promise<void>;
  /** Hears of each change, of keys or of trouble. */
  onChange(changed: () => void): void;
}

export interface VerifierOptions {
  /** Absent: only codes are known. */
  readonly keys?: KeySource;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly limits?: GateLimits;
  readonly cached?: number;
}

/** Totals since the start. */
export interface TokenCounts {
  readonly accepted: number;
  readonly refused: number;
  /** Among the refused: not looked at, because there were too many at a time. */
  readonly overload: number;
}

const LIMITS: GateLimits = { atOnce: 4, waiting: 256, perSecond: 500 };
const CACHED = 10_000;
/** Tokens at hand at a time, those that wait for keys too: 8 MB at most. */
const MAX_RUNNING = 1_000;
/** Keys may change while a signature is checked; then the verdict is that of the newer ones. */
const MAX_ROUNDS = 3;

/**
 * Says whom tokens name. Invariants: a verdict comes from the keys and codes of the moment in which it is given, never from earlier ones; one
 * token is verified once at a time, however many ask; nothing of a token is kept but its digest.
 */
export class TokenVerifier {
  readonly #keys: KeySource | undefined;
  readonly #now: () => number;
  readonly #gate: VerificationGate;
  readonly #cache: VerdictCache;
  readonly #running = new Map<string, Promise<TokenVerdict>>();
  readonly #forget: (() => void)[] = [];
  /** Undefined: not known yet. */
  #codes: ReadonlyMap<string, TokenCode | undefined> | undefined;
  #keySet: KeySet | undefined;
  #counts = { accepted: 0, refused: 0, overload: 0 };

  constructor({ keys, now, limits = LIMITS, cached = CACHED }: VerifierOptions) {
    this.#keys = keys;
    this.#now = now;
    this.#gate = new VerificationGate(limits);
    this.#cache = new VerdictCache(cached);
    this.#keySet = keys?.keys;
    keys?.onChange(() => this.#keysChanged());
  }

  get counts(): TokenCounts {
    return { ...this.#counts };
  }

  get keyCount(): number {
    return this.#keys?.keys?.keys.length ?? 0;
  }

  get codeCount(): number {
    return this.#codes?.size ?? 0;
  }

  /** The codes that count from now on. The first call tells a change in any case: a proxy may know tokens from before this process. One digest for two accounts stands for neither. */
  setCodes(codes: readonly TokenCode[]): void {
    const next = new Map<string, TokenCode | undefined>();
    for (const code of codes) {
      const other = next.get(code.digest);
      next.set(code.digest, next.has(code.digest) && (other === undefined || !isSameAccount(other, code)) ? undefined : code);
    }
    const before = this.#codes;
    if (before?.size === next.size && [...next].every(([digest, code]) => before.has(digest) && isSameAccount(before.get(digest), code))) return;
    this.#codes = next;
    this.#changed();
  }

  readonly verify: VerifyToken = async (token) => {
    const verdict = await this.#judge(token);
    this.#counts[verdict.ok ? 'accepted' : 'refused']++;
    return verdict;
  };

  readonly onChange: OnTokensChanged = (forget) => {
    this.#forget.push(forget);
  };

  #judge(token: string): TokenVerdict | Promise<TokenVerdict> {
    if (token.length > MAX_TOKEN_BYTES) return refuse(`it is longer than ${MAX_TOKEN_BYTES} characters`);
    if (!/^[\x21-\x7e]+$/.test(token)) return refuse('it is empty, or has characters that no token has');
    const digest = tokenDigest(token);
    const known = this.#lookUp(digest);
    if (known !== undefined) return known;
    if (!looksLikeJwt(token)) return refuse('it is neither a known code nor a JWT');
    const running = this.#running.get(digest);
    if (running !== undefined) return running;
    if (this.#running.size >= MAX_RUNNING) return this.#refuseUnseen();
    const verifying = this.#verifyNew(token, digest).finally(() => this.#running.delete(digest));
    this.#running.set(digest, verifying);
    return verifying;
  }

  #lookUp(digest: string): TokenVerdict | undefined {
    const code = this.#codes?.get(digest);
    if (code !== undefined) return { ok: true, identity: { namespace: code.namespace, serviceAccount: code.serviceAccount } };
    return this.#cache.get(digest, this.#now());
  }

  async #verifyNew(token: string, digest: string): Promise<TokenVerdict> {
    const source = this.#keys;
    if (source === undefined) return refuse('it is no known code, and no keys are set up to verify a JWT');
    if (source.keys === undefined) await source.refresh();
    for (let round = 0, asked = false; round < MAX_ROUNDS; round++) {
      const { keys } = source;
      if (keys === undefined) return refuse('the keys that verify a JWT could not be read yet');
      const result = await this.#gate.run(() => verifyJwt(token, keys, this.#now()), this.#now());
      if (result === undefined) return this.#refuseUnseen();
      if (result === 'unknown-key' && !asked) {
        asked = true;
        await source.refresh();
      }
      if (source.keys !== keys) continue;
      const verdict = result === 'unknown-key' ? refuse('no key has its kid') : result;
      this.#cache.add(digest, verdict, this.#now());
      return verdict;
    }
    return refuse('the keys change too often');
  }

  #refuseUnseen(): TokenVerdict {
    this.#counts.overload++;
    return refuse('too many new tokens at a time');
  }

  #keysChanged(): void {
    const keys = this.#keys?.keys;
    if (keys === this.#keySet) return;
    this.#keySet = keys;
    this.#changed();
  }

  #changed(): void {
    this.#cache.clear();
    for (const forget of this.#forget) forget();
  }
}

const refuse = (why: string): TokenVerdict => ({ ok: false, why });

const isSameAccount = (a: TokenCode | undefined, b: TokenCode | undefined): boolean => a?.namespace === b?.namespace && a?.serviceAccount === b?.serviceAccount;
