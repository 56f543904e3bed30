/** What the cluster lab runs; part of the keys of everything that it caches. */
export const VERSIONS = {
  kubernetes: 'v1.35.4',
  coredns: 'v1.14.7',
  debian: 'trixie',
} as const;
