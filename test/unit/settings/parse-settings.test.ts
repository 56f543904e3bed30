import { describe, expect, test } from 'vitest';
import { FLAGS, variableOf } from '../../../src/settings/flags.ts';
import { parseSettings } from '../../../src/settings/parse-settings.ts';
import type { Settings } from '../../../src/settings/settings.ts';

const facts = { hostname: 'Worker-7', workingDirectory: '/srv', terminal: false };
const SOURCE = ['--source', 'dir:/etc/objects'];

function settingsOf(argv: readonly string[], env: Record<string, string> = {}): Settings {
  const parsed = parseSettings([...SOURCE, ...argv], env, facts);
  if (!('settings' in parsed)) throw new Error(JSON.stringify(parsed));
  return parsed.settings;
}

function errorsOf(argv: readonly string[], env: Record<string, string> = {}): readonly string[] {
  const parsed = parseSettings(argv, env, facts);
  return 'errors' in parsed ? parsed.errors : [];
}

/** One valid value per flag that differs from its default, and what it becomes. */
const SAMPLES: { readonly [Key in keyof Settings]: readonly [text: string, value: Settings[Key]] } = {
  source: ['dir:objects/x', { kind: 'dir', path: '/srv/objects/x' }],
  kubeconfig: ['admin.conf', '/srv/admin.conf'],
  systemNamespace: ['routing', 'routing'],
  nodeName: ['node-1.example', 'node-1.example'],
  zone: ['Svc.Example.', 'svc.example'],
  globalNamespace: ['public', 'public'],
  trustedCallers: ['ingress,mon/prometheus', [{ namespace: 'ingress' }, { namespace: 'mon', serviceAccount: 'prometheus' }]],
  vipPool: ['127.77.0.0/16', expect.objectContaining({ cidr: '127.77.0.0/16', loopback: true }) as Settings['vipPool']],
  poolRoute: ['true', false],
  httpPort: ['8080', 8080],
  dnsListen: ['127.77.0.10:5353,[::1]:53', [{ address: '127.77.0.10', port: 5353 }, { address: '::1', port: 53 }]],
  adminListen: ['[::]:9000', { address: '::', port: 9000 }],
  proxy: ['haproxy', 'haproxy'],
  haproxyBin: ['./bin/haproxy', '/srv/bin/haproxy'],
  haproxyAttach: ['true', true],
  runDir: ['run', '/srv/run'],
  stateDir: ['/tmp/state dir', '/tmp/state dir'],
  clientIp: ['preserve', 'preserve'],
  drainTimeoutSeconds: ['60', 60],
  graceSeconds: ['60', 60],
  tokenHeader: ['X-Caller', 'X-Caller'],
  tokenJwks: ['keys/jwks.json', '/srv/keys/jwks.json'],
  tokenIssuer: ['https://issuer.example', 'https://issuer.example'],
  tokenAudience: ['onehop', 'onehop'],
  logLevel: ['debug', 'debug'],
  logFormat: ['pretty', 'pretty'],
};

describe('defaults', () => {
  test('are those of the design', () => {
    expect(settingsOf([])).toEqual({
      source: { kind: 'dir', path: '/etc/objects' },
      kubeconfig: '',
      systemNamespace: '',
      nodeName: 'worker-7',
      zone: 'route.internal',
      globalNamespace: 'global',
      trustedCallers: [],
      vipPool: expect.objectContaining({ cidr: '169.254.192.0/19' }),
      poolRoute: true,
      httpPort: 80,
      dnsListen: [{ address: '169.254.192.10', port: 53 }],
      adminListen: { address: '0.0.0.0', port: 9810 },
      proxy: 'auto',
      haproxyBin: 'haproxy',
      haproxyAttach: false,
      runDir: '/run/onehop',
      stateDir: '/var/lib/onehop',
      clientIp: 'forwarded',
      drainTimeoutSeconds: 3600,
      graceSeconds: 15,
      tokenHeader: 'X-Onehop-Token',
      tokenJwks: '',
      tokenIssuer: '',
      tokenAudience: '',
      logLevel: 'info',
      logFormat: 'json',
    });
  });

  test('follow the facts: NODE_NAME, the pool, a terminal', () => {
    expect(settingsOf([], { NODE_NAME: 'n1' }).nodeName).toBe('n1');
    expect(settingsOf(['--vip-pool=127.77.0.0/16']).dnsListen).toEqual([{ address: '127.77.0.10', port: 53 }]);
    const parsed = parseSettings(SOURCE, {}, { ...facts, terminal: true });
    expect(parsed).toMatchObject({ settings: { logFormat: 'pretty' } });
  });

  test('the settings are frozen', () => {
    expect(Object.isFrozen(settingsOf([]))).toBe(true);
  });
});

const KEYS = Object.keys(FLAGS) as (keyof Settings)[];

test.each(KEYS)('%s is read from --flag value, --flag=value and the environment', (key) => {
  const [text, expected] = SAMPLES[key];
  const { name, value } = FLAGS[key];
  // On a folder some of those of tokens need others.
  const rest = key === 'source' || key.startsWith('token') ? [] : SOURCE;
  for (const parsed of [
    parseSettings([...rest, ...(value === undefined ? [`--${name}`] : [`--${name}`, text])], {}, facts),
    parseSettings([...rest, `--${name}=${text}`], {}, facts),
    parseSettings(rest, { [variableOf(name)]: text }, facts),
  ]) {
    expect(parsed).toMatchObject({ settings: { [key]: expected } });
  }
});

describe('tokens', () => {
  const TRUSTED = ['--token-issuer', 'https://issuer.example', '--token-audience', 'onehop'];

  test('keys by URL or path', () => {
    expect(settingsOf(['--token-jwks', 'https://issuer.example/keys', ...TRUSTED]).tokenJwks).toBe('https://issuer.example/keys');
    expect(settingsOf(['--token-jwks', './k', ...TRUSTED]).tokenJwks).toBe('/srv/k');
  });

  test.each([
    [['--token-header', 'Host'], '--token-header: \'Host\' has a meaning of its own in HTTP; choose a name that nothing else uses, such as X-Onehop-Token'],
    [['--token-header', 'x-forwarded-FOR'], 'a meaning of its own'],
    [['--token-header', 'X-Onehop-Reason'], 'a meaning of its own'],
    [['--token-header', 'transfer-encoding'], 'a meaning of its own'],
    [['--token-header', 'X Y'], "not a header's name"],
    [['--token-header', 'X:'], "not a header's name"],
    [['--token-header', ''], "not a header's name"],
    [['--token-header', 'X-\r\nHost'], "not a header's name"],
    [['--token-jwks', 'ftp://x/keys', ...TRUSTED], 'no http(s) URL'],
    [['--token-jwks', 'https://user:hunter2@x/keys', ...TRUSTED], '--token-jwks: a URL of keys has no user, password or fragment'],
    [['--token-jwks', 'https://', ...TRUSTED], 'no http(s) URL'],
    [['--token-jwks', 'k', '--token-issuer', 'a b', '--token-audience', 'x'], 'ASCII without blanks'],
    [['--token-jwks', 'k', '--token-audience', 'x'], '--token-jwks needs --token-issuer where the source is a folder; add the one that tokens must have'],
    [['--token-jwks', 'k', '--token-issuer', 'x'], '--token-jwks needs --token-audience'],
    [['--token-issuer', 'x'], '--token-issuer says nothing without keys'],
  ])('%j is refused', (argv, says) => {
    expect(errorsOf([...SOURCE, ...argv])).toEqual([expect.stringContaining(says)]);
  });

  test('in a cluster each stands alone: the others are the cluster\'s', () => {
    for (const argv of [['--token-jwks', 'k'], ['--token-issuer', 'x'], ['--token-audience', 'x']]) expect(errorsOf(['--source', 'kubernetes', ...argv])).toEqual([]);
  });
});

describe('precedence', () => {
  test('a flag stands above its variable, the variable above the default', () => {
    expect(settingsOf(['--zone', 'flag.test'], { ONEHOP_ZONE: 'env.test' }).zone).toBe('flag.test');
    expect(settingsOf([], { ONEHOP_ZONE: 'env.test' }).zone).toBe('env.test');
    expect(settingsOf([], { ONEHOP_ZONE: '' }).zone).toBe('route.internal');
  });

  test('an error names the variable that it comes from', () => {
    expect(errorsOf(SOURCE, { ONEHOP_HTTP_PORT: 'tcp://10.1.2.3:80' })).toEqual(["ONEHOP_HTTP_PORT: 'tcp://10.1.2.3:80' is not a port from 1 to 65535"]);
  });
});

describe('errors', () => {
  test('are all reported together', () => {
    expect(errorsOf(['--source', 'dir:x', '--http-port', '0', '--vip-pool', '10.0.0.0/24', '--zome', 'a.b', 'stray', '--zone=-'])).toEqual([
      '--zome is not a flag; did you mean --zone?',
      "'stray' is not a flag; flags begin with --",
      "--zone: '-' is not a DNS name of at most 125 characters, for example route.internal",
      "--vip-pool: '10.0.0.0/24' is a /24; a pool is /8 to /22 (its first /24 is infrastructure)",
      "--http-port: '0' is not a port from 1 to 65535",
    ]);
  });

  test.each([
    [['--system-namespace', 'Onehop'], "'Onehop' is not a namespace's name"],
    [[...SOURCE, '--client-ip', 'preserve', '--vip-pool', '127.77.0.0/16'], '--client-ip preserve cannot work on the pool 127.77.0.0/16'],
    [[...SOURCE, '--client-ip', 'preserve', '--proxy', 'embedded'], '--client-ip preserve needs HAProxy'],
    [[...SOURCE, '--client-ip', 'original'], "'original' is not one of forwarded, preserve"],
    [[...SOURCE, '--vip-pool', '127.77.0.0/16,fd00::/64'], 'an IPv6 pool needs an IPv4 pool outside 127/8'],
    [[...SOURCE, '--zone'], '--zone needs a value: --zone NAME'],
    [[...SOURCE, '--zone', '--no-pool-route'], '--zone needs a value: --zone NAME'],
    [[...SOURCE, '--zone', 'in-addr.arpa'], "'in-addr.arpa' lies in arpa"],
    [[...SOURCE, '--zone', `${'z'.repeat(63)}.${'z'.repeat(62)}`], 'is not a DNS name of at most 125 characters'],
    [[...SOURCE, '--zone', '-a'], "'-a' is not a DNS name"],
    [[...SOURCE, '--zone=a.b', '--zone=a.c'], '--zone is given twice'],
    [[...SOURCE, '--no-pool-route=maybe'], "--no-pool-route: 'maybe' is neither true nor false"],
    [[...SOURCE, '--dns-listen', '::1:53'], "--dns-listen: '::1:53' is not ADDRESS:PORT"],
    [[...SOURCE, '--dns-listen', '[::1]:99999'], "'99999' is not a port from 1 to 65535"],
    [[...SOURCE, '--dns-listen', '127.0.0.1:53,127.0.0.1:53'], '127.0.0.1 port 53 is given twice'],
    [[...SOURCE, '--dns-listen', '[fe80::1%eth0]:53'], 'is not ADDRESS:PORT'],
    [[...SOURCE, '--dns-listen', '127.0.0.1:9810'], '--dns-listen and --admin-listen share port 9810'],
    [[...SOURCE, '--dns-listen', '0.0.0.0:9810', '--admin-listen', '127.0.0.1:9810'], '--dns-listen and --admin-listen share port 9810'],
    [[...SOURCE, '--http-port', '8080', '--admin-listen', '0.0.0.0:8080'], '--admin-listen takes port 8080 of all addresses'],
    [[...SOURCE, '--http-port', '8080', '--dns-listen', '[::]:8080'], '--dns-listen takes port 8080 of all addresses'],
    [[...SOURCE, '--http-port', '9053'], '--http-port 9053 is reserved (DNS, admin, kubelet or node ports)'],
    [[...SOURCE, '--trusted-callers', 'a/b/c'], "'a/b/c' is not NAMESPACE or NAMESPACE/SERVICEACCOUNT"],
    [[...SOURCE, '--trusted-callers', 'a,,b'], "'' is not NAMESPACE"],
    [[...SOURCE, '--node-name', 'Node_1'], "'Node_1' is not a node's name"],
    [[...SOURCE, '--run-dir', '/run/a b'], "has characters other than letters"],
    [[...SOURCE, '--run-dir', `/${'r'.repeat(90)}`], 'longer than 80 characters'],
    [[...SOURCE, '--proxy', 'envoy'], "'envoy' is not one of haproxy, embedded, auto"],
    [[...SOURCE, '--haproxy-attach', '--proxy', 'embedded'], '--haproxy-attach and --proxy embedded exclude each other'],
    [[...SOURCE, '--drain-timeout', '1.5'], "'1.5' is not seconds from 1 to 604800"],
    [[...SOURCE, '--grace-seconds', '4'], "'4' is not seconds from 5 to 604800"],
    [['--source', 'dir:'], "'dir:' is neither kubernetes nor dir:PATH"],
    [[...SOURCE, '-x'], '-x is not a flag'],
  ])('%j', (argv, expected) => {
    const errors = errorsOf(argv);
    expect(errors).toEqual([expect.stringContaining(expected)]);
  });

  test('a wrong pool does not also blame --dns-listen', () => {
    expect(errorsOf([...SOURCE, '--vip-pool', 'x'])).toHaveLength(1);
  });

  test('are printable and bounded, whatever was typed', () => {
    const [line] = errorsOf([...SOURCE, `--zone=\u001b[2J\n${'x'.repeat(5000)}`]);
    expect(line).toMatch(/^[\x20-\x7e]{1,300}$/);
  });

  test('--help wins over errors', () => {
    expect(parseSettings(['--zome', '-h'], {}, facts)).toHaveProperty('help');
  });
});
