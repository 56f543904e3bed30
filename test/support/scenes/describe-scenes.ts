import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AgentProcess } from './agent-process.ts';
import type { ProxyKind } from './agent-process.ts';
import { playScene, Stage } from './run-scene.ts';
import { parseScenes } from './scene.ts';
import type { Scene } from './scene.ts';
import { TokenMint } from './scene-tokens.ts';
import { takeTurn } from './take-turns.ts';

const FOLDER = new URL('../../integration/scenes/', import.meta.url).pathname;

/** Another run on this machine may have to end first. */
export const TURN_MS = 620_000;

/** Where the suite of one proxy runs: two suites at the same time never meet. */
export interface Place {
  readonly proxy: ProxyKind;
  readonly pool: string;
  /** First three parts of the addresses of its pods. */
  readonly pods: string;
  /** A port that scenes let other programs take. */
  readonly takenPort: number;
}

/** The names that scenes may use as `$(NAME)`. */
function variablesOf({ pods, pool, takenPort }: Place): Readonly<Record<string, string>> {
  return { PODS: pods, VIPS: pool.split('.').slice(0, 2).join('.'), TAKEN: String(takenPort), LONG: 'x'.repeat(8 * 1024), COOKIES: 'id=1234; '.repeat(333) };
}

/** All scenes by the topic that their file is named after. */
function readScenes(place: Place): ReadonlyMap<string, readonly Scene[]> {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.yaml')).sort();
  return new Map(files.map((name) => [name.replace(/\.yaml$/, ''), parseScenes(readFileSync(join(FOLDER, name), 'utf8'), variablesOf(place)).filter(({ proxies }) => proxies.includes(place.proxy))] as const).filter(([, scenes]) => scenes.length > 0));
}

/** Every scene as a test of one agent with this proxy. */
export function describeScenes(place: Place): void {
  describe(`scenes on ${place.proxy}`, () => {
    let stage: Stage | undefined;
    let giveBack = async (): Promise<void> => {};
    beforeAll(async () => {
      giveBack = await takeTurn(`${place.pods}.255`);
      const agent = await AgentProcess.prepare(place.proxy, place.pool);
      const mint = new TokenMint();
      stage = new Stage(agent, place.pods, mint);
      await agent.start('--trusted-callers=ops,mon/prometheus', ...(await mint.flags(agent.folder)));
    }, TURN_MS);
    afterAll(async () => {
      await stage?.agent.end();
      await stage?.agent.remove();
      await giveBack();
    });
    for (const [topic, scenes] of readScenes(place)) {
      describe(`scenes of ${topic}`, () => {
        it.each(scenes.map((scene) => [scene.name, scene] as const))('%s', async (_, scene) => {
          if (stage === undefined) throw new Error('the agent did not start');
          expect(await playScene(scene, stage)).toEqual([]);
        });
      });
    }
  });
}
