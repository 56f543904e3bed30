import type { RefusedListener } from './withhold-routes.ts';

/** How long a port stays refused after a program of the node let go of it. */
export const PORT_REST_MS = 120_000;

/** Why a listener cannot be opened, and whether a program that listens on all addresses is in its way. */
export interface TakenListener extends RefusedListener {
  readonly everywhere?: boolean;
}

/**
 * Ports on which programs of the node listen on all addresses. Such a program cannot start while a route listens on its port on any
 * VIP, and its port is free for the moment in which it restarts: taken then, a tenant's route on port 22 or 6443 would keep sshd or the API
 * server from coming back. So a port that was seen taken rests before a route gets it.
 */
export class RestingPorts {
  readonly #restMs: number;
  readonly #seen = new Map<number, { readonly atMs: number; readonly failure: RefusedListener }>();

  constructor(restMs: number) {
    this.#restMs = restMs;
  }

  /** The listeners among `wanted` that must not be opened: those that cannot be, and those whose port still rests. */
  refuse(
    wanted: readonly { readonly key: string; readonly port: number }[],
    taken: ReadonlyMap<string, TakenListener>,
    nowMs: number,
  ): ReadonlyMap<string, RefusedListener> {
    for (const { key, port } of wanted) {
      const failure = taken.get(key);
      if (failure?.everywhere === true) this.#seen.set(port, { atMs: nowMs, failure });
    }
    for (const [port, { atMs }] of this.#seen) if (nowMs - atMs >= this.#restMs) this.#seen.delete(port);
    const refused = new Map<string, RefusedListener>(taken);
    for (const { key, port } of wanted) {
      const seen = this.#seen.get(port);
      if (seen !== undefined && !refused.has(key)) refused.set(key, rest(seen.failure, this.#restMs));
    }
    return refused;
  }
}

/** No time of day in it: a Problem is told again when its text changes. */
const rest = ({ code, detail, remedy }: RefusedListener, restMs: number): RefusedListener => ({
  code,
  detail: `${detail} or was a moment ago; once that is gone the port is left free for ${restMs / 1000} s, so that it can start again`,
  remedy,
});
