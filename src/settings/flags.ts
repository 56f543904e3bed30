import { listenerKey } from '../model/proxy.ts';
import { parseVipPool } from '../model/vip-pool.ts';
import * as parse from './parsers.ts';
import { parseTokenHeader, parseTokenJwks, parseTokenName } from './parse-token-flags.ts';
import { LOG_LEVELS } from './settings.ts';
import type { Facts, Settings } from './settings.ts';

/** What a default may depend on: the process, its environment, and the settings above it in the table. */
export interface DefaultsFrom {
  readonly facts: Facts;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly above: Partial<Settings>;
}

/** One row of the table. */
export interface Flag<Value> {
  /** Without the dashes. */
  readonly name: string;
  /** Placeholder of the value; absent: a switch, whose bare form means `true`. */
  readonly value?: string;
  /** The default as text, parsed like any other; undefined: unknown because a setting above is wrong. */
  readonly default: string | ((from: DefaultsFrom) => string | undefined);
  /** How people read a default that is computed or empty. */
  readonly shownDefault?: string;
  readonly help: string;
  /** @throws Error that completes the line `--name: `. */
  readonly parse: (text: string, facts: Facts) => Value;
}

/** Every flag of the agent, in the order of the help text. A row may use the settings of the rows above it for its default. */
export const FLAGS: { readonly [Key in keyof Settings]: Flag<Settings[Key]> } = {
  source: {
    name: 'source',
    value: 'kubernetes|dir:PATH',
    default: 'kubernetes',
    help: 'where objects come from: the API server, or a watched folder of Kubernetes YAML',
    parse: (text, facts) => parse.parseSource(text, facts.workingDirectory),
  },
  kubeconfig: {
    name: 'kubeconfig',
    value: 'PATH',
    default: '',
    shownDefault: 'KUBECONFIG, else the credentials of the pod',
    help: 'how the API server is reached',
    parse: (text, facts) => (text === '' ? '' : parse.parsePath(text, facts.workingDirectory)),
  },
  systemNamespace: {
    name: 'system-namespace',
    value: 'NAME',
    default: '',
    shownDefault: "the pod's own, else onehop-system",
    help: "namespace of this node's report",
    parse: (text) => (text === '' ? '' : parse.parseNamespace(text)),
  },
  nodeName: {
    name: 'node-name',
    value: 'NAME',
    default: ({ env, facts }) => env['NODE_NAME'] || facts.hostname.toLowerCase(),
    shownDefault: 'NODE_NAME, else the hostname',
    help: 'this node, as spec.nodeName of pods and nodeName of endpoints spell it',
    parse: parse.parseNodeName,
  },
  zone: { name: 'zone', value: 'NAME', default: 'route.internal', help: 'DNS zone of the route names', parse: parse.parseZone },
  globalNamespace: {
    name: 'global-namespace',
    value: 'NAME',
    default: 'global',
    help: 'namespace under which public routes are published to all',
    parse: parse.parseNamespace,
  },
  trustedCallers: {
    name: 'trusted-callers',
    value: 'NS[/SA],...',
    default: '',
    shownDefault: 'none',
    help: 'callers that may call private routes of any namespace, such as an ingress controller',
    parse: parse.parseTrustedCallers,
  },
  vipPool: {
    name: 'vip-pool',
    value: 'CIDR[,CIDR6]',
    default: '169.254.192.0/19',
    help: 'addresses for routes, the same on every node; made local and claimed by the agent unless they lie in 127/8',
    parse: parseVipPool,
  },
  poolRoute: {
    name: 'no-pool-route',
    default: 'false',
    shownDefault: 'off',
    help: 'leave the pool route and the nftables claim table to others',
    parse: (text) => !parse.parseSwitch(text),
  },
  httpPort: { name: 'http-port', value: 'PORT', default: '80', help: 'default port of http routes on their address', parse: parse.parsePort },
  dnsListen: {
    name: 'dns-listen',
    value: 'ADDR:PORT[,...]',
    default: ({ above }) => above.vipPool && listenerKey(above.vipPool.dnsAddress, 53),
    shownDefault: "the pool's .10, port 53",
    help: 'where DNS is answered, over UDP and TCP; IPv6 in brackets',
    parse: parse.parseListenList,
  },
  adminListen: {
    name: 'admin-listen',
    value: 'ADDR:PORT',
    default: '0.0.0.0:9810',
    help: 'read-only: /healthz, /readyz and /metrics for anyone, the rest for callers on this node',
    parse: parse.parseListen,
  },
  proxy: {
    name: 'proxy',
    value: 'haproxy|embedded|auto',
    default: 'auto',
    help: 'what carries the traffic; auto: HAProxy when it is found at the start, and the embedded proxy while HAProxy is gone',
    parse: parse.parseChoice('haproxy', 'embedded', 'auto'),
  },
  haproxyBin: {
    name: 'haproxy-bin',
    value: 'PATH',
    default: 'haproxy',
    shownDefault: 'haproxy from PATH',
    help: 'the HAProxy program',
    parse: (text, facts) => parse.parseProgram(text, facts.workingDirectory),
  },
  haproxyAttach: {
    name: 'haproxy-attach',
    default: 'false',
    shownDefault: 'off',
    help: 'never start HAProxy: use the one behind the master socket in the run folder',
    parse: parse.parseSwitch,
  },
  runDir: {
    name: 'run-dir',
    value: 'DIR',
    default: '/run/onehop',
    help: 'haproxy.cfg, maps and sockets (haproxy.sock, master.sock, admin.sock)',
    parse: (text, facts) => parse.parseRunDir(text, facts.workingDirectory),
  },
  stateDir: {
    name: 'state-dir',
    value: 'DIR',
    default: '/var/lib/onehop',
    help: 'what must outlive a restart: the addresses given to routes, and what was in effect last',
    parse: (text, facts) => parse.parsePath(text, facts.workingDirectory),
  },
  clientIp: {
    name: 'client-ip',
    value: 'forwarded|preserve',
    default: 'forwarded',
    help: "how servers learn the caller's address: X-Forwarded-For, or with preserve also as the connection's source (HAProxy; routed pod networks only)",
    parse: parse.parseChoice('forwarded', 'preserve'),
  },
  drainTimeoutSeconds: {
    name: 'drain-timeout',
    value: 'SECONDS',
    default: '3600',
    help: 'how long connections of an old HAProxy worker may last after a reload',
    parse: parse.parseInteger(1, 7 * 86_400, 'seconds'),
  },
  graceSeconds: {
    name: 'grace-seconds',
    value: 'SECONDS',
    default: '15',
    help: "how long a stop may take; calls in flight get 5 s less. In a pod: its terminationGracePeriodSeconds",
    parse: parse.parseInteger(5, 7 * 86_400, 'seconds'),
  },
  tokenHeader: { name: 'token-header', value: 'NAME', default: 'X-Onehop-Token', help: "header with the caller's token; never forwarded", parse: parseTokenHeader },
  tokenJwks: {
    name: 'token-jwks',
    value: 'URL|PATH',
    default: '',
    shownDefault: "the cluster's; none on a folder",
    help: "keys that sign callers' JWTs, as a JWKS; read again and again",
    parse: (text, facts) => (text === '' ? '' : parseTokenJwks(text, facts.workingDirectory)),
  },
  tokenIssuer: {
    name: 'token-issuer',
    value: 'NAME',
    default: '',
    shownDefault: "the cluster's; none on a folder",
    help: 'the iss that a JWT must have',
    parse: (text) => (text === '' ? '' : parseTokenName(text)),
  },
  tokenAudience: {
    name: 'token-audience',
    value: 'NAME',
    default: '',
    shownDefault: "the cluster's; none on a folder",
    help: 'the aud that a JWT must have',
    parse: (text) => (text === '' ? '' : parseTokenName(text)),
  },
  logLevel: {
    name: 'log-level',
    value: LOG_LEVELS.join('|'),
    default: 'info',
    help: 'the least level that is logged',
    parse: parse.parseChoice(...LOG_LEVELS),
  },
  logFormat: {
    name: 'log-format',
    value: 'json|pretty',
    default: ({ facts }) => (facts.terminal ? 'pretty' : 'json'),
    shownDefault: 'pretty on a terminal, else json',
    help: 'form of the log lines on standard error',
    parse: parse.parseChoice('json', 'pretty'),
  },
};

/** The environment variable of a flag: `vip-pool` -> `ONEHOP_VIP_POOL`. */
export const variableOf = (flagName: string): string => `ONEHOP_${flagName.replaceAll('-', '_').toUpperCase()}`;
