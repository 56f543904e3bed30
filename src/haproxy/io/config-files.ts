import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CONFIG_FILE } from '../plan-change.ts';
import { FIRST_MAP } from '../plan-servers.ts';
import { parseMap } from '../parse-answers.ts';
import { parseServers } from '../parse-server-states.ts';
import { configDigest, type RenderedConfig } from '../render-config.ts';
import { isLiveMap } from '../render-maps.ts';
import { CliSession } from './cli-session.ts';

/** Writes a file so that readers and a crash see the old or the new bytes, never half of them. */
async function writeAtomically(path: string, content: string, durable: boolean): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(content);
    if (durable) await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

const AT_ONCE = 32;
const MAP_TIMEOUT_MS = 10_000;

/** Writes files (path relative to `dir` -> content), haproxy.cfg last and synced, for it names the rest; then removes others. */
export async function writeFiles(dir: string, write: ReadonlyMap<string, string>, remove: readonly string[] = []): Promise<void> {
  for (const folder of new Set([...write.keys()].map((file) => dirname(join(dir, file))))) await mkdir(folder, { recursive: true, mode: 0o700 });
  const named = [...write].filter(([file]) => file !== CONFIG_FILE);
  for (let from = 0; from < named.length; from += AT_ONCE) {
    await Promise.all(named.slice(from, from + AT_ONCE).map(([file, content]) => writeAtomically(join(dir, file), content, false)));
  }
  const config = write.get(CONFIG_FILE);
  if (config !== undefined) await writeAtomically(join(dir, CONFIG_FILE), config, true);
  for (const file of remove) await rm(join(dir, file), { force: true });
}

/** Reads a run dir's configuration back; undefined when there is none. */
export async function readFiles(dir: string): Promise<RenderedConfig | undefined> {
  const config = await readFile(join(dir, CONFIG_FILE), 'utf8').catch(() => undefined);
  if (config === undefined) return undefined;
  const maps = (await readdir(join(dir, 'maps')).catch((): string[] => [])).filter((name) => name.endsWith('.map')).map((name) => `maps/${name}`);
  const scripts = (await readdir(dir)).filter((name) => name.endsWith('.lua'));
  const files = new Map<string, string>();
  for (const file of [...maps, ...scripts].sort()) files.set(file, await readFile(join(dir, file), 'utf8'));
  const digest = configDigest(config) ?? '';
  return { config, digest, files, servers: parseServers(config, files.get(FIRST_MAP) ?? ''), structures: new Map() };
}

/** The same files, live maps as the running worker has them: an agent may have ended between the command and the write. */
export async function readLiveMaps(socket: string, files: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, string>> {
  const live = new Map(files);
  const session = await CliSession.open(socket);
  try {
    for (const file of files.keys()) {
      if (!isLiveMap(file)) continue;
      const answer = await session.ask(`show map ${file}`, MAP_TIMEOUT_MS);
      // A file of an earlier configuration: not loaded, so not wanted either.
      if (answer.startsWith('Unknown map')) live.delete(file);
      else live.set(file, parseMap(answer));
    }
  } finally {
    session.close();
  }
  return live;
}
