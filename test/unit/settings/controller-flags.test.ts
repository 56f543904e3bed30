import { expect, test } from 'vitest';
import { CONTROLLER_FLAGS, parseControllerSettings } from '../../../src/settings/controller-flags.ts';

const facts = { hostname: 'Pod-1', workingDirectory: '/home/ops', terminal: false };
const parse = (argv: readonly string[], env = {}) => parseControllerSettings(argv, env, facts);

test('the defaults', () => {
  expect(parse([])).toMatchObject({
    settings: { kubeconfig: '', systemNamespace: '', zone: 'route.internal', globalNamespace: 'global', httpPort: 80, startupTaint: '', identity: 'pod-1', adminListen: { address: '0.0.0.0', port: 9810 }, logFormat: 'json' },
  });
});

test('flags stand above variables', () => {
  const parsed = parse(['--kubeconfig', 'kc', '--startup-taint=onehop.paas.io/not-ready', '--identity', 'a'], { ONEHOP_IDENTITY: 'b', ONEHOP_ZONE: 'z.test' });
  expect(parsed).toMatchObject({ settings: { kubeconfig: '/home/ops/kc', startupTaint: 'onehop.paas.io/not-ready', identity: 'a', zone: 'z.test' } });
});

test.each([
  [['--startup-taint', 'a/b/c'], "--startup-taint: 'a/b/c' is not the key of a taint, for example onehop.paas.io/not-ready"],
  [['--identity', 'a b'], "--identity: 'a b' is not a name of letters, digits, '-', '_' and '.', at most 128 characters"],
  [['--http-port', '10250'], '--http-port 10250 is reserved (DNS, admin, kubelet or node ports): every route without spec.port.listen would be invalid'],
  [['--vip-pools', '10.0.0.0/16'], '--vip-pools is not a flag; did you mean --vip-pool?'],
])('wrong usage %j is said', (argv, error) => {
  expect(parse(argv)).toEqual({ errors: [error] });
});

test('--help names every flag', () => {
  const parsed = parse(['--help']);
  const help = 'help' in parsed ? parsed.help : '';
  expect(help).toMatch(/^Usage: onehop controller \[flags\]/);
  for (const { name } of Object.values(CONTROLLER_FLAGS)) expect(help).toContain(`--${name} `);
});
