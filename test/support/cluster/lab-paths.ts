import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Where one lab keeps its things. Everything that a lab owns on the machine bears its name, so that tearing down one lab never
 * touches another: the folders, the network namespaces in /run/netns, the cgroups.
 */
export interface LabPaths {
  readonly name: string;
  /** State, credentials, logs, sockets, etcd: small. */
  readonly folder: string;
  /** containerd's and kubelet's data: large, on a real disk (/run is often a small tmpfs that allows no programs). */
  readonly data: string;
  /** Prefix of network namespaces and name of the cgroup. */
  readonly prefix: string;
}

/**
 * @param name a DNS label of at most 12 characters: interface and socket names are made of it
 * @throws Error when the name is none
 */
export function labPaths(name: string): LabPaths {
  if (!/^[a-z][a-z0-9-]{0,11}$/.test(name)) throw new Error(`a lab's name is a lower-case label of at most 12 characters, not ${JSON.stringify(name)}`);
  const isRoot = process.getuid?.() === 0;
  const prefix = `onehop-lab-${name}`;
  return {
    name,
    prefix,
    folder: join(isRoot ? '/run' : (process.env['XDG_RUNTIME_DIR'] ?? tmpdir()), prefix),
    data: join(isRoot ? '/var/tmp' : tmpdir(), `${prefix}-data`),
  };
}

/** Folder of what outlives a lab: programs, root file systems, images. */
export const cacheFolder = (...parts: readonly string[]): string => join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'onehop', ...parts);
