import { describe, expect, test } from 'vitest';
import { problemLine } from '../../../src/model/problem.ts';
import { parseManifest } from '../../../src/kube/parse-manifest.ts';
import { parseContext, parseText } from '../../support/kube-parse.ts';

const route = (name: string, rule = "{ type: '' }"): string => `apiVersion: paas.io/v1
kind: ServiceRoute
metadata: { name: ${name}, namespace: shop }
spec:
  rule: ${rule}
  to:
  - name: a
`;
const lines = (text: string, file?: string): readonly string[] => parseText(text, file).problems.map(problemLine);

describe('places', () => {
  test('a Problem names file, line, object, field and remedy', () => {
    const text = `# shop\n---\n${route('ok')}---\n${route('cart', "{ type: '', prefer: b }")}  locality: local\n  port:\n    listen: 53\n    target: 80\n`;
    expect(lines(text, 'shop/cart.yaml')).toEqual([
      `shop/cart.yaml:18: ServiceRoute shop/cart spec.locality: 'local' is not a value of this field [field-invalid]; use "PreferLocal", "Local", "Cluster"`,
      'shop/cart.yaml:21: ServiceRoute shop/cart spec.port.target: there is no such field; it is ignored [field-unknown]; remove it, or use one of targetPort, listen',
    ]);
    expect(lines(text.replace('local\n', 'Local\n'), 'shop/cart.yaml')).toEqual([
      'shop/cart.yaml:21: ServiceRoute shop/cart spec.port.target: there is no such field; it is ignored [field-unknown]; remove it, or use one of targetPort, listen',
      'shop/cart.yaml:15: ServiceRoute shop/cart spec.rule.prefer: rule.prefer names no version of this route [prefer-unknown]; set it to one of to[].name',
      'shop/cart.yaml:20: ServiceRoute shop/cart spec.port.listen: the port is used on every node (53, 9053, 9810, 10250 and 30000-32767 are) [port-reserved]; set port.listen to another one',
    ]);
  });

  test('a missing field is placed at its nearest parent', () => {
    expect(lines("apiVersion: paas.io/v1\nkind: ServiceRoute\nmetadata: { name: x }\nspec:\n  to:\n  - name: a\n")).toEqual([
      'objects.yaml:4: ServiceRoute default/x spec.rule: it is missing [field-invalid]; set rule: How the version of a call is chosen.',
    ]);
  });

  test('objects know the line on which they begin', () => {
    const { objects } = parseText(`\n# first\n${route('a')}---\n\n${route('b')}`);
    expect(objects.map(({ object }) => object?.origin)).toEqual([{ file: 'objects.yaml', line: 3 }, { file: 'objects.yaml', line: 12 }]);
  });

  test('JSON has lines for its Problems too', () => {
    const text = '{"apiVersion":"v1","kind":"List","items":[\n {"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n"},\n  "status":{"podIP":"1.2.3"}}]}';
    expect(lines(text, 'pods.json')).toEqual(["pods.json:3: Pod n/p status.podIP: '1.2.3' is not an IP address and is left out [field-invalid]; write an IPv4 or IPv6 address"]);
  });
});

describe('a file is unreadable as a whole', () => {
  test.each([
    ['one bad document among good ones', `${route('a')}---\nkind: [\n---\n${route('b')}`, 9],
    ['a key twice', `${route('a')}---\na: 1\nb: 2\na: 3\n`, 11],
    ['a tab as indentation', 'a:\n\t- b\n', 2],
    ['a text without end', `a: "b\n`, 1],
    ['an unknown alias', '---\na: 1\nb: *nothing\n', 1],
  ])('%s', (_name, text, line) => {
    const { readable, problems } = parseText(text);
    expect(readable).toBe(false);
    expect(problems.map(({ code, origin }) => [code, origin?.line])).toEqual([['file-unreadable', line]]);
  });

  test('aliases that expand without end', () => {
    const levels = Array.from({ length: 12 }, (_, i) => `a${i}: &a${i} [${Array.from({ length: 10 }, () => (i === 0 ? '1' : `*a${i - 1}`)).join(', ')}]`);
    const { readable, problems } = parseText(levels.join('\n'));
    expect(readable).toBe(false);
    expect(problems[0]?.message).toContain('Excessive alias count');
  });

  test.each([
    ['flow lists', `a: ${'['.repeat(100)}${']'.repeat(100)}`, 'x.yaml'],
    ['thousands of flow lists', `a: ${'['.repeat(5000)}${']'.repeat(5000)}`, 'x.yaml'],
    ['JSON', `${'['.repeat(100_000)}${']'.repeat(100_000)}`, 'x.json'],
  ])('deep nesting: %s', (_name, text, file) => {
    const { readable, problems } = parseText(text, file);
    expect(readable).toBe(false);
    expect(problems[0]?.message).toContain('nested');
  });

  test('JSON that is none, with its line', () => {
    const { readable, problems } = parseText('{"a": 1,\n "b" 2}\n', 'x.json');
    expect(readable).toBe(false);
    expect(problems.map(({ origin }) => origin)).toEqual([{ file: 'x.json', line: 2 }]);
  });
});

describe('documents', () => {
  test('a block scalar may hold dashes, and a directive belongs to its document', () => {
    const text = `kind: ConfigMap\napiVersion: v1\ndata:\n  a: |\n    ---\n    ----\n---\n${route('a')}`;
    expect(parseText(text).objects).toHaveLength(1);
    expect(parseText(`%YAML 1.2\n---\n${route('a')}...\n%YAML 1.2\n---\n${route('b')}`).objects).toHaveLength(2);
    expect(parseText(`--- # first\n${route('a')}---\t\n${route('b')}...\n`).objects).toHaveLength(2);
    expect(parseText(`\uFEFF${route('a')}`.replaceAll('\n', '\r\n')).objects).toHaveLength(1);
  });

  test('Lists are unrolled, and typed lists need no kind in their items', () => {
    const item = '{ metadata: { name: x, namespace: n }, spec: { ports: [{ port: 80 }] } }';
    expect(parseText(`apiVersion: v1\nkind: ServiceList\nitems: [${item}]`).objects.map(({ kind }) => kind)).toEqual(['Service']);
    expect(parseText(`apiVersion: v1\nkind: List\nitems: [{ apiVersion: v1, kind: Node, metadata: { name: n } }, { kind: X, apiVersion: y }]`).objects).toHaveLength(1);
    expect(lines('apiVersion: v1\nkind: List\nitems:\n- { apiVersion: v1, kind: List }\n')).toEqual([
      'objects.yaml:4: a List inside a List is not read [object-unreadable]; write its items beside the others',
    ]);
  });

  test('other kinds are passed over, also a Service of another group; empty documents too', () => {
    const text = '---\n---\n# nothing\n---\nkind: Deployment\napiVersion: apps/v1\n---\nkind: Service\napiVersion: serving.knative.dev/v1\nmetadata: { name: x }\n';
    expect(parseText(text)).toEqual({ objects: [], problems: [], readable: true });
  });

  test('a document that is no object, and a version that is not read, are said', () => {
    expect(lines('just text\n')).toEqual(['objects.yaml:1: not valid YAML: it is a text or a list, and no object [file-unreadable]; correct the file: one bad document makes all of it unreadable']);
    expect(lines('\napiVersion: paas.io/v2\nkind: ServiceRoute\n')).toEqual([
      'objects.yaml:2: ServiceRoute of paas.io/v2 is not read [object-unreadable]; set apiVersion to paas.io/v1',
    ]);
    expect(lines('apiVersion: paas.io/v1\nkind: Serviceroute\n')).toEqual(["objects.yaml:1: there is no kind 'Serviceroute' in paas.io/v1 [object-unreadable]; set kind to ServiceRoute"]);
  });

  test("what kubectl's YAML 1.1 would read as a boolean is a warning, quoted or in other kinds it is not", () => {
    const text = `${route('a')}  retries: { on: [connect-failure] }\n  log: { mode: Off }\n`;
    expect(parseText(text).problems.map(({ code, severity, message, origin }) => [code, severity, message, origin?.line])).toEqual([
      ['yaml-boolean', 'warning', 'kubectl reads a bare on as true (YAML 1.1)', 8],
      ['yaml-boolean', 'warning', 'kubectl reads a bare Off as false (YAML 1.1)', 9],
    ]);
    expect(parseText(`${route('a')}  retries: { "on": [connect-failure] }\n  log: { mode: 'Off' }\n`).problems).toEqual([]);
    expect(parseText('apiVersion: v1\nkind: Node\nmetadata: { name: n, labels: { on: off } }\n').problems).toEqual([]);
  });
});

describe('the cache', () => {
  const first = parseManifest(`${route('a')}---\n${route('b')}`, 'x.yaml', parseContext);

  test('keeps the identity of documents that did not change', () => {
    const next = parseManifest(`${route('a')}---\n${route('c')}`, 'x.yaml', parseContext, first.cache);
    expect(next.manifest.objects?.[0]).toBe(first.manifest.objects?.[0]);
    expect(next.manifest.objects?.[1]?.name).toBe('c');
  });

  test('moves lines without parsing again, and again on the way back', () => {
    const moved = parseManifest(`# new\n---\n${route('a')}---\n${route('b')}`, 'x.yaml', parseContext, first.cache);
    expect(moved.manifest.objects?.map(({ object }) => object?.origin?.line)).toEqual([3, 11]);
    const back = parseManifest(`${route('a')}---\n${route('b')}`, 'x.yaml', parseContext, moved.cache);
    expect(back.manifest).toEqual(first.manifest);
  });

  test('survives a text that cannot be read', () => {
    const broken = parseManifest('a: [', 'x.yaml', parseContext, first.cache);
    const fixed = parseManifest(`${route('a')}---\n${route('b')}`, 'x.yaml', parseContext, broken.cache);
    expect(fixed.manifest.objects?.[0]).toBe(first.manifest.objects?.[0]);
  });
});
