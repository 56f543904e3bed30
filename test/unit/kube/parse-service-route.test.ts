import { describe, expect, test } from 'vitest';
import { problemLine } from '../../../src/model/problem.ts';
import { parseServiceRoute } from '../../../src/kube/parse-service-route.ts';
import type { Parsed } from '../../../src/kube/parsed-object.ts';
import { parseContext } from '../../support/kube-parse.ts';
import { ROUTE_CASES } from '../../support/route-cases.ts';

const parse = (spec: unknown, metadata: object = { name: 'svc', namespace: 'shop' }, more: object = {}): Parsed<'ServiceRoute'> =>
  parseServiceRoute({ apiVersion: 'paas.io/v1', kind: 'ServiceRoute', metadata, spec, ...more }, parseContext, () => undefined);
const specOf = (spec: unknown) => parse(spec).object?.spec;
const to = [{ name: 'a' }];
const plain = (more: object): unknown => ({ rule: { type: '' }, to, ...more });

describe('a spec is', () => {
  test.each(ROUTE_CASES)('$name', ({ spec, codes, says = '' }) => {
    const { object, problems } = parse(spec);
    const errors = problems.filter(({ severity }) => severity === 'error');
    expect(errors.map(({ code }) => code).sort()).toEqual(codes);
    // A good name always gives a route, with a spec exactly when nothing is wrong.
    expect(object?.name).toBe('svc');
    expect(object?.spec === undefined).toBe(codes.length > 0);
    expect(errors.slice(0, 1).map(problemLine).join('')).toContain(says);
  });
});

describe('a valid spec', () => {
  test('gets every default', () => {
    expect(specOf(plain({}))).toEqual({
      rule: { type: '' },
      global: false,
      acl: { defaultAllow: true, entries: [] },
      to: [{ name: 'a' }],
      port: {},
      locality: 'PreferLocal',
      timeout: { connectMs: 250, requestMs: 60_000 },
      retries: { attempts: 3, on: ['connect-failure', 'empty-response', 'response-timeout'], nonIdempotent: false },
      log: { mode: 'Off', percent: 1 },
    });
  });

  test('takes weights as numbers and percentages, absent as 0', () => {
    const spec = specOf({ rule: { type: 'Percentage' }, to: [{ name: 'a', balance: { rule: 30 } }, { name: 'b', balance: { rule: '70%' } }, { name: 'c' }] });
    expect(spec?.to).toEqual([{ name: 'a', weight: 30 }, { name: 'b', weight: 70 }, { name: 'c', weight: 0 }]);
  });

  test('takes regexes as they are; a missing or empty one is no match at all', () => {
    const rules = ['^1$', '', undefined, 2];
    const spec = specOf({ rule: { type: 'Header', header: 'X-V' }, to: rules.map((rule, i) => ({ name: `v${i}`, balance: { rule } })) });
    expect(spec?.to).toEqual([{ name: 'v0', match: '^1$' }, { name: 'v1' }, { name: 'v2' }, { name: 'v3', match: '2' }]);
  });

  test('treats an empty prefer, header, kind and namespace as unset', () => {
    const spec = specOf({ rule: { type: '', prefer: '', header: '' }, to, acl: { entries: [{ kind: '', name: 'web', namespace: '' }] } });
    expect(spec?.rule).toEqual({ type: '' });
    expect(spec?.acl.entries).toEqual([{ name: 'web', namespace: 'shop' }]);
  });

  test('keeps the namespace of an acl entry', () => {
    expect(specOf(plain({ acl: { entries: [{ kind: 'Service', name: 'web', namespace: 'front' }] } }))?.acl.entries).toEqual([
      { kind: 'Service', name: 'web', namespace: 'front' },
    ]);
  });

  test('gets window and breakTime of a breaker, and a burst of one second', () => {
    const spec = specOf({ rule: { type: '' }, to: [{ name: 'a', breaker: { threshold: 5 } }], rateLimit: { requestsPerSecond: 7 } });
    expect(spec?.to[0]?.breaker).toEqual({ threshold: 5, windowSeconds: 10, breakTimeSeconds: 30, connLimit: 0 });
    expect(spec?.rateLimit).toEqual({ requestsPerSecond: 7, burst: 7, per: 'Caller' });
  });

  test('reads durations', () => {
    expect(specOf(plain({ timeout: { connect: '1s500ms', request: '1h1m1s' } }))?.timeout).toEqual({ connectMs: 1500, requestMs: 3_661_000 });
  });

  test('does not keep anything of the raw object', () => {
    const raw = { rule: { type: '' }, to: [{ name: 'a', extra: 1 }], retries: { attempts: 1 } };
    const spec = specOf(raw);
    expect(JSON.stringify(spec)).not.toContain('extra');
    expect(raw).toEqual({ rule: { type: '' }, to: [{ name: 'a', extra: 1 }], retries: { attempts: 1 } });
  });
});

describe('metadata', () => {
  test.each([['9a'], ['A'], ['a_b'], ['a.b'], ['a-'], [''], ['x'.repeat(64)], ['a\nb'], [5], [null], [{}]])('the name %j gives a Problem and no route', (name) => {
    const { object, problems } = parse(plain({}), { name, namespace: 'shop' });
    expect(object).toBeUndefined();
    expect(problems.map(({ code }) => code)).toEqual(['name-invalid']);
  });

  test.each([['A'], ['a.b'], [7], ['']])('the namespace %j gives a Problem and no route', (namespace) => {
    const { object, problems } = parse(plain({}), { name: 'svc', namespace });
    expect(object).toBeUndefined();
    expect(problems.map(({ code }) => code)).toEqual(['name-invalid']);
  });

  test('no namespace is default', () => {
    expect(parse(plain({}), { name: 'svc' }).object?.namespace).toBe('default');
  });

  test('the global namespace holds no routes', () => {
    const { object, problems } = parse(plain({}), { name: 'svc', namespace: 'global' });
    expect(object).toBeUndefined();
    expect(problems.map(problemLine)).toEqual([
      'ServiceRoute global/svc metadata.namespace: namespace global holds the names of public routes and no ServiceRoutes [namespace-reserved]; move it to the namespace of its Services and set spec.global: true',
    ]);
  });

  test('uid, generation, creation time and status are read, whatever the spec', () => {
    const metadata = { name: 'svc', namespace: 'shop', uid: 'u1', generation: 3, creationTimestamp: '2026-01-02T03:04:05Z' };
    expect(parse({}, metadata, { status: { vip: '169.254.193.1', globalVip: '169.254.193.2' } }).object).toEqual({
      namespace: 'shop',
      name: 'svc',
      uid: 'u1',
      generation: 3,
      createdAtMs: Date.UTC(2026, 0, 2, 3, 4, 5),
      status: { vip: '169.254.193.1', globalVip: '169.254.193.2' },
    });
  });

  test('a bad status is a warning and costs nothing else', () => {
    const { object, problems } = parse(plain({}), { name: 'svc', namespace: 'shop' }, { status: { vip: 5, conditions: 'x' } });
    expect(object?.spec).toBeDefined();
    expect(object?.status).toEqual({});
    expect(problems.map(({ severity, field }) => [severity, field])).toEqual([['warning', 'status.vip'], ['warning', 'status.conditions']]);
  });
});

test('a pattern never sees more of a text than the schema allows', () => {
  // Backtracking over all of it would take hours.
  const type = `${'a.'.repeat(1_000_000)}!`;
  const started = performance.now();
  const { problems } = parse(plain({ port: { targetPort: `${'a-'.repeat(1_000_000)}!` } }), undefined, { status: { conditions: [{ type }] } });
  expect(problems.length).toBeGreaterThan(2);
  expect(performance.now() - started).toBeLessThan(5000);
});

describe('warnings', () => {
  test('an unknown field is named, with what was probably meant', () => {
    const { object, problems } = parse({ rule: { type: '', Prefer: 'a' }, to: [{ name: 'a', wieght: 5 }], locallity: 'Local' }, undefined, { sepc: {} });
    expect(object?.spec).toBeDefined();
    expect(problems.map(problemLine)).toEqual([
      'ServiceRoute shop/svc sepc: there is no such field; it is ignored [field-unknown]; write spec',
      'ServiceRoute shop/svc spec.rule.Prefer: there is no such field; it is ignored [field-unknown]; write prefer',
      'ServiceRoute shop/svc spec.to[0].wieght: there is no such field; it is ignored [field-unknown]; remove it, or use one of kind, name, balance, breaker',
      'ServiceRoute shop/svc spec.locallity: there is no such field; it is ignored [field-unknown]; write locality',
    ]);
    expect(problems.every(({ severity }) => severity === 'warning')).toBe(true);
  });

  test('a spillAt of 0 is none', () => {
    expect(parse(plain({ spillAt: 5 })).object?.spec?.spillAt).toBe(5);
    expect(parse(plain({ spillAt: 0 })).object?.spec?.spillAt).toBeUndefined();
  });

  test('at most 20 Problems of one object are spelled out', () => {
    const { problems } = parse(plain(Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`field${i}`, 1]))));
    expect(problems).toHaveLength(21);
    expect(problems.at(-1)?.message).toBe('480 more problems are not shown');
  });
});
