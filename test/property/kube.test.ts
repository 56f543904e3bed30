import fc from 'fast-check';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { Problem } from '../../src/model/problem.ts';
import { parseManifest } from '../../src/kube/parse-manifest.ts';
import { parseObject } from '../../src/kube/parse-object.ts';
import type { ParsedObject } from '../../src/kube/parsed-object.ts';
import { splitDocuments } from '../../src/kube/split-documents.ts';
import { parseContext } from '../support/kube-parse.ts';
import { ROUTE_CASES } from '../support/route-cases.ts';

/** One line of printable ASCII, bounded: what may stand in a log, a status and a page. */
function expectPrintable({ object, field = '', message, remedy }: Problem): void {
  for (const text of [object.kind, object.namespace ?? '', object.name, field, message, remedy]) {
    expect(text).toMatch(/^[\x20-\x7e]*$/);
    expect(text.length).toBeLessThanOrEqual(310);
  }
}

function parseRaw(raw: unknown): { readonly objects: readonly ParsedObject[]; readonly problems: readonly Problem[] } {
  const { objects, problems } = parseObject(raw, parseContext, () => ({ file: 'x.yaml', line: 1 }));
  return { objects, problems: [...problems, ...objects.flatMap((parsed) => parsed.problems)] };
}

const KINDS = [
  ['paas.io/v1', 'ServiceRoute'],
  ['v1', 'Service'],
  ['discovery.k8s.io/v1', 'EndpointSlice'],
  ['v1', 'Pod'],
  ['v1', 'Node'],
  ['v1', 'ServiceAccount'],
  ['v1', 'List'],
] as const;

const hostileText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 600 }),
  fc.constantFrom('a\nserver evil 1.2.3.4:80', '\u0000', '"; drop', '\u202e', '__proto__', '%[env(PATH)]', '${jndi}', 'x'.repeat(5000), '\ud800'),
);
const hostile = fc.oneof(hostileText, fc.jsonValue(), fc.double(), fc.constantFrom(null, -1, 1e300, [], {}, JSON.parse('{"__proto__":{"a":1}}')));

/** Good objects of every kind, whose fields are then replaced one after the other. */
const GOOD: readonly object[] = [
  ...ROUTE_CASES.filter(({ codes }) => codes.length === 0).map(({ spec }) => ({
    apiVersion: 'paas.io/v1',
    kind: 'ServiceRoute',
    metadata: { name: 'svc', namespace: 'shop', uid: 'u', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec,
    status: { vip: '1.2.3.4', conditions: [] },
  })),
  { apiVersion: 'v1', kind: 'Service', metadata: { name: 's' }, spec: { ports: [{ name: 'a', port: 80, targetPort: 'x' }], selector: { a: 'b' }, clusterIP: 'None' } },
  {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 's', labels: { 'kubernetes.io/service-name': 'a' } },
    addressType: 'IPv4',
    ports: [{ port: 80 }],
    endpoints: [{ addresses: ['10.0.0.1'], conditions: { ready: true }, targetRef: { kind: 'Pod', name: 'p' } }],
  },
  { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', labels: { a: 'b' } }, spec: { nodeName: 'n' }, status: { phase: 'Running', podIPs: [{ ip: '10.0.0.1' }] } },
  { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' }, status: { addresses: [{ type: 'InternalIP', address: '10.0.0.1' }] } },
];

/** `value` with the field that `pick` chooses, at any depth, replaced by `by`. */
function mutate(value: unknown, pick: readonly number[], by: unknown): unknown {
  const [first, ...rest] = pick;
  if (first === undefined || typeof value !== 'object' || value === null || Object.keys(value).length === 0) return by;
  const keys = Object.keys(value);
  const key = keys[first % keys.length] ?? '';
  if (Array.isArray(value)) return value.map((item: unknown, i) => (String(i) === key ? mutate(item, rest, by) : item));
  return { ...value, [key]: mutate((value as Record<string, unknown>)[key], rest, by) };
}

test('whatever stands in whichever field: no throw, and every Problem is printable and bounded', () => {
  fc.assert(
    fc.property(fc.constantFrom(...GOOD), fc.array(fc.nat(20), { minLength: 1, maxLength: 6 }), hostile, (good, pick, by) => {
      const { objects, problems } = parseRaw(mutate(good, pick, by));
      problems.forEach(expectPrintable);
      for (const { kind, object } of objects) {
        // Texts that reach a config line are names; a spec with hostile text in them is no spec.
        if (kind !== 'ServiceRoute' || object?.spec === undefined) continue;
        for (const { name, match, hashHeader } of object.spec.to) {
          expect(name).toMatch(/^[a-z0-9-]{1,63}$/);
          expect(match ?? 'x').toMatch(/^[^\x00-\x20\x7f]+$/);
          expect(hashHeader ?? 'x').toMatch(/^[!-~]+$/);
        }
        expect(object.spec.rule.header ?? 'x').toMatch(/^[!-~]+$/);
      }
    }),
    { numRuns: 3000 },
  );
});

test('random JSON as any kind never throws', () => {
  fc.assert(
    fc.property(fc.constantFrom(...KINDS), fc.dictionary(fc.constantFrom('metadata', 'spec', 'status', 'items', 'endpoints', 'ports'), fc.jsonValue()), ([apiVersion, kind], body) => {
      parseRaw({ apiVersion, kind, ...body }).problems.forEach(expectPrintable);
    }),
    { numRuns: 1000 },
  );
});

test('random text as a file never throws', () => {
  const words = fc.constantFrom('---', '...', '\n', '  ', '- ', ': ', '{', '}', '[', ']', '&a ', '*a', '!!int ', '"', "'", '|', '>', '#', '%YAML 1.2', 'kind', 'a', '1', '\t', '<<');
  fc.assert(
    fc.property(fc.array(fc.oneof(words, fc.string({ maxLength: 5 })), { maxLength: 60 }), (parts) => {
      const { manifest } = parseManifest(parts.join(''), 'x.yaml', parseContext);
      manifest.problems.forEach(expectPrintable);
    }),
    { numRuns: 2000 },
  );
});

test('documents written one after the other are split into those same documents', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.string({ maxLength: 40 }), fc.constantFrom('---\nx', 'a\n--- b\n', '...\n', '%x\n')), { minLength: 1, maxLength: 6 }), (texts) => {
      const whole = texts.map((text) => `---\n${stringify({ text })}`).join('');
      // A text with directives stays whole; anything else is cut exactly at the markers.
      expect(splitDocuments(whole)).toHaveLength(/^%/m.test(whole) ? 1 : texts.length);
      expect(splitDocuments(whole).map(({ text }) => text).join('')).toBe(whole);
    }),
    { numRuns: 500 },
  );
});
