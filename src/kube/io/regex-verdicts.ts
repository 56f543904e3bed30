import type { CheckRegexes } from '../../model/proxy.ts';
import type { RefusedRegexes } from '../build-snapshot.ts';

/** Remembers what the proxy said of each regular expression, for as long as some route uses it. */
export class RegexVerdicts {
  readonly #check: CheckRegexes | undefined;
  readonly #onError: (error: Error) => void;
  /** Undefined reason: the pattern is fine. */
  #known = new Map<string, string | undefined>();
  /** What was answered for this very list, when all of it could be asked. */
  #last: { readonly patterns: readonly string[]; readonly refused: RefusedRegexes } | undefined;

  constructor(check: CheckRegexes | undefined, onError: (error: Error) => void) {
    this.#check = check;
    this.#onError = onError;
  }

  /**
   * The refused ones among `patterns`; only those not seen before are asked for. When the proxy cannot be asked, they
   * count as fine and are asked again next time: it checks its whole configuration once more before using it.
   */
  async ask(patterns: readonly string[]): Promise<RefusedRegexes> {
    if (this.#last?.patterns === patterns) return this.#last.refused;
    const wanted = new Set(patterns);
    const unseen = [...wanted].filter((pattern) => !this.#known.has(pattern));
    const known = new Map([...this.#known].filter(([pattern]) => wanted.has(pattern)));
    if (unseen.length > 0 && this.#check !== undefined) {
      try {
        const refused = await this.#check(unseen);
        for (const pattern of unseen) known.set(pattern, refused.get(pattern));
      } catch (error) {
        this.#onError(new Error('the regular expressions could not be checked', { cause: error }));
      }
    }
    this.#known = known;
    const refused = new Map([...known].flatMap(([pattern, why]) => (why === undefined ? [] : [[pattern, why] as const])));
    this.#last = known.size === wanted.size ? { patterns, refused } : undefined;
    return refused;
  }
}
