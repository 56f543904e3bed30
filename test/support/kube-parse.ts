import type { Problem } from '../../src/model/problem.ts';
import { readRouteSchema } from '../../src/kube/io/read-crd.ts';
import { parseManifest } from '../../src/kube/parse-manifest.ts';
import type { ParseContext } from '../../src/kube/parse-service-route.ts';
import type { ParsedObject } from '../../src/kube/parsed-object.ts';

/** What everything is parsed with in tests: the real CRD, and `global` as the global namespace. */
export const parseContext: ParseContext = { schema: await readRouteSchema(), globalNamespace: 'global' };

/** Objects and all Problems of one text, the objects' own included. */
export function parseText(text: string, file = 'objects.yaml'): { readonly objects: readonly ParsedObject[]; readonly problems: readonly Problem[]; readonly readable: boolean } {
  const { manifest } = parseManifest(text, file, parseContext);
  const objects = manifest.objects ?? [];
  return { objects, problems: [...manifest.problems, ...objects.flatMap(({ problems }) => problems)], readable: manifest.objects !== undefined };
}
