import { ApiError } from '../../kube/api-error.ts';
import { isRecord, valueAt } from '../../kube/field-path.ts';
import type { VipRecords } from '../../routing/assign-vips.ts';
import { LEDGER_NAME, parseLedger, renderLedger, type LedgerData } from '../../routing/ledger-text.ts';
import type { GuardedWriter } from './guarded-writer.ts';

/** An administrator's edit (a released name) is seen this late at most. */
const REREAD_MS = 10_000;

/**
 * The ledger in its ConfigMap. It is read before it is relied upon and written with the resourceVersion that was read: of two
 * controllers that write, one is refused and reads again.
 */
export class LedgerStore {
  readonly #writer: GuardedWriter;
  readonly #path: string;
  readonly #namespace: string;
  #records: VipRecords = new Map();
  #others: LedgerData = {};
  /** Undefined: there is none yet. */
  #version: string | undefined;
  #readAtMs = -Infinity;

  constructor(writer: GuardedWriter, namespace: string) {
    this.#writer = writer;
    this.#namespace = namespace;
    this.#path = `/api/v1/namespaces/${namespace}/configmaps`;
  }

  get records(): VipRecords {
    return this.#records;
  }

  /** The next `refresh` asks the API server. */
  forget(): void {
    this.#readAtMs = -Infinity;
  }

  /** Reads it, unless that was done a moment ago. */
  async refresh(): Promise<void> {
    if (performance.now() - this.#readAtMs < REREAD_MS) return;
    try {
      this.#take(await this.#writer.read(`${this.#path}/${LEDGER_NAME}`));
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      this.#take(undefined);
    }
  }

  /** @throws ApiError 409 when somebody else wrote it meanwhile; it is read again next time */
  async write(records: VipRecords): Promise<void> {
    const body = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        namespace: this.#namespace,
        name: LEDGER_NAME,
        labels: { 'app.kubernetes.io/name': 'onehop', 'app.kubernetes.io/component': 'controller' },
        ...(this.#version === undefined ? {} : { resourceVersion: this.#version }),
      },
      data: { ...this.#others, ...renderLedger(records) },
    };
    try {
      const written = this.#version === undefined ? await this.#writer.write('ledger', 'POST', this.#path, { body }) : await this.#writer.write('ledger', 'PUT', `${this.#path}/${LEDGER_NAME}`, { body });
      this.#take(written);
    } catch (error) {
      this.forget();
      throw error;
    }
  }

  #take(raw: unknown): void {
    const data = valueAt(raw, ['data']);
    const texts = Object.fromEntries(Object.entries(isRecord(data) ? data : {}).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
    const version = valueAt(raw, ['metadata', 'resourceVersion']);
    this.#records = parseLedger(texts, this.#records);
    this.#others = Object.fromEntries(Object.entries(texts).filter(([key]) => !this.#records.has(key)));
    this.#version = typeof version === 'string' ? version : undefined;
    this.#readAtMs = performance.now();
  }
}
