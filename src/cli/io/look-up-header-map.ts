import { join } from 'node:path';
import { askCli } from '../../haproxy/io/cli-socket.ts';
import { STATS_SOCKET } from '../../haproxy/render-global.ts';
import { headerMap } from '../../haproxy/render-maps.ts';
import { messageOf } from '../../model/coded-error.ts';
import { printable } from '../../model/problem.ts';
import type { Route } from '../../model/route-table.ts';
import { findRunDir } from './find-run-dir.ts';

/** What may stand in a command of HAProxy's CLI without being read as syntax. */
const SAFE_VALUE = /^[A-Za-z0-9_.:@/=-]{1,200}$/;

/**
 * Asks the running HAProxy which version its own header map gives for the value: the rendered rules beside the decision code.
 * Undefined when there is nothing to ask.
 */
export async function lookUpHeaderMap(runDir: string, route: Route, headers: ReadonlyMap<string, string>): Promise<string | undefined> {
  const value = route.choice.kind === 'header' ? headers.get(route.choice.header) : undefined;
  if (value === undefined) return undefined;
  if (!SAFE_VALUE.test(value)) return 'not asked: the value has characters that its command line would read';
  try {
    const answer = await askCli(join(await findRunDir(runDir), STATS_SOCKET), `get map ${headerMap(route)} ${value}`);
    const found = /value="([^"]*)"/.exec(answer)?.[1];
    return found === undefined ? 'its map matches no version' : `its map gives ${printable(found, 200)}`;
  } catch (error) {
    return `not asked: ${messageOf(error)}`;
  }
}
