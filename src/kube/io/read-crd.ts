import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { buildRouteSchema } from '../route-schema.ts';
import type { RouteSchema } from '../route-schema.ts';

/** `daemonset/crd.yaml` of this installation; the same place seen from `src` and from the compiled folder beside it. */
export const CRD_URL = new URL('../../../daemonset/crd.yaml', import.meta.url);

/** Reads the CRD that comes with Onehop and builds the validator from it. */
export async function readRouteSchema(): Promise<RouteSchema> {
  return buildRouteSchema(parse(await readFile(CRD_URL, 'utf8')));
}
