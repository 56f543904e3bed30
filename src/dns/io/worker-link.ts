import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { ListenError } from './listen-error.ts';
import type { WorkerReplies, WorkerReply, WorkerRequest } from './worker-protocol.ts';

/** Heap of the thread in MB: several times what the largest pool needs; beyond it the thread is restarted. */
const MAX_HEAP_MB = 256;
/** Answering leaves little garbage: more than this only costs memory (7 MB less than the default, no fewer queries per CPU second). */
const MAX_YOUNG_HEAP_MB = 8;

/** The worker thread ended while something was asked of it, or before. */
export class WorkerGoneError extends Error {}

/** One DNS worker thread and the requests under way to it. */
export class WorkerLink {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #lastId = 0;
  #gone: Error | undefined;
  #onGone: (cause: Error) => void = () => undefined;

  constructor() {
    // The same file name in a checkout (.ts) and compiled (.js).
    const file = new URL(`./dns-worker${extname(import.meta.url)}`, import.meta.url);
    this.#worker = new Worker(file, { name: 'onehop-dns', resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB, maxYoungGenerationSizeMb: MAX_YOUNG_HEAP_MB } });
    this.#worker.on('message', (reply: WorkerReply) => this.#settle(reply));
    this.#worker.on('error', (error) => this.#end(error));
    this.#worker.on('exit', (code) => this.#end(new Error(`the thread exited with code ${code}`)));
  }

  /** Called once when the thread ends without having been asked to. */
  set onGone(listener: (cause: Error) => void) {
    this.#onGone = listener;
  }

  /** @throws WorkerGoneError, or ListenError for `listen` */
  async request<K extends WorkerRequest['kind']>(request: WorkerRequest & { kind: K }): Promise<WorkerReplies[K]> {
    if (this.#gone !== undefined) throw new WorkerGoneError(this.#gone.message);
    const id = ++this.#lastId;
    const answered = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#worker.postMessage({ ...request, id }, []);
    // The protocol pairs each kind of request with its reply.
    return (await answered) as WorkerReplies[K];
  }

  async terminate(): Promise<void> {
    this.#onGone = () => undefined;
    await this.#worker.terminate();
  }

  #settle(reply: WorkerReply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if ('failure' in reply) waiting?.reject(new ListenError(reply.failure.code, reply.failure.message));
    else waiting?.resolve(reply.value);
  }

  #end(cause: Error): void {
    if (this.#gone !== undefined) return;
    this.#gone = cause;
    for (const { reject } of this.#waiting.values()) reject(new WorkerGoneError(cause.message));
    this.#waiting.clear();
    this.#onGone(cause);
  }
}
