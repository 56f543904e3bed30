import { readFile } from 'node:fs/promises';

/** kubelet replaces a pod's token when 80 % of its hour are over; client-go reads files of tokens again after 10 s too. */
const MAX_AGE_MS = 10_000;

/**
 * A small file that others replace: tokens, certificates. Read again when the last reading is older than 10 s or `expire` was called;
 * once it was read, a reading that fails keeps the content before, so that a rotation that is half done does no harm.
 */
export class FreshFile {
  readonly #path: string;
  #content: string | undefined;
  #readAtMs = -Infinity;

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws Error of the system when it was never readable */
  async read(): Promise<string> {
    if (this.#content !== undefined && performance.now() - this.#readAtMs < MAX_AGE_MS) return this.#content;
    try {
      const text = await readFile(this.#path, 'utf8');
      if (text.trim() === '') throw new Error(`${this.#path} is empty`);
      this.#content = text;
    } catch (error) {
      if (this.#content === undefined) throw error;
    }
    this.#readAtMs = performance.now();
    return this.#content;
  }

  /** The content was refused: the next reading goes to the file. */
  expire(): void {
    this.#readAtMs = -Infinity;
  }
}
