import { isSubdomain } from '../model/names.ts';
import type { VipPool } from '../model/vip-pool.ts';
import { FLAGS, type Flag } from './flags.ts';
import { printable } from '../model/problem.ts';
import { isReservedPort } from '../model/reserved-ports.ts';
import { parseTable } from './parse-table.ts';
import { renderHelp } from './render-help.ts';
import type { Facts, ListenAddress, Settings } from './settings.ts';

/** Everything a controller is told by its command line and environment. */
export interface ControllerSettings {
  /** Empty: the variable KUBECONFIG, else the credentials of the pod. */
  readonly kubeconfig: string;
  /** Empty: the pod's own namespace, else onehop-system. */
  readonly systemNamespace: string;
  readonly zone: string;
  readonly globalNamespace: string;
  readonly vipPool: VipPool;
  readonly httpPort: number;
  readonly adminListen: ListenAddress;
  /** Empty: no taint is touched. */
  readonly startupTaint: string;
  readonly identity: string;
  readonly logLevel: Settings['logLevel'];
  readonly logFormat: Settings['logFormat'];
}

/** Every flag of `onehop controller`. What agents have too must be the same on both. */
export const CONTROLLER_FLAGS: { readonly [Key in keyof ControllerSettings]: Flag<ControllerSettings[Key]> } = {
  kubeconfig: FLAGS.kubeconfig,
  systemNamespace: { ...FLAGS.systemNamespace, help: 'namespace of the election, the ledger of addresses and the reports of nodes' },
  zone: FLAGS.zone,
  globalNamespace: FLAGS.globalNamespace,
  vipPool: { ...FLAGS.vipPool, help: 'addresses for routes, the same as on the agents' },
  httpPort: FLAGS.httpPort,
  adminListen: { ...FLAGS.adminListen, help: '/healthz, /readyz and /metrics' },
  startupTaint: {
    name: 'startup-taint',
    value: 'KEY',
    default: '',
    shownDefault: 'none',
    help: 'taint that is taken from a node once its agent reports, such as onehop.paas.io/not-ready',
    parse: parseTaintKey,
  },
  identity: {
    name: 'identity',
    value: 'NAME',
    default: ({ facts }) => facts.hostname.toLowerCase(),
    shownDefault: 'the hostname',
    help: 'name of this process in the election; a part that no other process has is added',
    parse: parseIdentity,
  },
  logLevel: FLAGS.logLevel,
  logFormat: FLAGS.logFormat,
};

/** Reads the controller's arguments (after the subcommand) and environment; all errors are reported together. */
export function parseControllerSettings(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  facts: Facts,
): { readonly settings: ControllerSettings } | { readonly errors: readonly string[] } | { readonly help: string } {
  const parsed = parseTable(CONTROLLER_FLAGS, argv, env, facts);
  if ('help' in parsed) return { help: renderHelp('controller', CONTROLLER_FLAGS) };
  const errors = parsed.errors.map((line) => printable(line));
  const settings = parsed.found as ControllerSettings;
  if (errors.length === 0 && isReservedPort(settings.httpPort)) {
    errors.push(`--http-port ${settings.httpPort} is reserved (DNS, admin, kubelet or node ports): every route without spec.port.listen would be invalid`);
  }
  return errors.length > 0 ? { errors } : { settings: Object.freeze(settings) };
}

/** A label's key, as Kubernetes has it for taints: `[prefix/]name`. */
function parseTaintKey(text: string): string {
  const [name = '', prefix, ...more] = text.split('/').toReversed();
  const valid = /^[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?$/.test(name) && (prefix === undefined || isSubdomain(prefix)) && more.length === 0;
  if (text === '' || valid) return text;
  throw new Error(`'${text}' is not the key of a taint, for example onehop.paas.io/not-ready`);
}

function parseIdentity(text: string): string {
  if (/^[\w.-]{1,128}$/.test(text)) return text;
  throw new Error(`'${text}' is not a name of letters, digits, '-', '_' and '.', at most 128 characters`);
}
