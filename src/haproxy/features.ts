/** What this HAProxy can do; see `probeHaproxy`. */
export interface HaproxyFeatures {
  /** `2.6.12`, as the binary says it. */
  readonly version: string;
  /** Built with Lua: without it unknown callers are refused at once instead of held. */
  readonly lua: boolean;
}

/** Oldest version whose configuration language has all that is rendered (named defaults with rules). */
export const OLDEST = [2, 6] as const;
/** Newest branch that the tests have run on. A later one is used all the same, and said. */
export const NEWEST = [3, 2] as const;

/** Reads the output of `haproxy -vv`; undefined when it is none. */
export function parseVersion(output: string): HaproxyFeatures | undefined {
  const version = /^HA-?Proxy version (\d+\.\d+[^\s]*)/m.exec(output)?.[1];
  if (version === undefined) return undefined;
  return { version: version.replace(/[-+].*$/, ''), lua: /[+ ]LUA\b|USE_LUA=1/.test(output.replaceAll('-LUA', '')) };
}

/** True when this version can read what we render. */
export const isSupported = (haproxy: HaproxyFeatures): boolean => isSince(haproxy, OLDEST);

/** True when the tests have run on this version or a later one of the same branch. */
export const isTried = (haproxy: Pick<HaproxyFeatures, 'version'>): boolean => !isSince(haproxy, [NEWEST[0], NEWEST[1] + 1]);

/** True from HAProxy `major.minor` on. */
export function isSince({ version }: Pick<HaproxyFeatures, 'version'>, [atMajor, atMinor]: readonly [major: number, minor: number]): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > atMajor || (major === atMajor && minor >= atMinor);
}
