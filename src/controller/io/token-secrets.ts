import { sleep } from '../../daemon/io/timers.ts';
import { ApiError } from '../../kube/api-error.ts';
import { valueAt } from '../../kube/field-path.ts';
import type { ApiClient } from '../../kube/io/open-api-client.ts';
import { openReflector, type Reflector } from '../../kube/io/open-reflector.ts';
import { parseTokenSecret, TOKEN_LABEL, type TokenSecret } from '../../kube/parse-token-secret.ts';
import { GrantSchedule } from '../grant-schedule.ts';
import type { SeenNamespace, SeenNamespaces } from '../plan-token-codes.ts';

/*
 * Invariants
 * 1. A namespace's Secrets are asked for only after the API server said that this account may list and watch them there.
 * 2. One question about a right runs at a time, with a pause after it.
 * 3. Nothing but `close` ends the loop; what a question or a watch meets is told, and tried again.
 */

export interface TokenSecretsOptions {
  readonly client: Pick<ApiClient, 'request' | 'stream' | 'onAnswer'>;
  /** Asked before others: what is published of them may have to go. */
  readonly first: ReadonlySet<string>;
  readonly onChange: () => void;
  readonly onTrouble: (what: string, error: ApiError) => void;
}

const NAMESPACES = '/api/v1/namespaces';
const REVIEWS = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
/** At most 20 questions a second, whatever the number of namespaces: none of them reaches etcd. */
const PAUSE_MS = 50;
const TIMEOUT_MS = 5_000;

/** The token Secrets of all namespaces that grant the right to read them. */
export class TokenSecrets {
  readonly #options: TokenSecretsOptions;
  readonly #closing = new AbortController();
  readonly #schedule = new GrantSchedule(Math.random);
  readonly #namespaces: Reflector<true>;
  readonly #secrets = new Map<string, Reflector<TokenSecret>>();
  readonly #refused = new Set<string>();
  readonly #ending = new Set<Promise<void>>();
  readonly #running: Promise<void>;
  #wake = new AbortController();

  constructor(options: TokenSecretsOptions) {
    this.#options = options;
    this.#namespaces = openReflector<true>({
      client: options.client,
      path: NAMESPACES,
      slim: () => true,
      onChange: () => this.#takeNamespaces(),
      onTrouble: ({ error }) => options.onTrouble('namespaces', error),
    });
    this.#running = this.#run();
  }

  /** What is known now; undefined until the namespaces were listed. */
  seen(): SeenNamespaces | undefined {
    if (!this.#namespaces.synced) return undefined;
    return new Map([...this.#namespaces.items().keys()].map((namespace) => [namespace, this.#seenOf(namespace)]));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#wake.abort();
    await this.#running;
    for (const namespace of this.#secrets.keys()) this.#end(namespace);
    await Promise.all([this.#namespaces.close(), ...this.#ending]);
  }

  #seenOf(namespace: string): SeenNamespace {
    const secrets = this.#secrets.get(namespace);
    if (secrets?.synced === true) return [...secrets.items().values()];
    return this.#refused.has(namespace) ? 'refused' : 'unknown';
  }

  #takeNamespaces(): void {
    const names = new Set(this.#namespaces.items().keys());
    this.#schedule.setNamespaces(names, this.#options.first, performance.now());
    for (const namespace of this.#secrets.keys()) if (!names.has(namespace)) this.#end(namespace);
    for (const namespace of this.#refused) if (!names.has(namespace)) this.#refused.delete(namespace);
    this.#wake.abort();
    this.#options.onChange();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const next = this.#schedule.next(performance.now());
      if ('waitMs' in next) {
        this.#wake = new AbortController();
        // A timer cannot hold Infinity: nobody is there to be asked yet.
        await sleep(Math.min(next.waitMs, 60_000), this.#wake.signal);
        continue;
      }
      const isGranted = await this.#mayRead(next.namespace);
      if (signal.aborted) return;
      this.#schedule.answered(next.namespace, isGranted, performance.now());
      if (isGranted !== undefined) this.#take(next.namespace, isGranted);
      await sleep(PAUSE_MS, signal);
    }
  }

  #take(namespace: string, isGranted: boolean): void {
    if (!this.#namespaces.items().has(namespace)) return;
    if (isGranted) {
      this.#refused.delete(namespace);
      if (!this.#secrets.has(namespace)) this.#secrets.set(namespace, this.#open(namespace));
      return;
    }
    if (this.#refused.has(namespace)) return;
    this.#refused.add(namespace);
    this.#end(namespace);
    this.#options.onChange();
  }

  #open(namespace: string): Reflector<TokenSecret> {
    return openReflector<TokenSecret>({
      client: this.#options.client,
      path: `${NAMESPACES}/${encodeURIComponent(namespace)}/secrets`,
      query: { labelSelector: TOKEN_LABEL },
      slim: parseTokenSecret,
      onChange: this.#options.onChange,
      onTrouble: ({ error }) => {
        // A right that was just taken back: the next question finds that out.
        if (error.status !== 403) this.#options.onTrouble(`secrets of ${namespace}`, error);
      },
    });
  }

  #end(namespace: string): void {
    const reflector = this.#secrets.get(namespace);
    if (reflector === undefined) return;
    this.#secrets.delete(namespace);
    const ended = reflector.close().finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
  }

  /** Undefined: the API server did not say. */
  async #mayRead(namespace: string): Promise<boolean | undefined> {
    try {
      for (const verb of ['list', 'watch']) {
        const body = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview', spec: { resourceAttributes: { namespace, verb, version: 'v1', resource: 'secrets' } } };
        const answer = await this.#options.client.request('POST', REVIEWS, { body, timeoutMs: TIMEOUT_MS, signal: this.#closing.signal });
        if (valueAt(answer, ['status', 'allowed']) !== true) return false;
      }
      return true;
    } catch (error) {
      if (error instanceof ApiError && !this.#closing.signal.aborted) this.#options.onTrouble('selfsubjectaccessreviews', error);
      return undefined;
    }
  }
}
