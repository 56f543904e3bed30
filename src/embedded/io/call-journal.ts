import type { CallRecord } from '../../model/call-record.ts';

/** Records leave together after this long: one message for many calls. */
const FLUSH_MS = 100;
/** Records of one batch; what comes beyond them before the next is only counted. */
export const MAX_BATCH = 1_000;

/** Collects records of calls and sends them in batches. Bounded: a flood of calls costs at most MAX_BATCH records per FLUSH_MS. */
export class CallJournal {
  readonly #send: (records: readonly CallRecord[], lost: number) => void;
  #records: CallRecord[] = [];
  #lost = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `lost`: calls since the last batch for which there was no room. */
  constructor(send: (records: readonly CallRecord[], lost: number) => void) {
    this.#send = send;
  }

  /** `build` is only called while there is room. */
  write(build: () => CallRecord): void {
    this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS);
    if (this.#records.length < MAX_BATCH) this.#records.push(build());
    else this.#lost++;
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#records.length > 0) this.#send(this.#records, this.#lost);
    this.#records = [];
    this.#lost = 0;
  }
}
