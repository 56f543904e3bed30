import { connect, type Socket } from 'node:net';

const MAX_ANSWER = 64 * 1024 * 1024;
const PROMPT = '\n> ';

/**
 * Many commands over one connection to a HAProxy CLI socket, one answer each (management guide, 9.3, "prompt").
 * HAProxy takes them one after the other; each must be one line. One question of ours at a time, of one or several commands.
 */
export class CliSession {
  readonly #socket: Socket;
  readonly #path: string;
  #received = '';
  #waiting: { readonly count: number; readonly resolve: (answers: readonly string[]) => void; readonly reject: (error: Error) => void } | undefined;
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
      await session.#exchange(['prompt'], timeoutMs);
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  }

  /** The answer without the empty line at its end. @throws Error when the connection broke or nothing came in time */
  async ask(command: string, timeoutMs = 2000): Promise<string> {
    const [answer = ''] = await this.askAll([command], timeoutMs);
    return answer;
  }

  /** Answers in the order of the commands, which are sent together: together no longer than HAProxy's buffer. @throws as `ask` does */
  askAll(commands: readonly string[], timeoutMs = 2000): Promise<readonly string[]> {
    if (commands.some((command) => /[\n\r;]/.test(command))) throw new Error('a command is one line');
    return this.#exchange(commands, timeoutMs);
  }

  close(): void {
    this.#socket.destroy();
  }

  async #exchange(commands: readonly string[], timeoutMs: number): Promise<readonly string[]> {
    if (this.#broken !== undefined) throw this.#broken;
    const timer = setTimeout(() => {
      this.#fail(new Error(`no answer from ${this.#path} within ${timeoutMs} ms`));
      this.close();
    }, timeoutMs);
    try {
      return await new Promise<readonly string[]>((resolve, reject) => {
        this.#waiting = { count: commands.length, resolve, reject };
        this.#socket.write(commands.map((command) => `${command}\n`).join(''));
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #take(chunk: string): void {
    this.#received += chunk;
    if (this.#received.length > MAX_ANSWER) return this.#fail(new Error(`the answer from ${this.#path} is longer than ${MAX_ANSWER} bytes`));
    const waiting = this.#waiting;
    if (waiting === undefined || !this.#received.endsWith(PROMPT)) return;
    const answers = this.#received.split(PROMPT);
    // The last one is what stands behind the last prompt: nothing.
    if (answers.length <= waiting.count) return;
    this.#received = '';
    this.#waiting = undefined;
    waiting.resolve(answers.slice(0, waiting.count).map((answer) => answer.trimEnd()));
  }

  #fail(error: Error): void {
    this.#broken ??= error;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }
}
