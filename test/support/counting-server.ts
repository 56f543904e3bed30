import { once } from 'node:events';
import http from 'node:http';
import { closeServer } from './haproxy-world.ts';

/** Answers by path (`/404`: that status; `/never`, `/reset`, `/abort`, `/cut`, `/held`); counts what reaches it and how many at a time. */
export class CountingServer {
  reached = 0;
  now = 0;
  most = 0;
  readonly #waiting = new Set<() => void>();
  readonly #server = http.createServer((request, response) => {
    this.reached++;
    this.now++;
    this.most = Math.max(this.most, this.now);
    response.on('close', () => this.now--);
    const path = request.url ?? '';
    if (path === '/never') return;
    if (path === '/reset') request.socket.destroy();
    else if (path === '/abort' || path === '/cut') {
      // Aborted: by a reset with a length that is not reached; cut: by an end in mid-chunk.
      response.writeHead(200, path === '/abort' ? { 'content-length': '1000' } : {}).write('begun');
      setTimeout(() => (path === '/abort' ? request.socket.resetAndDestroy() : request.socket.destroy()), 20);
    } else if (path === '/held') this.#waiting.add(() => response.end('held'));
    else if (/^\/\d{3}$/.test(path)) response.writeHead(Number(path.slice(1)), { 'x-onehop-reason': 'breaker-open' }).end('x');
    else response.end('ok');
  });

  async listen(address: string, port: number): Promise<this> {
    this.#server.listen(port, address);
    await once(this.#server, 'listening');
    return this;
  }

  /** Answers the calls of `/held`. */
  release(): void {
    for (const answer of this.#waiting) answer();
    this.#waiting.clear();
  }

  close(): Promise<void> {
    return closeServer(this.#server);
  }
}
