import { connect, type Socket } from 'node:net';

const MAX_ANSWER = 64 * 1024 * 1024;
const PROMPT = '\n> ';

/**
 * Many commands over one connection to a HAProxy CLI socket, one answer each (management guide, 9.3, "prompt").
 * Commands are asked one after the other; each must be one line.
 */
export class CliSession {
  readonly #socket: Socket;
  readonly #path: string;
  #received = '';
  #waiting: { readonly resolve: (answer: string) => void; readonly reject: (error: Error) => void } | undefined;
  #broken: Error | undefined;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => this.#take(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error(`${path} closed the connection`)));
  }

  /** @throws Error when it cannot connect or nothing answers within `timeoutMs` */
  static async open(path: string, timeoutMs = 2000): Promise<CliSession> {
    const session = new CliSession(connect(path), path);
    try {
      await session.#exchange('prompt', timeoutMs);
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  }

  /** The answer without the empty line at its end. @throws Error when the connection broke or nothing came in time */
  ask(command: string, timeoutMs = 2000): Promise<string> {
    if (/[\n\r;]/.test(command)) throw new Error('a command is one line');
    return this.#exchange(command, timeoutMs);
  }

  close(): void {
    this.#socket.destroy();
  }

  async #exchange(command: string, timeoutMs: number): Promise<string> {
    if (this.#broken !== undefined) throw this.#broken;
    const timer = setTimeout(() => {
      this.#fail(new Error(`no answer from ${this.#path} within ${timeoutMs} ms`));
      this.close();
    }, timeoutMs);
    try {
      return await new Promise<string>((resolve, reject) => {
        this.#waiting = { resolve, reject };
        this.#socket.write(`${command}\n`);
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #take(chunk: string): void {
    this.#received += chunk;
    if (this.#received.length > MAX_ANSWER) return this.#fail(new Error(`the answer from ${this.#path} is longer than ${MAX_ANSWER} bytes`));
    if (!this.#received.endsWith(PROMPT)) return;
    const answer = this.#received.slice(0, -PROMPT.length).trimEnd();
    this.#received = '';
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve(answer);
  }

  #fail(error: Error): void {
    this.#broken ??= error;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }
}
