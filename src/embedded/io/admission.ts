import type { CallerTable } from '../../model/route-table.ts';
import type { TokenVerdict } from '../../model/token.ts';
import { buildCallerIndex, identify } from '../identify.ts';
import type { CallerIndex, CallerIdentity } from '../identify.ts';
import { identifyByToken } from '../identify-by-token.ts';

/** Pods may call before the API server shows their address (design section 3). */
export const HOLD_MS = 2_000;
/** Beyond it unknown sources are refused at once: held calls must not become a way to fill the memory. */
const MAX_HELD = 2_000;

/** Knows callers by address and holds those it does not know until the table says otherwise. */
export class Admission {
  #index: CallerIndex = buildCallerIndex({ pods: [], unknownPrefixes: [], hostPrefixes: [], trusted: [] });
  #trusted: CallerTable['trusted'] = [];
  readonly #held = new Set<() => void>();

  setCallers(callers: CallerTable): void {
    this.#index = buildCallerIndex(callers);
    this.#trusted = callers.trusted;
    for (const lookAgain of this.#held) lookAgain();
  }

  /** Who showed this token: never held, whoever sent it. */
  identifyByToken(address: string, verdict: TokenVerdict): CallerIdentity {
    return identifyByToken(identify(this.#index, address), verdict, this.#trusted);
  }

  /** Resolves at once for known sources; for others when they become known, when `gone` aborts, or after HOLD_MS. */
  async identify(address: string, gone: AbortSignal): Promise<CallerIdentity> {
    const identity = identify(this.#index, address);
    if (identity.kind !== 'unknown' || this.#held.size >= MAX_HELD || gone.aborted) return identity;
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#held.delete(lookAgain);
        gone.removeEventListener('abort', finish);
        resolve(identify(this.#index, address));
      };
      const lookAgain = (): void => {
        if (identify(this.#index, address).kind !== 'unknown') finish();
      };
      const timer = setTimeout(finish, HOLD_MS);
      this.#held.add(lookAgain);
      gone.addEventListener('abort', finish);
    });
  }
}
