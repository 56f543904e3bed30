/**
 * Orders two resourceVersions of one kind: negative when `a` is older. Since Kubernetes 1.35 (KEP-5504) they are decimal numbers of any
 * size without leading zeroes, and comparable; every API server on etcd has given such ones before, too. Undefined for anything else.
 */
export function compareVersions(a: string, b: string): number | undefined {
  if (!DECIMAL.test(a) || !DECIMAL.test(b)) return undefined;
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/** Whether who knows `version` knows everything up to `since`. Versions that cannot be compared: no. */
export function isAtLeast(version: string, since: string): boolean {
  const order = compareVersions(version, since);
  return order !== undefined && order >= 0;
}

const DECIMAL = /^[1-9]\d{0,39}$/;
