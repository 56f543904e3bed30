import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { isRecord, valueAt } from '../../../src/kube/field-path.ts';
import { CRD_URL } from '../../../src/kube/io/read-crd.ts';
import { NAME_RULE, ROUTE_RULES } from '../../../src/kube/route-rules.ts';

const crd: unknown = parse(readFileSync(CRD_URL, 'utf8'));
const version = valueAt(crd, ['spec', 'versions', 0]);
const root = valueAt(version, ['schema', 'openAPIV3Schema']);

interface Place {
  readonly path: string;
  readonly schema: Readonly<Record<string, unknown>>;
}

/** Every schema of the CRD with its path: `spec.to[].balance`. */
function places(schema: unknown, path = ''): Place[] {
  if (!isRecord(schema)) return [];
  const properties = isRecord(schema['properties']) ? Object.entries(schema['properties']) : [];
  return [
    { path, schema },
    ...properties.flatMap(([name, inner]) => places(inner, path === '' ? name : `${path}.${name}`)),
    ...places(schema['items'], `${path}[]`),
  ];
}

const all = places(root);
const inSpec = all.filter(({ path }) => path.startsWith('spec.'));

test('every CEL rule has its twin in code, and the other way round', () => {
  const inCrd = all.flatMap(({ path, schema }) =>
    ((schema['x-kubernetes-validations'] ?? []) as readonly { readonly message: string }[]).map(({ message }) => `${path}: ${message}`),
  );
  const inCode = [NAME_RULE, ...ROUTE_RULES].map(({ path, message, remedy }) => `${path}: ${message}; ${remedy}`);
  expect(inCrd.sort()).toEqual(inCode.sort());
});

const isText = ({ schema }: Place): boolean => schema['type'] === 'string' || schema['x-kubernetes-int-or-string'] === true;
const pathsOf = (found: readonly Place[]): readonly string[] => found.map(({ path }) => path);

test('the schema is structural: every field is typed, and none keeps what it does not know', () => {
  expect(pathsOf(all.filter((place) => place.schema['type'] === undefined && !isText(place)))).toEqual([]);
  expect(pathsOf(all.filter(({ schema }) => 'additionalProperties' in schema || 'x-kubernetes-preserve-unknown-fields' in schema))).toEqual([]);
});

test('every field of spec and status is described', () => {
  const fields = all.filter(({ path }) => /^(?:spec|status)/.test(path) && !path.endsWith(']'));
  expect(pathsOf(fields.filter(({ schema }) => typeof schema['description'] !== 'string'))).toEqual([]);
});

test('everything in a spec is bounded', () => {
  expect(inSpec.length).toBeGreaterThan(40);
  expect(pathsOf(inSpec.filter((place) => isText(place) && !('enum' in place.schema) && !('maxLength' in place.schema)))).toEqual([]);
  expect(pathsOf(inSpec.filter(({ schema }) => schema['type'] === 'array' && !('maxItems' in schema)))).toEqual([]);
  expect(pathsOf(inSpec.filter(({ schema }) => schema['type'] === 'integer' && !('minimum' in schema && 'maximum' in schema)))).toEqual([]);
});

test('names, status subresource and columns', () => {
  expect(valueAt(crd, ['spec', 'names'])).toEqual({
    kind: 'ServiceRoute',
    listKind: 'ServiceRouteList',
    plural: 'serviceroutes',
    singular: 'serviceroute',
    shortNames: ['sr'],
  });
  expect(valueAt(crd, ['metadata', 'name'])).toBe('serviceroutes.paas.io');
  expect(valueAt(version, ['subresources'])).toEqual({ status: {} });
  const columns = valueAt(version, ['additionalPrinterColumns']) as readonly { readonly name: string; readonly priority?: number }[];
  expect(columns.filter(({ priority }) => priority === undefined).map(({ name }) => name)).toEqual([
    'VIP', 'Global', 'Rule', 'Versions', 'Accepted', 'Programmed', 'Age',
  ]);
});
