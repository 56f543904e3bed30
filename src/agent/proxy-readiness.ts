import type { Readiness } from '../daemon/readiness.ts';

/** Whether the proxy is ready: what the last pass said of it, and what has been seen of its process since. */
export class ProxyReadiness {
  readonly #readiness: Readiness;
  #stuck: string | undefined = 'the first table';
  #trouble: string | undefined;
  #standsIn: string | undefined;

  constructor(readiness: Readiness) {
    this.#readiness = readiness;
    this.#settle();
  }

  /** A pass is through; `stuck` says why the proxy serves nothing after it. */
  passed(stuck: string | undefined): void {
    this.#stuck = stuck;
    this.#settle();
  }

  /** The process was looked at: what is wrong with it, undefined when nothing is. */
  seen(trouble: string | undefined): void {
    this.#trouble = trouble;
    this.#settle();
  }

  /** Why the embedded proxy stands in for HAProxy; undefined: it does not. The node serves all the same. */
  standsIn(why: string | undefined): void {
    this.#standsIn = why;
    this.#readiness.note('proxy', why === undefined ? undefined : `the embedded proxy stands in for HAProxy, which is gone: ${why}`);
    this.#settle();
  }

  #settle(): void {
    const why = this.#standsIn === undefined ? (this.#trouble ?? this.#stuck) : this.#stuck;
    if (why === undefined) this.#readiness.done('proxy');
    else this.#readiness.pending('proxy', why);
  }
}
