import { quote } from './quote.ts';
import { HOST, UNKNOWN } from './render-maps.ts';

/*
 * `--client-ip preserve`: HAProxy connects to servers from the caller pod's address (docs/decisions/0012).
 */

/** Path on the health socket under which HAProxy tries whether it may use foreign addresses. */
export const TRIAL_PATH = '/client-ip';
const TRIAL_BACKEND = 'client-ip-trial';
/** How long the trial's connect waits for an answer that cannot come. */
const TRIAL_MS = 300;
/** Documentation's own (RFC 5737): nobody has it. */
const FOREIGN = '192.0.2.1';
/** Socket of a HAProxy that is started to try it, in the run dir. */
export const TRIAL_SOCKET = 'client-ip.sock';
/** Written into the run dir by `onehop-haproxy`: its effective capabilities, as /proc/self/status has them. */
export const CAPABILITIES_FILE = 'haproxy.capabilities';

const NET_ADMIN = 12n;
const NET_RAW = 13n;

/** Whether a process with these effective capabilities may set IP_TRANSPARENT (ip(7)); undefined: this is no such text. */
export function mayUseForeignAddresses(text: string): boolean | undefined {
  const found = /^(?:CapEff:\s*)?([\da-f]{1,16})\s*$/m.exec(text)?.[1];
  return found === undefined ? undefined : (BigInt(`0x${found}`) & ((1n << NET_ADMIN) | (1n << NET_RAW))) !== 0n;
}

/**
 * The source of a backend's connections: the caller's address for pods of this node, for all others the node's own, because nobody would
 * bring an answer for theirs here: host processes (often with the VIP itself as source), unknown callers with a token, callers of the other
 * address family. The port is no part of it: idle connections are kept by source address and port, and would never be found again.
 * @param family of the backend's servers
 */
export function renderSource(http: boolean, family: 4 | 6): readonly string[] {
  const rule = http ? 'http-request' : 'tcp-request content';
  const [any, own, sameFamily] = family === 4 ? ['0.0.0.0', 'ipv4(0.0.0.0)', '{ src 0.0.0.0/0 }'] : ['ipv6@[::]', 'ipv6(::)', '!{ src 0.0.0.0/0 }'];
  return [
    `  source ${any} usesrc clientip`,
    `  ${rule} set-src ${own} unless { var(sess.caller) -m found } !{ var(sess.caller) -m str ${HOST} ${UNKNOWN} } ${sameFamily}`,
    ...(http ? [`  ${rule} set-src-port int(0)`] : []),
  ];
}

/**
 * The health socket's answer, and beside it the trial: a connection of the node with itself from a foreign address. Where HAProxy may do that, nothing
 * answers (the node sends no packet with a loopback address out), and the connect runs into its time limit. Where it may not, the connect
 * fails at once. Binding alone says nothing: without the right HAProxy takes IP_FREEBIND, which needs none and serves nobody.
 */
export const renderTrial = (healthBind: string, answer: string): readonly string[] => [
  healthBind,
  `${answer} unless { path ${TRIAL_PATH} }`,
  '  http-request set-var(txn.began) date(0,ms)',
  `  default_backend ${TRIAL_BACKEND}`,
  '',
  `backend ${TRIAL_BACKEND} from http`,
  `  source 0.0.0.0 usesrc ${FOREIGN}`,
  `  timeout connect ${TRIAL_MS}ms`,
  '  retries 0',
  '  http-error status 503 content-type text/plain lf-string "tried for %[date(0,ms),sub(txn.began)] ms\\n"',
  '  server trial 127.0.0.1:9',
];

/** What the trial's answer says; undefined: it is none. */
export function parseTrial(body: string): boolean | undefined {
  const tookMs = /^tried for (\d+) ms$/.exec(body.trim())?.[1];
  return tookMs === undefined ? undefined : Number(tookMs) >= TRIAL_MS;
}

/** A whole configuration that can do nothing but the trial. */
export const renderTrialConfig = (socket: string): string =>
  [
    'global',
    '  maxconn 100',
    'defaults http',
    '  mode http',
    '  timeout connect 1s',
    '  timeout client 5s',
    '  timeout server 5s',
    'frontend trial from http',
    ...renderTrial(`  bind ${quote(`unix@${socket}`)} mode 600`, '  http-request return status 200'),
    '',
  ].join('\n');
