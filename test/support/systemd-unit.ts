import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = join(import.meta.dirname, '../../systemd');

/** A shipped unit file: the values of `Section.Key`, in order. */
export type Unit = (key: `${'Unit' | 'Service' | 'Install'}.${string}`) => readonly string[];

/** Reads `systemd/NAME`. The units use no quoting and no continued lines. */
export function readUnit(name: string): Unit {
  const values = new Map<string, string[]>();
  let section = '';
  for (const line of readFileSync(join(FOLDER, name), 'utf8').split('\n')) {
    const heading = /^\[(\w+)\]$/.exec(line)?.[1];
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
    if (heading !== undefined) section = heading;
    else if (key !== undefined && value !== undefined) values.set(`${section}.${key}`, [...(values.get(`${section}.${key}`) ?? []), value]);
    else if (line !== '' && !line.startsWith('#')) throw new Error(`${name}: what is '${line}'?`);
  }
  return (key) => values.get(key) ?? [];
}

/** The variables of `systemd/onehop.env`. */
export function readEnvironmentFile(): Record<string, string> {
  const lines = readFileSync(join(FOLDER, 'onehop.env'), 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}
