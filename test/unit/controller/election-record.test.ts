import { describe, expect, it } from 'vitest';
import { LEASE_DURATION_MS, mayTake, noteRecord, parseElectionRecord, RENEW_DEADLINE_MS, renderElectionRecord } from '../../../src/controller/election-record.ts';

const place = { namespace: 'onehop-system', name: 'onehop-controller' };
const record = (holder: string, over = {}) => ({ resourceVersion: '1', holder, durationMs: 15_000, acquireTime: '', renewTime: '', transitions: 3, ...over });
const seen = (holder: string, over = {}) => noteRecord(undefined, record(holder, over), 1_000);

describe('the Lease may be taken', () => {
  it.each([
    ['when nobody holds it', '', 1_000, true],
    ['by its holder', 'me', 1_000, true],
    ['not while it may be valid', 'other', 1_000 + LEASE_DURATION_MS - 1, false],
    ['when it was not renewed for its whole duration', 'other', 1_000 + LEASE_DURATION_MS, true],
  ])('%s', (_, holder, nowMs, expected) => {
    expect(mayTake(seen(holder), 'me', nowMs)).toBe(expected);
  });

  it('later, where it says that it lasts longer, and never sooner than we grant ourselves', () => {
    expect(mayTake(seen('other', { durationMs: 60_000 }), 'me', 1_000 + LEASE_DURATION_MS)).toBe(false);
    expect(mayTake(seen('other', { durationMs: 1_000 }), 'me', 1_000 + RENEW_DEADLINE_MS)).toBe(false);
  });

  it('whatever times stand in it: only that it changed counts, from when that was seen', () => {
    const first = seen('other', { renewTime: '1999-01-01T00:00:00Z' });
    expect(mayTake(first, 'me', 2_000)).toBe(false);
    const renewed = noteRecord(first, record('other', { resourceVersion: '2', renewTime: '1998-01-01T00:00:00Z' }), 14_000);
    expect(mayTake(renewed, 'me', 1_000 + LEASE_DURATION_MS)).toBe(false);
    expect(noteRecord(renewed, record('other', { resourceVersion: '2' }), 20_000)).toBe(renewed);
  });
});

describe('a written Lease', () => {
  it('counts a change of hands, keeps the time of the first taking, and is bound to what was read', () => {
    const taken = renderElectionRecord(place, record('other'), 'me', 0);
    expect(taken).toMatchObject({ metadata: { resourceVersion: '1' }, spec: { holderIdentity: 'me', leaseDurationSeconds: 15, leaseTransitions: 4, acquireTime: '1970-01-01T00:00:00.000000Z' } });
    const kept = renderElectionRecord(place, record('me', { acquireTime: 'then' }), 'me', 0);
    expect(kept).toMatchObject({ spec: { leaseTransitions: 3, acquireTime: 'then', renewTime: '1970-01-01T00:00:00.000000Z' } });
  });

  it('without a holder gives it back', () => {
    const given = renderElectionRecord(place, record('me'), '', 0);
    expect(given).toMatchObject({ spec: { leaseTransitions: 3 } });
    expect(parseElectionRecord(given)).toMatchObject({ holder: '' });
  });

  it('reads as it was written; nonsense is nobody\'s', () => {
    expect(parseElectionRecord(renderElectionRecord(place, undefined, 'me', 0))).toMatchObject({ holder: 'me', durationMs: 15_000, transitions: 0 });
    expect(parseElectionRecord({ spec: { holderIdentity: 7, leaseDurationSeconds: -1, leaseTransitions: 'x' } })).toMatchObject({ holder: '', durationMs: LEASE_DURATION_MS, transitions: 0 });
  });
});
