/** A namespace that has given the right is asked again soon: a watch that runs goes on for minutes after the right is gone. */
const GRANTED_MS = 4_000;
/** One that has not: soon while it is new here, ever more seldom later. */
const REFUSED_MS = { least: 3_000, most: 60_000 };

interface Asked {
  readonly isGranted: boolean;
  readonly dueAtMs: number;
  readonly sinceMs: number;
}

/**
 * When to ask which namespace whether it lets its token Secrets be read: no API tells of grants, and a right to read all RoleBindings would be
 * a large one for it. The two kinds of namespaces take turns, so that neither keeps the other waiting when there are thousands.
 */
export class GrantSchedule {
  readonly #random: () => number;
  readonly #namespaces = new Map<string, Asked>();
  #turn = false;

  /** `random` returns [0, 1). */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** These namespaces there are. A new one is due at once, those in `first` before others. */
  setNamespaces(names: ReadonlySet<string>, first: ReadonlySet<string>, nowMs: number): void {
    for (const name of this.#namespaces.keys()) if (!names.has(name)) this.#namespaces.delete(name);
    for (const name of names) {
      if (!this.#namespaces.has(name)) this.#namespaces.set(name, { isGranted: first.has(name), dueAtMs: nowMs, sinceMs: nowMs });
    }
  }

  /** The namespace to ask now, or how long nobody is due. */
  next(nowMs: number): { readonly namespace: string } | { readonly waitMs: number } {
    this.#turn = !this.#turn;
    const [one, other] = [this.#earliest(this.#turn), this.#earliest(!this.#turn)];
    for (const each of [one, other]) if (each !== undefined && each.dueAtMs <= nowMs) return { namespace: each.namespace };
    return { waitMs: Math.max(0, Math.min(one?.dueAtMs ?? Infinity, other?.dueAtMs ?? Infinity) - nowMs) };
  }

  /** What the namespace said; undefined: there was no answer, and it is asked again as before. */
  answered(namespace: string, isGranted: boolean | undefined, nowMs: number): void {
    const before = this.#namespaces.get(namespace);
    if (before === undefined) return;
    const granted = isGranted ?? before.isGranted;
    const sinceMs = granted === before.isGranted ? before.sinceMs : nowMs;
    const pauseMs = granted ? GRANTED_MS : Math.min(REFUSED_MS.most, Math.max(REFUSED_MS.least, (nowMs - sinceMs) / 4));
    this.#namespaces.set(namespace, { isGranted: granted, dueAtMs: nowMs + pauseMs * (0.75 + this.#random() / 2), sinceMs });
  }

  #earliest(isGranted: boolean): { readonly namespace: string; readonly dueAtMs: number } | undefined {
    let found: { readonly namespace: string; readonly dueAtMs: number } | undefined;
    for (const [namespace, asked] of this.#namespaces) {
      if (asked.isGranted === isGranted && (found === undefined || asked.dueAtMs < found.dueAtMs)) found = { namespace, dueAtMs: asked.dueAtMs };
    }
    return found;
  }
}
