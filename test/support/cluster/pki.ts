import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../lab/run.ts';

const DAYS = '3650';
const EC_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];

export interface Credentials {
  readonly certificate: string;
  readonly key: string;
}

/** The lab's certificate authority: one for servers and clients, made by openssl. Files lie in `folder`. */
export class Pki {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  get authority(): Credentials {
    return this.credentials('ca');
  }

  /** Where the certificate and key called `name` lie. */
  credentials(name: string): Credentials {
    return { certificate: join(this.folder, `${name}.crt`), key: join(this.folder, `${name}.key`) };
  }

  /** Key that signs ServiceAccount tokens. RSA: RS256 is the algorithm that every verifier of such tokens knows. */
  get serviceAccountKey(): string {
    return join(this.folder, 'service-accounts.key');
  }

  async create(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const { certificate, key } = this.authority;
    await Promise.all([
      must(['openssl', 'req', '-x509', ...EC_KEY, '-subj', '/CN=onehop-lab', '-days', DAYS, '-keyout', key, '-out', certificate]),
      must(['openssl', 'genrsa', '-out', this.serviceAccountKey, '2048']),
    ]);
  }

  /** A server's certificate; `names` as in subjectAltName: `DNS:kubernetes`, `IP:10.96.0.1`. */
  issueServer(file: string, commonName: string, names: readonly string[]): Promise<Credentials> {
    return this.#issue(file, `/CN=${commonName}`, ['-addext', `subjectAltName=${names.join(',')}`]);
  }

  /** A client's certificate: Kubernetes reads CN as the user and each O as a group. */
  issueClient(file: string, user: string, groups: readonly string[]): Promise<Credentials> {
    return this.#issue(file, `${groups.map((group) => `/O=${group}`).join('')}/CN=${user}`, ['-addext', 'extendedKeyUsage=clientAuth']);
  }

  /** Writes a kubeconfig that needs no other file (JSON is YAML). */
  async writeKubeconfig(path: string, server: string, { certificate, key }: Credentials): Promise<string> {
    const [ca, cert, privateKey] = await Promise.all([this.authority.certificate, certificate, key].map((file) => readFile(file, 'base64')));
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'lab',
      clusters: [{ name: 'lab', cluster: { server, 'certificate-authority-data': ca } }],
      users: [{ name: 'user', user: { 'client-certificate-data': cert, 'client-key-data': privateKey } }],
      contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'user' } }],
    };
    await writeFile(path, JSON.stringify(config, null, 1), { mode: 0o600 });
    return path;
  }

  async #issue(file: string, subject: string, extensions: readonly string[]): Promise<Credentials> {
    const issued = this.credentials(file);
    const signer = ['-CA', this.authority.certificate, '-CAkey', this.authority.key];
    const output = ['-keyout', issued.key, '-out', issued.certificate];
    const noAuthority = ['-addext', 'basicConstraints=critical,CA:FALSE'];
    await must(['openssl', 'req', '-x509', ...EC_KEY, ...signer, '-subj', subject, '-days', DAYS, ...noAuthority, ...extensions, ...output]);
    return issued;
  }
}
