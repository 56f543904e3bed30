import type { BreakerMode, BreakerState } from '../model/breaker.ts';
import { objectKey } from '../model/names.ts';
import type { Route, Version } from '../model/route-table.ts';
import { Breaker } from './breaker.ts';
import type { CallLimits } from './decide.ts';
import { RateLimiter } from './rate-limiter.ts';

/** What is known of one version while calls run. */
export interface VersionGuard {
  /** Calls now with its servers, tunnels too. */
  inFlight: number;
  /** Set while the version has a threshold. */
  breaker?: Breaker;
}

interface RouteGuard {
  readonly versions: Map<string, VersionGuard>;
  limiter?: RateLimiter;
}

/**
 * Breakers, calls in flight and rates of all routes. State belongs to `namespace/name` and the version's name: it outlives every change of
 * the table that keeps them, and ends with them. Calls in flight are counted for every version, so that a limit that is set later is exact
 * at once. `nowMs` is of one monotonic clock.
 */
export class Governor {
  readonly #guards = new Map<string, RouteGuard>();

  /** Brings the settings to the newest routes. */
  apply(routes: readonly Route[], nowMs: number): void {
    const kept = new Set<string>();
    for (const route of routes) {
      kept.add(objectKey(route));
      this.#configure(route, nowMs);
    }
    for (const [key, guard] of this.#guards) {
      if (kept.has(key)) continue;
      this.#removeVersions(guard, []);
      delete guard.limiter;
      if (guard.versions.size === 0) this.#guards.delete(key);
    }
  }

  guardOf(route: Route, version: Version): VersionGuard {
    const { versions } = this.#routeGuard(route);
    const guard = versions.get(version.name) ?? { inFlight: 0 };
    versions.set(version.name, guard);
    return guard;
  }

  /** What bounds a call of `caller` (its source address), as `decide` asks for it. */
  limitsFor(route: Route, caller: string, nowMs: number): CallLimits {
    return {
      takeRate: () => this.#routeGuard(route).limiter?.take(route.rateLimit?.per === 'Route' ? '' : caller, nowMs) ?? 0,
      breakerOpen: (version) => this.guardOf(route, version).breaker?.isOpen(nowMs) ?? false,
      inFlight: (version) => this.guardOf(route, version).inFlight,
    };
  }

  /** Of every version that has a breaker. `epochMs`: now, as people count time. */
  states(routes: readonly Route[], nowMs: number, epochMs: number): readonly BreakerState[] {
    return routes.flatMap((route) =>
      route.versions.flatMap(({ name }, version) => {
        const reading = this.#guards.get(objectKey(route))?.versions.get(name)?.breaker?.read(nowMs);
        if (reading === undefined) return [];
        const { mode, open, openUntilMs, errors } = reading;
        const until = openUntilMs === undefined ? {} : { openUntilMs: Math.round(epochMs + openUntilMs - nowMs) };
        return [{ namespace: route.namespace, route: route.name, version, mode, open, ...until, errors }];
      }),
    );
  }

  /** Nothing happens when there is no such breaker: its version went, or lost its threshold, while the order was on its way. */
  setMode(routeKey: string, versionName: string, mode: BreakerMode): void {
    this.#guards.get(routeKey)?.versions.get(versionName)?.breaker?.setMode(mode);
  }

  #routeGuard(route: Route): RouteGuard {
    const key = objectKey(route);
    const guard = this.#guards.get(key) ?? { versions: new Map() };
    this.#guards.set(key, guard);
    return guard;
  }

  #configure(route: Route, nowMs: number): void {
    const guard = this.#routeGuard(route);
    this.#removeVersions(guard, route.versions);
    for (const version of route.versions) {
      const { threshold = 0, windowSeconds = 0, breakTimeSeconds = 0 } = version.breaker ?? {};
      const own = this.guardOf(route, version);
      const settings = { threshold, windowMs: windowSeconds * 1000, breakTimeMs: breakTimeSeconds * 1000 };
      if (threshold === 0) delete own.breaker;
      else if (own.breaker === undefined) own.breaker = new Breaker(settings);
      else own.breaker.configure(settings);
    }
    if (route.rateLimit === undefined) delete guard.limiter;
    else if (guard.limiter === undefined) guard.limiter = new RateLimiter(route.rateLimit);
    else guard.limiter.configure(route.rateLimit);
    guard.limiter?.prune(nowMs);
  }

  /** A version that goes leaves its breaker at once, and its count when the last of its calls has ended. */
  #removeVersions({ versions }: RouteGuard, kept: readonly Version[]): void {
    const names = new Set(kept.map(({ name }) => name));
    for (const [name, guard] of versions) {
      if (names.has(name)) continue;
      delete guard.breaker;
      if (guard.inFlight === 0) versions.delete(name);
    }
  }
}
