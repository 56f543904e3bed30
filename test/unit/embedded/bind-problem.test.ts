import { describe, expect, it } from 'vitest';
import { bindProblem } from '../../../src/embedded/io/bind-problem.ts';
import { route } from '../../support/embedded-world.ts';

const wanted = { key: '10.0.0.1:80', address: '10.0.0.1', port: 80, route: route('svc', '10.0.0.1', []), arrivedOn: 'vip' } as const;

describe('bindProblem', () => {
  it.each([
    ['EADDRINUSE', 'port-taken', /taken by another process/, /spec\.port\.listen/],
    ['EACCES', 'port-denied', /privileged/, /ip_unprivileged_port_start/],
    ['EADDRNOTAVAIL', 'listen-failed', /EADDRNOTAVAIL/, /pool local/],
  ])('%s is %s with address and remedy', (code, expected, message, remedy) => {
    const found = bindProblem(wanted, Object.assign(new Error('bind'), { code }));
    expect(found).toMatchObject({ code: expected, object: { kind: 'ServiceRoute', namespace: 'b', name: 'svc' }, field: 'spec.port.listen' });
    expect(found.message).toContain('10.0.0.1:80');
    expect(found.message).toMatch(message);
    expect(found.remedy).toMatch(remedy);
  });
});
