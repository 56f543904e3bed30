import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { isRecord, valueAt } from '../../../src/kube/field-path.ts';
import { CRD_URL } from '../../../src/kube/io/read-crd.ts';
import { NOT_ENFORCED } from '../../../src/kube/not-enforced.ts';
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

test('the schema is structural: every field is typed and described', () => {
  for (const { path, schema } of all) {
    expect(schema['type'] !== undefined || schema['x-kubernetes-int-or-string'] === true, `type of ${path}`).toBe(true);
    if (path.startsWith('spec') && !path.endsWith(']')) expect(schema['description'], `description of ${path}`).toBeTypeOf('string');
    expect(schema['additionalProperties'], path).toBeUndefined();
  }
});

test('everything in a spec is bounded', () => {
  for (const { path, schema } of inSpec) {
    const isText = schema['type'] === 'string' || schema['x-kubernetes-int-or-string'] === true;
    if (isText && schema['enum'] === undefined) expect(schema['maxLength'], `maxLength of ${path}`).toBeTypeOf('number');
    if (schema['type'] === 'array') expect(schema['maxItems'], `maxItems of ${path}`).toBeTypeOf('number');
    if (schema['type'] === 'integer') expect([typeof schema['minimum'], typeof schema['maximum']], `range of ${path}`).toEqual(['number', 'number']);
  }
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
    'VIP', 'Global', 'Rule', 'Accepted', 'Programmed', 'Age',
  ]);
});

test('what is not enforced is in the schema', () => {
  for (const { field } of NOT_ENFORCED) expect(all.map(({ path }) => path)).toContain(field);
});
