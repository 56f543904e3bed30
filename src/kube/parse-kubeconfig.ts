import { dirname, resolve } from 'node:path';
import { CodedError } from '../model/coded-error.ts';
import { printable } from '../model/problem.ts';
import { isRecord, valueAt } from './field-path.ts';

/** A certificate, key or CA: a file (absolute), or its text (PEM). */
export type Material = { readonly file: string } | { readonly text: string };

/** A program that gets credentials (client.authentication.k8s.io). */
export interface ExecPlugin {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly installHint?: string;
  readonly provideClusterInfo: boolean;
}

/** What the current context of a kubeconfig says about one cluster and one user. */
export interface KubeconfigAccess {
  readonly context: string;
  readonly namespace?: string;
  readonly server: URL;
  readonly serverName?: string;
  readonly insecure: boolean;
  readonly ca?: Material;
  readonly certificate?: Material;
  readonly key?: Material;
  readonly token?: string;
  /** Stands above `token`. */
  readonly tokenFile?: string;
  readonly exec?: ExecPlugin;
}

/** One file: `path` absolute, `content` as parsed from YAML. */
export interface KubeconfigFile {
  readonly path: string;
  readonly content: unknown;
}

const EXEC_VERSIONS = ['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1'];

/**
 * Reads kubeconfig files (kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig): of several, the first that
 * names a cluster, user, context or the current context counts; relative paths are relative to their file.
 * @throws CodedError when it cannot be used, or asks for what this program does not do
 */
export function parseKubeconfig(files: readonly KubeconfigFile[]): KubeconfigAccess {
  const where = files.map(({ path }) => path).join(', ');
  const context = files.map(({ content }) => textAt(content, 'current-context')).find((name) => name !== undefined);
  if (context === undefined) throw unusable(where, 'it has no current-context', 'choose one: kubectl config use-context NAME');
  const chosen = find(files, 'contexts', 'context', context, where);
  const cluster = find(files, 'clusters', 'cluster', textAt(chosen.value, 'cluster') ?? '', where);
  const user = find(files, 'users', 'user', textAt(chosen.value, 'user') ?? '', where);
  refuseUnsupported(cluster.value, user.value, where);

  const namespace = textAt(chosen.value, 'namespace');
  const serverName = textAt(cluster.value, 'tls-server-name');
  const exec = parseExec(user, where);
  const token = textAt(user.value, 'token');
  const tokenFile = textAt(user.value, 'tokenFile');
  return {
    context,
    ...(namespace === undefined ? {} : { namespace }),
    server: parseServer(textAt(cluster.value, 'server') ?? '', where),
    ...(serverName === undefined ? {} : { serverName }),
    insecure: valueAt(cluster.value, ['insecure-skip-tls-verify']) === true,
    ...material('ca', cluster, 'certificate-authority', where),
    ...material('certificate', user, 'client-certificate', where),
    ...material('key', user, 'client-key', where),
    ...(token === undefined ? {} : { token }),
    ...(tokenFile === undefined ? {} : { tokenFile: resolve(user.folder, tokenFile) }),
    ...(exec === undefined ? {} : { exec }),
  };
}

/** One named entry, and the folder of the file that has it. */
interface Entry {
  readonly value: unknown;
  readonly folder: string;
}

function find(files: readonly KubeconfigFile[], list: string, key: string, name: string, where: string): Entry {
  for (const { path, content } of files) {
    const entries = valueAt(content, [list]);
    const entry = (Array.isArray(entries) ? (entries as readonly unknown[]) : []).find((each) => valueAt(each, ['name']) === name);
    if (entry !== undefined) return { value: valueAt(entry, [key]), folder: dirname(path) };
  }
  throw unusable(where, `there is no ${key} '${name}' in it`, `add it, or choose another context: kubectl config get-contexts`);
}

/** Said instead of ignored: without these the connection would be another one than the administrator meant. */
function refuseUnsupported(cluster: unknown, user: unknown, where: string): void {
  if (textAt(cluster, 'proxy-url') !== undefined) {
    throw unusable(where, 'proxy-url is not supported', 'let the node reach the API server directly, or name a server that it reaches');
  }
  if (valueAt(user, ['auth-provider']) !== undefined) {
    throw unusable(where, 'auth-provider was removed from Kubernetes in 1.26', "use the provider's exec plugin");
  }
  if (textAt(user, 'username') !== undefined) {
    throw unusable(where, 'user name and password were removed from Kubernetes in 1.19', 'use a token or a client certificate');
  }
  if (['as', 'as-uid', 'as-groups', 'as-user-extra'].some((field) => valueAt(user, [field]) !== undefined)) {
    throw unusable(where, 'impersonation is not supported', 'use credentials of the account itself');
  }
}

function parseServer(text: string, where: string): URL {
  const server = URL.canParse(text) ? new URL(text) : undefined;
  if (server !== undefined && (server.protocol === 'https:' || server.protocol === 'http:')) return server;
  throw unusable(where, `server '${text}' is not a URL`, 'write https://HOST:PORT');
}

function parseExec({ value, folder }: Entry, where: string): ExecPlugin | undefined {
  const exec = valueAt(value, ['exec']);
  if (exec === undefined || exec === null) return undefined;
  const [apiVersion = '', command = ''] = [textAt(exec, 'apiVersion'), textAt(exec, 'command')];
  if (!EXEC_VERSIONS.includes(apiVersion)) throw unusable(where, `exec.apiVersion '${apiVersion}' is not known`, `use ${EXEC_VERSIONS[0] ?? ''}`);
  if (command === '') throw unusable(where, 'exec.command is missing', 'name the program');
  if (valueAt(exec, ['interactiveMode']) === 'Always') throw unusable(where, 'exec.interactiveMode Always needs a terminal', 'use credentials that need nobody to type');
  const args = valueAt(exec, ['args']);
  const env = valueAt(exec, ['env']);
  const installHint = textAt(exec, 'installHint');
  return {
    apiVersion,
    // A path with a slash is relative to the kubeconfig, a bare name is looked up in PATH.
    command: command.includes('/') ? resolve(folder, command) : command,
    args: (Array.isArray(args) ? (args as readonly unknown[]) : []).map(String),
    env: Object.fromEntries(
      (Array.isArray(env) ? (env as readonly unknown[]) : []).flatMap((each): [string, string][] => {
        const name = textAt(each, 'name');
        return name === undefined ? [] : [[name, textAt(each, 'value') ?? '']];
      }),
    ),
    ...(installHint === undefined ? {} : { installHint }),
    provideClusterInfo: valueAt(exec, ['provideClusterInfo']) === true,
  };
}

/** `<field>-data` (base64) stands above the file that `<field>` names. */
function material<K extends string>(key: K, { value, folder }: Entry, field: string, where: string): { readonly [P in K]?: Material } {
  const data = textAt(value, `${field}-data`);
  const file = textAt(value, field);
  if (data === undefined && file === undefined) return {};
  const text = data === undefined ? '' : Buffer.from(data, 'base64').toString();
  if (data !== undefined && !text.includes('-----BEGIN')) throw unusable(where, `${field}-data is not base64 of PEM`, 'take it from the cluster again');
  const found: Material = data === undefined ? { file: resolve(folder, file ?? '') } : { text };
  return { [key]: found } as { readonly [P in K]?: Material };
}

/** A text that is there and not empty. */
function textAt(value: unknown, field: string): string | undefined {
  const text = isRecord(value) && Object.hasOwn(value, field) ? value[field] : undefined;
  return typeof text === 'string' && text !== '' ? text : undefined;
}

/** A kubeconfig that a person has to mend. */
export const unusable = (where: string, what: string, remedy: string, cause?: unknown): CodedError =>
  new CodedError({ code: 'kubeconfig', message: printable(`the kubeconfig ${where} cannot be used: ${what}`), remedy: printable(remedy) }, cause);
