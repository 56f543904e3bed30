import type { Socket } from 'node:net';

/** HAProxy's `timeout tunnel`: silence on both sides after which a tunnel ends. */
const TUNNEL_IDLE_MS = 3_600_000;

/**
 * Copies bytes both ways with back-pressure and half-close; a reset of one resets the other. Resolves when both are closed. `onReset`
 * hears which one was reset while the other was open, before the other sees it.
 */
export function joinSockets(a: Socket, b: Socket, onReset: (socket: Socket) => void): Promise<void> {
  if (a.destroyed || b.destroyed) {
    a.destroy();
    b.destroy();
    return Promise.resolve();
  }
  return new Promise((resolve) => {
    let open = 2;
    for (const [from, to] of [[a, b], [b, a]] as const) {
      from.setTimeout(TUNNEL_IDLE_MS);
      from.on('timeout', () => from.destroy());
      // What broke is told by `close`; without a listener the error would end the worker.
      from.on('error', () => {});
      from.on('close', (hadError) => {
        // A reset goes on as a reset: a plain end would look like a complete transfer to the other side.
        if (hadError && !to.destroyed) onReset(from);
        if (hadError) to.resetAndDestroy();
        else if (!to.writableEnded) to.destroy();
        if (--open === 0) resolve();
      });
      from.pipe(to);
    }
  });
}
