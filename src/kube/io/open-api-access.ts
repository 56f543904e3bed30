import { readFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { CodedError, messageOf, systemCode } from '../../model/coded-error.ts';
import { parseKubeconfig, unusable, type KubeconfigAccess, type KubeconfigFile, type Material } from '../parse-kubeconfig.ts';
import { ExecCredentials } from './exec-credential.ts';
import { FreshFile } from './fresh-file.ts';

/** What a TLS connection to the API server needs; texts are PEM. */
export interface ApiTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly servername?: string;
  readonly rejectUnauthorized: boolean;
}

/** How the API server is reached and how this program proves who it is. */
export interface ApiAccess {
  readonly server: URL;
  /** For messages: `in cluster`, or which kubeconfig and context. */
  readonly origin: string;
  /** The pod's own namespace, or that of the context. */
  readonly namespace?: string;
  /** The same object as long as nothing changed: connections may be kept. */
  tls(): Promise<ApiTls>;
  /** The bearer token; undefined: none is used. */
  token(): Promise<string | undefined>;
  /** The server refused the credentials (401): they are read anew. */
  expire(): void;
}

export interface ApiAccessOptions {
  /** A kubeconfig; else the files in the variable KUBECONFIG; else the ServiceAccount of this pod. */
  readonly kubeconfig?: string | undefined;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly serviceAccountDir?: string;
}

/** Where kubelet puts a pod's token, CA and namespace. */
export const SERVICE_ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Finds the API server and the credentials. Does not connect.
 * @throws CodedError (exit 3) when a person has to mend something: no credentials, a bad kubeconfig, an unreadable file
 */
export async function openApiAccess({ kubeconfig, env = process.env, serviceAccountDir = SERVICE_ACCOUNT_DIR }: ApiAccessOptions = {}): Promise<ApiAccess> {
  const access =
    kubeconfig !== undefined || env['KUBECONFIG']
      ? fromKubeconfig(await readKubeconfigs(kubeconfig, env['KUBECONFIG'] ?? ''), kubeconfig ?? env['KUBECONFIG'] ?? '')
      : await inCluster(env, serviceAccountDir);
  try {
    createSecureContext(await access.tls());
  } catch (error) {
    // What a plugin does not give now it may give later.
    if (error instanceof CodedError) return access;
    throw new CodedError({ code: 'api-credentials', message: `the certificates (${access.origin}) cannot be used: ${messageOf(error)}`, remedy: 'correct these files' }, error);
  }
  return access;
}

async function inCluster(env: Readonly<Record<string, string | undefined>>, folder: string): Promise<ApiAccess> {
  const [host, port] = [env['KUBERNETES_SERVICE_HOST'], env['KUBERNETES_SERVICE_PORT']];
  if (!host || !port) {
    throw new CodedError({
      code: 'api-credentials',
      message: 'this is no pod of a cluster, and no kubeconfig is given',
      remedy: 'set --kubeconfig, or use --source dir:PATH with a folder of Kubernetes YAML',
    });
  }
  const tokenFile = new FreshFile(join(folder, 'token'));
  const ca = new FreshFile(join(folder, 'ca.crt'));
  await Promise.all([tokenFile.read(), ca.read()]).catch((error: unknown) => {
    throw new CodedError({ code: 'api-credentials', message: `the pod's credentials cannot be read: ${messageOf(error)}`, remedy: 'set automountServiceAccountToken: true, or --kubeconfig' }, error);
  });
  const namespace = (await readFile(join(folder, 'namespace'), 'utf8').catch(() => '')).trim();
  return {
    server: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    origin: 'in cluster',
    ...(namespace === '' ? {} : { namespace }),
    tls: keepSame(async () => ({ ca: await ca.read(), rejectUnauthorized: true })),
    token: async () => (await tokenFile.read()).trim(),
    expire: () => {
      tokenFile.expire();
      ca.expire();
    },
  };
}

/** The file of the flag must be there; of the variable's list, those that are. */
async function readKubeconfigs(flag: string | undefined, variable: string): Promise<readonly KubeconfigFile[]> {
  const paths = (flag === undefined ? variable.split(delimiter).filter((path) => path !== '') : [flag]).map((path) => resolve(path));
  const { parse } = await import('yaml'); // 14 MB that a pod's agent never needs
  const files: KubeconfigFile[] = [];
  for (const path of paths) {
    try {
      files.push({ path, content: parse(await readFile(path, 'utf8')) });
    } catch (error) {
      if (flag === undefined && paths.length > 1 && systemCode(error) === 'ENOENT') continue;
      throw unusable(path, messageOf(error).split('\n')[0] ?? '', 'correct the file, or name another one with --kubeconfig', error);
    }
  }
  return files;
}

function fromKubeconfig(files: readonly KubeconfigFile[], where: string): ApiAccess {
  const config = parseKubeconfig(files);
  const cached: FreshFile[] = [];
  const fileOf = (path: string): FreshFile => {
    const file = new FreshFile(path);
    cached.push(file);
    return file;
  };
  const reader = (material: Material | undefined): (() => Promise<string | undefined>) => {
    if (material === undefined) return async () => undefined;
    if ('text' in material) return async () => material.text;
    const file = fileOf(material.file);
    return () => file.read();
  };
  const [readCa, readCertificate, readKey] = [reader(config.ca), reader(config.certificate), reader(config.key)];
  const tokenFile = config.tokenFile === undefined ? undefined : fileOf(config.tokenFile);
  const plugin = config.exec === undefined ? undefined : new ExecCredentials(config.exec, where, clusterInfo(config));
  return {
    server: config.server,
    origin: `kubeconfig ${where}, context ${config.context}`,
    ...(config.namespace === undefined ? {} : { namespace: config.namespace }),
    tls: keepSame(async () => {
      const given = await plugin?.get();
      const [ca, cert, key] = [await readCa(), given?.certificate ?? (await readCertificate()), given?.key ?? (await readKey())];
      return {
        ...(ca === undefined ? {} : { ca }),
        ...(cert === undefined ? {} : { cert }),
        ...(key === undefined ? {} : { key }),
        ...(config.serverName === undefined ? {} : { servername: config.serverName }),
        rejectUnauthorized: !config.insecure,
      };
    }),
    token: async () => (await plugin?.get())?.token ?? (await tokenFile?.read())?.trim() ?? config.token,
    expire: () => {
      for (const file of cached) file.expire();
      plugin?.expire();
    },
  };
}

/** `spec.cluster` of an ExecCredential. */
const clusterInfo = ({ server, serverName, insecure, ca }: KubeconfigAccess): Readonly<Record<string, unknown>> => ({
  server: server.href,
  ...(serverName === undefined ? {} : { 'tls-server-name': serverName }),
  ...(insecure ? { 'insecure-skip-tls-verify': true } : {}),
  ...(ca !== undefined && 'text' in ca ? { 'certificate-authority-data': Buffer.from(ca.text).toString('base64') } : {}),
});

/** Gives the object before as long as the new one says the same. */
function keepSame(read: () => Promise<ApiTls>): () => Promise<ApiTls> {
  let last: ApiTls | undefined;
  return async () => {
    const now = await read();
    const same = last !== undefined && last.ca === now.ca && last.cert === now.cert && last.key === now.key;
    return (last = same && last !== undefined ? last : now);
  };
}
