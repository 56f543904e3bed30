import { ApiError } from '../../kube/api-error.ts';
import { valueAt } from '../../kube/field-path.ts';
import type { ApiClient } from '../../kube/io/open-api-client.ts';
import { parsePublishedCodes, PUBLISHED_CODES, type PublishedCodes } from '../../kube/published-codes.ts';
import { objectKey } from '../../model/names.ts';
import { planTokenCodes, type SeenNamespaces, type TokenRefusal } from '../plan-token-codes.ts';
import { renderEvent, renderTokenCodes } from '../render-objects.ts';
import { TokenBucket } from '../../daemon/token-bucket.ts';
import type { GuardedWriter } from './guarded-writer.ts';

export interface TokenPublisherOptions {
  readonly client: Pick<ApiClient, 'request'>;
  readonly writer: GuardedWriter;
  readonly namespace: string;
  readonly identity: string;
}

interface Read {
  readonly codes: PublishedCodes;
  /** resourceVersion; undefined: there is no such Secret yet. */
  readonly version: string | undefined;
  readonly atMs: number;
}

/** Somebody else's edit of the published Secret is put right this late at most. */
const REREAD_MS = 30_000;
const READ_TIMEOUT_MS = 5_000;
/** Events are for people. */
const EVENTS = { burst: 20, perSecond: 1 };
const SECRET = { apiVersion: 'v1', kind: 'Secret' };

/** Keeps the published Secret in step, and says beside a tenant's Secret why its code does not count. */
export class TokenPublisher {
  readonly #options: TokenPublisherOptions;
  readonly #path: string;
  readonly #events = new TokenBucket(EVENTS, performance.now());
  #published: Read | undefined;
  /** Reasons by Secret that were said. */
  #told: ReadonlyMap<string, string> = new Map();
  #refusals = 0;

  constructor(options: TokenPublisherOptions) {
    this.#options = options;
    this.#path = `/api/v1/namespaces/${options.namespace}/secrets/${PUBLISHED_CODES}`;
  }

  /** Codes by state, for metrics. */
  get counts(): { readonly published: number; readonly refused: number } {
    const codes = [...(this.#published?.codes.values() ?? [])];
    return { published: codes.reduce((sum, each) => sum + each.length, 0), refused: this.#refusals };
  }

  /** Leadership changed: what was known may be old. */
  forget(): void {
    this.#published = undefined;
    this.#told = new Map();
    this.#refusals = 0;
  }

  /** Namespaces of which something is published. @throws ApiError */
  async publishedNamespaces(): Promise<ReadonlySet<string>> {
    return new Set((await this.#read()).codes.keys());
  }

  /** @throws NotLeader, or ApiError: nothing changed, or somebody else wrote meanwhile (409); it is read again next time */
  async publish(seen: SeenNamespaces): Promise<void> {
    const { writer, namespace } = this.#options;
    const { codes: published, version } = await this.#read();
    const { codes, isChanged, refusals } = planTokenCodes(published, seen);
    if (isChanged) {
      try {
        const query = { fieldManager: 'onehop-controller', force: true };
        const body = renderTokenCodes(namespace, codes, published, version);
        this.#take(await writer.write('token-codes', 'PATCH', this.#path, { query, body, contentType: 'application/apply-patch+yaml' }));
      } catch (error) {
        this.#published = undefined;
        throw error;
      }
    }
    this.#refusals = refusals.length;
    await this.#tell(refusals);
  }

  /** Each refusal once, as long as it lasts. One that cannot be written is not worth a second try. */
  async #tell(refusals: readonly TokenRefusal[]): Promise<void> {
    const { writer, identity } = this.#options;
    const now = new Map<string, string>();
    for (const { secret, note } of refusals) {
      const key = `${objectKey(secret)} ${secret.uid}`;
      if (this.#told.get(key) === note.reason) now.set(key, note.reason);
      // Without a place in the bucket it is left for another pass.
      else if (this.#events.take(performance.now())) {
        now.set(key, note.reason);
        const body = renderEvent(secret, note, identity, Date.now(), SECRET);
        await writer.write('event', 'POST', `/apis/events.k8s.io/v1/namespaces/${secret.namespace}/events`, { body }).catch(() => undefined);
      }
    }
    this.#told = now;
  }

  async #read(): Promise<Read> {
    if (this.#published !== undefined && performance.now() - this.#published.atMs < REREAD_MS) return this.#published;
    try {
      return this.#take(await this.#options.client.request('GET', this.#path, { timeoutMs: READ_TIMEOUT_MS }));
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      return this.#take(undefined);
    }
  }

  #take(raw: unknown): Read {
    const version = valueAt(raw, ['metadata', 'resourceVersion']);
    return (this.#published = { codes: parsePublishedCodes(raw), version: typeof version === 'string' ? version : undefined, atMs: performance.now() });
  }
}
