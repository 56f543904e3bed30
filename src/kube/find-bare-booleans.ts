import { visit } from 'yaml';
import type { Document, Scalar } from 'yaml';
import { problem } from '../model/problem.ts';
import type { Origin, Problem } from '../model/problem.ts';
import type { ParsedObject } from './parsed-object.ts';

/** What kubectl (YAML 1.1) takes for a boolean and YAML 1.2 for a text. */
const BARE_BOOLEAN = /^(?:y|n|yes|no|on|off)$/i;

/**
 * Warns of a bare `on`, `Off`, `yes` and the like in a document of ServiceRoutes: here it is the text that was meant, but
 * `kubectl apply` makes true or false of it, also of a key, so that `retries: {on: [...]}` would lose its field in a cluster.
 */
export function findBareBooleans(document: Document.Parsed, objects: readonly ParsedObject[], originAt: (offset: number) => Origin): readonly Problem[] {
  const route = objects.find(({ kind }) => kind === 'ServiceRoute');
  if (route === undefined) return [];
  const found: Problem[] = [];
  const look = (scalar: Scalar): void => {
    if (scalar.type !== 'PLAIN' || typeof scalar.value !== 'string' || !BARE_BOOLEAN.test(scalar.value) || found.length >= MAX_FOUND) return;
    found.push(
      problem({
        code: 'yaml-boolean',
        severity: 'warning',
        object: { kind: 'ServiceRoute', ...(route.namespace === undefined ? {} : { namespace: route.namespace }), name: route.name },
        message: `kubectl reads a bare ${scalar.value} as ${/^(?:y|yes|on)$/i.test(scalar.value) ? 'true' : 'false'} (YAML 1.1)`,
        remedy: `put it in quotes: '${scalar.value}'`,
        origin: originAt(scalar.range?.[0] ?? 0),
      }),
    );
  };
  visit(document, { Scalar: (_key, node) => look(node) });
  return found;
}

const MAX_FOUND = 20;
