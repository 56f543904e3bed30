/** What this HAProxy can do; see `probeHaproxy`. */
export interface HaproxyFeatures {
  /** `2.6.12`, as the binary says it. */
  readonly version: string;
  /** Built with Lua: without it unknown callers are refused at once instead of held. */
  readonly lua: boolean;
}

/** Oldest version whose configuration language has all that is rendered (named defaults with rules). */
export const OLDEST = [2, 6] as const;

/** Reads the output of `haproxy -vv`; undefined when it is none. */
export function parseVersion(output: string): HaproxyFeatures | undefined {
  const version = /^HA-?Proxy version (\d+\.\d+[^\s]*)/m.exec(output)?.[1];
  if (version === undefined) return undefined;
  return { version: version.replace(/[-+].*$/, ''), lua: /[+ ]LUA\b|USE_LUA=1/.test(output.replaceAll('-LUA', '')) };
}

/** True when this version can read what we render. */
export function isSupported({ version }: HaproxyFeatures): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}
