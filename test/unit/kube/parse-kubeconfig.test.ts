import { describe, expect, test } from 'vitest';
import { CodedError } from '../../../src/model/coded-error.ts';
import { parseKubeconfig } from '../../../src/kube/parse-kubeconfig.ts';

const PEM = Buffer.from('-----BEGIN CERTIFICATE-----\n').toString('base64');
const config = (cluster: object = {}, user: object = { token: 't' }) => ({
  'current-context': 'x',
  contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'ns' } }],
  clusters: [{ name: 'c', cluster: { server: 'https://h:6443', ...cluster } }],
  users: [{ name: 'u', user }],
});
const parse = (content: unknown) => parseKubeconfig([{ path: '/etc/k/conf', content }]);

describe('what is read', () => {
  test.each<[string, object, object, object]>([
    ['a token', {}, { token: 'abc' }, { token: 'abc' }],
    ['files beside the kubeconfig', { 'certificate-authority': 'ca.crt' }, { 'client-certificate': 'c.crt', 'client-key': '../c.key', tokenFile: 'token' }, { ca: { file: '/etc/k/ca.crt' }, certificate: { file: '/etc/k/c.crt' }, key: { file: '/etc/c.key' }, tokenFile: '/etc/k/token' }],
    ['data before files', { 'certificate-authority': '/ca', 'certificate-authority-data': PEM }, {}, { ca: { text: '-----BEGIN CERTIFICATE-----\n' } }],
    ['another name on the certificate', { 'tls-server-name': 'api' }, {}, { serverName: 'api' }],
    ['no checks', { 'insecure-skip-tls-verify': true }, {}, { insecure: true }],
    [
      'a plugin',
      {},
      { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: './get', args: ['a', 1], env: [{ name: 'A', value: 'b' }], interactiveMode: 'IfAvailable', installHint: 'hint' } },
      { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: '/etc/k/get', args: ['a', '1'], env: { A: 'b' }, installHint: 'hint', provideClusterInfo: false } },
    ],
  ])('%s', (_, cluster, user, expected) => {
    expect(parse(config(cluster, user))).toMatchObject({ context: 'x', namespace: 'ns', ...expected });
  });

  test('of several files the first that names something counts', () => {
    const first = { 'current-context': 'x', users: [{ name: 'u', user: { token: 'first' } }] };
    const found = parseKubeconfig([{ path: '/a/one', content: first }, { path: '/b/two', content: config({ 'certificate-authority': 'ca' }) }]);
    expect(found).toMatchObject({ token: 'first', ca: { file: '/b/ca' }, server: new URL('https://h:6443') });
  });
});

describe('what is refused, with the remedy', () => {
  test.each<[string, unknown]>([
    ['it has no current-context', {}],
    ['it has no current-context', null],
    ["there is no context 'x'", { 'current-context': 'x' }],
    ["there is no user 'u'", { ...config(), users: [] }],
    ["server 'h:6443' is not a URL", config({ server: 'h:6443' })],
    ['proxy-url is not supported', config({ 'proxy-url': 'http://p' })],
    ['auth-provider was removed', config({}, { 'auth-provider': {} })],
    ['user name and password were removed', config({}, { username: 'u' })],
    ['impersonation is not supported', config({}, { as: 'root' })],
    ['certificate-authority-data is not base64 of PEM', config({ 'certificate-authority-data': '####' })],
    ["exec.apiVersion 'client.authentication.k8s.io/v1alpha1' is not known", config({}, { exec: { apiVersion: 'client.authentication.k8s.io/v1alpha1', command: 'x' } })],
    ['exec.interactiveMode Always needs a terminal', config({}, { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: 'x', interactiveMode: 'Always' } })],
  ])('%s', (message, content) => {
    expect(() => parse(content)).toThrow(expect.objectContaining({ code: 'kubeconfig', exitCode: 3, message: expect.stringContaining(message) }));
    expect(() => parse(content)).toThrow(CodedError);
  });
});
