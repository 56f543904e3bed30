import { describe, expect, it } from 'vitest';
import { objectKey } from '../../../src/model/names.ts';
import type { Route } from '../../../src/model/route-table.ts';
import { planListeners, wantedListeners } from '../../../src/embedded/plan-listeners.ts';
import { compileRoutes, planTransfer } from '../../../src/embedded/serve-table.ts';
import { CALLERS, endpoint, route, table, version } from '../../support/embedded-world.ts';

const one = (): Route => route('one', '10.0.0.1', [version('v', [endpoint('10.1.0.1', 80)])]);
const two = (): Route => route('two', '10.0.0.2', [version('v', [endpoint('10.1.0.2', 80)])]);
const sent = new Map([one(), two()].map((sentRoute) => [objectKey(sentRoute), sentRoute]));

describe('planTransfer', () => {
  it('sends nothing of routes that are the same', () => {
    expect(planTransfer(sent, table([one(), two()]))).toEqual({ callers: CALLERS, changed: [], removed: [] });
  });

  it('sends changed and new routes without what is only for people, and names the removed ones', () => {
    const changed = { ...one(), versions: [version('v', [endpoint('10.1.0.9', 80)])] };
    const plan = planTransfer(sent, table([changed, route('three', '10.0.0.3', [])]));
    expect(plan.changed.map(({ name }) => name)).toEqual(['one', 'three']);
    expect(plan.changed[0]?.versions[0]).toMatchObject({ endpoints: [], active: [{ address: '10.1.0.9' }] });
    expect(plan.removed).toEqual(['b/two']);
  });

  it.each<[string, Partial<Route>]>([
    ['a field', { listen: 81 }],
    ['a field that appears', { globalVip: '10.0.0.9' }],
    ['a version that goes', { versions: [] }],
    ['an exception of the acl', { access: { namespace: 'b', defaultAllow: true, exceptions: ['10.0.0.1'], accounts: [], hasEntries: true } }],
  ])('sees %s', (_name, more) => {
    expect(planTransfer(sent, table([{ ...one(), ...more }, two()])).changed).toHaveLength(1);
  });
});

describe('compileRoutes', () => {
  it('keeps compiled patterns, and makes a route with an unsupported one invalid with a Problem', () => {
    const choice = { kind: 'header', header: 'X' } as const;
    const fine = route('fine', '10.0.0.1', [version('v', [], { match: '^a' })], { choice });
    const bad = route('bad', '10.0.0.2', [version('v', [], { match: '^a' }), version('w', [], { match: '(?=a)' })], { choice });
    const first = compileRoutes([fine], new Map());
    const second = compileRoutes([fine, bad], first.regexes);
    expect(second.regexes.get('^a')).toBe(first.regexes.get('^a'));
    expect(second.routes.map(({ invalid }) => invalid)).toEqual([false, true]);
    expect(second.problems).toMatchObject([{ code: 'regex-unsupported', severity: 'error', object: { name: 'bad' }, field: 'spec.to[1].balance.rule' }]);
  });
});

describe('planListeners', () => {
  it('opens, keeps and closes', () => {
    const wanted = wantedListeners([route('one', '10.0.0.1', [], { globalVip: '10.0.0.2', vip6: 'fd00::1' })]);
    const plan = planListeners(new Set(['10.0.0.1:8080', '10.0.0.7:8080']), wanted);
    expect(plan.close).toEqual(['10.0.0.7:8080']);
    expect(plan.keep.map(({ key }) => key)).toEqual(['10.0.0.1:8080']);
    expect(plan.open.map(({ key, arrivedOn }) => `${key} ${arrivedOn}`)).toEqual(['[fd00::1]:8080 vip', '10.0.0.2:8080 global']);
  });
});
