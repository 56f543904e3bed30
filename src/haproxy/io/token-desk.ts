import { chmod, rename, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { MAX_TOKEN_BYTES, tokenDigest, type OnTokensChanged, type TokenVerdict, type VerifyToken } from '../../model/token.ts';
import { TOKEN_SOCKET } from '../render-tokens.ts';
import { tokenValue } from '../token-entries.ts';
import { TokenMap, type TokenMapOptions } from './token-map.ts';

export interface TokenDeskOptions extends TokenMapOptions {
  /** Absent: every token is refused. */
  readonly verifyToken?: VerifyToken | undefined;
  readonly onTokensChanged?: OnTokensChanged | undefined;
}

/** More than the questions that HAProxy may have open: 500 a second for 2 s. */
const MAX_CONNECTIONS = 1_100;
/** HAProxy waits 2 s. */
const PATIENCE_MS = 2_500;
/** Keys may change while a token is verified; then the verdict is void. */
const MAX_ROUNDS = 3;

/**
 * Answers HAProxy's questions about tokens on a unix socket in the run dir (mode 0600: HAProxy runs under the agent's uid, and no pod has
 * this folder). One question per connection: the token and a line feed; the answer is `namespace/account@expiry` or `no`, and the end.
 * A connection that says anything else, or too much, or nothing, is closed.
 */
export class TokenDesk {
  readonly #options: TokenDeskOptions;
  readonly #map: TokenMap;
  readonly #server: Server;
  readonly #path: string;
  readonly #sockets = new Set<Socket>();
  /** Counts the changes of keys and codes. */
  #epoch = 0;

  private constructor(options: TokenDeskOptions, map: TokenMap) {
    this.#options = options;
    this.#map = map;
    this.#path = join(options.runDir, TOKEN_SOCKET);
    this.#server = createServer((socket) => this.#serve(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
    options.onTokensChanged?.(() => {
      this.#epoch++;
      map.forget();
    });
  }

  /** @throws Error when the socket cannot be made. */
  static async open(options: TokenDeskOptions): Promise<TokenDesk> {
    const desk = new TokenDesk(options, await TokenMap.open(options));
    if (options.verifyToken === undefined) desk.#map.forget();
    // Under another name first: nobody reaches it before it is closed to others, and one left behind is replaced in one step.
    const candidate = `${desk.#path}.new`;
    await rm(candidate, { force: true });
    await new Promise<void>((resolve, reject) => {
      desk.#server.once('error', reject);
      desk.#server.listen(candidate, resolve);
    });
    await chmod(candidate, 0o600);
    await rename(candidate, desk.#path);
    desk.#server.unref();
    return desk;
  }

  /** A worker serves that was not there before: it began with what the file held some time ago. */
  newWorker(): void {
    this.#map.bring();
  }

  /** Resolves when HAProxy takes no token any more that keys or codes of before stood for; also when it does not answer, and is told again. */
  settled(): Promise<void> {
    return this.#map.settled();
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    await rm(this.#path, { force: true });
    await this.#map.close();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    const timer = setTimeout(() => socket.destroy(), PATIENCE_MS).unref();
    socket.on('close', () => clearTimeout(timer));
    let line = '';
    // One byte, one character: what is no ASCII never becomes something that is.
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      line += chunk;
      const end = line.indexOf('\n');
      if (end < 0 && line.length <= MAX_TOKEN_BYTES) return;
      socket.removeAllListeners('data').resume();
      if (end < 0 || end > MAX_TOKEN_BYTES) {
        socket.destroy();
        return;
      }
      const token = line.slice(0, end);
      line = '';
      void this.#answer(token).then((answer) => socket.end(`${answer}\n`));
    });
  }

  async #answer(token: string): Promise<string> {
    const verdict = await this.#judge(token);
    if (!verdict.ok) return 'no';
    this.#map.add(tokenDigest(token), verdict.identity);
    return tokenValue(verdict.identity) ?? 'no';
  }

  async #judge(token: string): Promise<TokenVerdict> {
    if (!/^[\x21-\x7e]+$/.test(token)) return { ok: false, why: 'it is empty, or has characters that no token has' };
    const { verifyToken } = this.#options;
    if (verifyToken === undefined) return { ok: false, why: 'nothing is set up to verify it' };
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const epoch = this.#epoch;
      const verdict = await verifyToken(token).catch((): TokenVerdict => ({ ok: false, why: 'it could not be verified' }));
      if (epoch === this.#epoch) return verdict;
    }
    return { ok: false, why: 'the keys change too often' };
  }
}
