import { Ajv } from 'ajv';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { isRecord, typeName, valueAt } from './field-path.ts';
import type { FieldPath } from './field-path.ts';
import type { Issue } from './problem-list.ts';
import type { CheckedSpec } from './checked-spec.ts';

/** A structural schema of a CustomResourceDefinition, as far as it is read here. */
interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
}

/** Validates the parts of a ServiceRoute against the CRD's own schema. */
export interface RouteSchema {
  /** The spec with unknown fields pruned, nulls dropped and defaults applied, or without it when it breaks the schema. */
  checkSpec(spec: unknown): { readonly spec?: CheckedSpec; readonly issues: readonly Issue[] };
  /** What is wrong with the status, as warnings: only the controller writes it. */
  checkStatus(status: unknown): readonly Issue[];
  /** Warnings about fields beside apiVersion, kind, metadata, spec and status. */
  checkRoot(object: Readonly<Record<string, unknown>>): readonly Issue[];
}

/**
 * Builds the validator from the parsed `daemonset/crd.yaml`.
 * What the API server does beyond JSON Schema is translated: int-or-string, list-type set, pruning, dropping of nulls,
 * int32 and int64 (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/).
 * CEL rules are not run: `route-rules.ts` is their twin.
 * @throws Error when the value is no CRD with an openAPIV3Schema of spec and status.
 */
export function buildRouteSchema(crd: unknown): RouteSchema {
  const root = valueAt(crd, ['spec', 'versions', 0, 'schema', 'openAPIV3Schema']) as Schema | undefined;
  const specSchema = root?.properties?.['spec'];
  const statusSchema = root?.properties?.['status'];
  if (root === undefined || specSchema === undefined || statusSchema === undefined) {
    throw new Error('the CustomResourceDefinition has no openAPIV3Schema with spec and status');
  }
  const ajv = new Ajv({ strict: false, allErrors: true, useDefaults: true, verbose: true, logger: false });
  ajv.addFormat('int32', { type: 'number', validate: (n: number) => Number.isInteger(n) && Math.abs(n) < 2 ** 31 });
  ajv.addFormat('int64', { type: 'number', validate: (n: number) => Number.isSafeInteger(n) });
  ajv.addFormat('date-time', (text: string) => !Number.isNaN(Date.parse(text)));
  const validateSpec = ajv.compile(toJsonSchema(specSchema));
  const validateStatus = ajv.compile(toJsonSchema(statusSchema));

  return {
    checkSpec(raw) {
      const { value, issues: unknown } = prune(raw, specSchema, ['spec']);
      const wrong = runSchema(validateSpec, value, 'spec');
      return wrong.length > 0 ? { issues: [...wrong, ...unknown] } : { spec: value as CheckedSpec, issues: unknown };
    },
    checkStatus(raw) {
      const { value, issues } = prune(raw, statusSchema, ['status']);
      const wrong = runSchema(validateStatus, value, 'status');
      return [...wrong.map((issue) => ({ ...issue, severity: 'warning' as const })), ...issues];
    },
    checkRoot(object) {
      const known = Object.keys(root.properties ?? {});
      return Object.keys(object).filter((key) => !known.includes(key)).map((key) => unknownField([key], known));
    },
  };
}

/** Turns the API server's extensions into what JSON Schema has for them. */
function toJsonSchema(schema: unknown): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(isRecord(schema) ? schema : {})) {
    if (key === 'x-kubernetes-int-or-string') out['type'] = ['integer', 'string'];
    else if (key === 'x-kubernetes-list-type') out['uniqueItems'] = value === 'set';
    else if (key === 'properties' && isRecord(value)) {
      out[key] = Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, toJsonSchema(inner)]));
    } else if (key === 'items') out[key] = toJsonSchema(value);
    else if (!key.startsWith('x-')) out[key] = value;
  }
  return out;
}

/**
 * Copies what the schema knows, as the API server prunes; names the rest. Nulls count as absent, except in lists.
 * The copy is fresh: defaults may be written into it.
 */
function prune(value: unknown, schema: Schema, path: FieldPath): { value: unknown; issues: Issue[] } {
  const issues: Issue[] = [];
  const copy = (from: unknown, by: Schema, at: FieldPath): unknown => {
    if (Array.isArray(from)) {
      // One item above the bound keeps the list too long for the schema without walking a million items.
      const items = (from as readonly unknown[]).slice(0, MAX_ITEMS + 1);
      return by.items === undefined ? items : items.map((item, i) => copy(item, by.items ?? {}, [...at, i]));
    }
    // One character above the bound (which counts code points) is as wrong as a million, and the patterns need not see them.
    if (typeof from === 'string') return by.maxLength === undefined ? from : from.slice(0, 2 * (by.maxLength + 1));
    if (!isRecord(from) || by.properties === undefined) return from;
    const known = Object.keys(by.properties);
    const out: Record<string, unknown> = {};
    for (const [key, inner] of Object.entries(from)) {
      const property = known.includes(key) ? by.properties[key] : undefined;
      if (property === undefined) issues.push(unknownField([...at, key], known));
      else if (inner !== null) out[key] = copy(inner, property, [...at, key]);
    }
    return out;
  };
  return { value: copy(value ?? undefined, schema, path), issues };
}

/** The longest list of the schema. */
const MAX_ITEMS = 256;

function unknownField(path: FieldPath, known: readonly string[]): Issue {
  const name = String(path.at(-1));
  const meant = known.find((field) => field.toLowerCase() === name.toLowerCase()) ?? known.find((field) => oneEditApart(field, name));
  return {
    code: 'field-unknown',
    severity: 'warning',
    path,
    message: 'there is no such field; it is ignored',
    remedy: meant === undefined ? `remove it, or use one of ${known.join(', ')}` : `write ${meant}`,
  };
}

/** True when one letter more, less or other makes `a` into `b`, or two neighbours swapped. */
function oneEditApart(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false;
  let start = 0;
  while (start < a.length && a[start] === b[start]) start++;
  const [restA, restB] = [a.slice(start), b.slice(start)];
  const swapped = restA.length > 1 && restA[0] === restB[1] && restA[1] === restB[0] && restA.slice(2) === restB.slice(2);
  return swapped || restA.slice(1) === restB.slice(1) || restA.slice(1) === restB || restA === restB.slice(1);
}

function runSchema(validate: ValidateFunction, value: unknown, root: string): Issue[] {
  // `undefined` is no JSON value; an absent spec fails like an object without its required fields.
  if (value === undefined) return [{ code: 'field-invalid', path: [root], message: 'it is missing', remedy: `add ${root}` }];
  if (validate(value)) return [];
  return (validate.errors ?? []).map((error) => schemaIssue(error, root));
}

function schemaIssue(error: ErrorObject, root: string): Issue {
  const steps = error.instancePath.split('/').slice(1).map((step) => (/^[0-9]+$/.test(step) ? Number(step) : step.replaceAll('~1', '/').replaceAll('~0', '~')));
  const path = [root, ...steps];
  const params = error.params as Readonly<Record<string, unknown>>;
  const schema = error.parentSchema as Schema | undefined;
  const shown = shownValue(error.data);
  const issue = (message: string, remedy: string, at: FieldPath = path): Issue => ({ code: 'field-invalid', path: at, message, remedy });
  switch (error.keyword) {
    case 'required': {
      const field = String(params['missingProperty']);
      const description = schema?.properties?.[field]?.description;
      return issue('it is missing', `set ${field}${description === undefined ? '' : `: ${description}`}`, [...path, field]);
    }
    case 'type':
      return issue(`it is ${typeName(error.data)}, not ${expectedType(params['type'])}`, `write ${expectedType(params['type'])}`);
    case 'enum':
      return issue(`${shown} is not a value of this field`, `use ${(schema?.enum ?? []).map((value) => JSON.stringify(value)).join(', ')}`);
    case 'pattern':
      return issue(`${shown} is not well formed`, patternRemedy(String(path.findLast((step) => typeof step === 'string')), schema));
    case 'minimum':
    case 'maximum':
    case 'format':
      return issue(`${shown} is out of range`, `use a whole number ${range(schema ?? {})}`);
    case 'minLength':
      return issue('it is empty', 'give it a value');
    case 'maxLength':
      return issue(`it is longer than ${String(params['limit'])} characters`, 'shorten it');
    case 'minItems':
      return issue('the list is empty', `give at least ${String(params['limit'])} item`);
    case 'maxItems':
      return issue(`the list has more than ${String(params['limit'])} items`, `keep at most ${String(params['limit'])}`);
    case 'uniqueItems':
      return issue('the list names an item twice', 'name each item once');
    default:
      return issue(error.message ?? 'it breaks the schema', schema?.description ?? 'correct it');
  }
}

const TYPE_TEXTS: Readonly<Record<string, string>> = {
  boolean: 'true or false',
  integer: 'a whole number',
  string: 'a string (in quotes)',
  object: 'an object',
  array: 'a list',
  'integer,string': 'a whole number or a string',
};

const expectedType = (type: unknown): string => TYPE_TEXTS[String(type)] ?? String(type);

const range = ({ minimum = 0, maximum = 2 ** 31 - 1 }: Schema): string => `from ${minimum} to ${maximum}`;

/** A scalar as it was written, cut short; `it` for anything larger. */
function shownValue(value: unknown): string {
  if (typeof value === 'string') return `'${value.slice(0, 80)}'`;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : 'it';
}

const TOKEN = "use letters, digits and !#$%&'*+.^_`|~- only, for example X-Version";
const DURATION = 'write a duration such as 250ms, 60s or 1m30s';
const PATTERN_REMEDIES: Readonly<Record<string, string>> = {
  header: TOKEN,
  hashHeader: TOKEN,
  connect: DURATION,
  request: DURATION,
  name: "use the name of an object: a-z, 0-9 and '-', a Service's beginning with a letter",
  namespace: "use the name of a namespace: a-z, 0-9 and '-'",
  targetPort: 'use the name of a port, its number, or <number>-<protocol> such as 80-tcp',
};

const patternRemedy = (field: string, schema: Schema | undefined): string =>
  PATTERN_REMEDIES[field] ?? schema?.description ?? 'correct it';
