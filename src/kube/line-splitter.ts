const NEWLINE = 10;

/**
 * Splits a stream of bytes into lines, whatever the size of its chunks. A line of more than `maxBytes` is not kept: it is told as `undefined`
 * as soon as it is too long, and the rest of it is passed over, so that one huge object costs no more memory than the limit.
 */
export class LineSplitter {
  readonly #maxBytes: number;
  #parts: Uint8Array[] = [];
  #size = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines that end in `chunk`, without their newline; empty ones are left out. Use them up before the next call. */
  *push(chunk: Uint8Array): Generator<string | undefined> {
    let start = 0;
    while (start <= chunk.length) {
      const newline = chunk.indexOf(NEWLINE, start);
      const end = newline < 0 ? chunk.length : newline;
      if (this.#add(chunk.subarray(start, end))) yield undefined;
      start = end + 1;
      if (newline < 0) return;
      const [size, parts] = [this.#size, this.#parts];
      [this.#size, this.#parts] = [0, []];
      if (size > 0 && size <= this.#maxBytes) yield Buffer.concat(parts, size).toString();
    }
  }

  /** True when the line became too long by this part. */
  #add(part: Uint8Array): boolean {
    const fitted = this.#size <= this.#maxBytes;
    this.#size += part.length;
    const fits = this.#size <= this.#maxBytes;
    if (!fits) this.#parts = [];
    else if (part.length > 0) this.#parts.push(part);
    return fitted && !fits;
  }
}
