import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf, systemCode } from '../../model/coded-error.ts';
import { valueAt } from '../field-path.ts';
import { unusable, type ExecPlugin } from '../parse-kubeconfig.ts';

/** What a plugin gave. Certificate and key come together. */
export interface ExecCredential {
  readonly token?: string;
  readonly certificate?: string;
  readonly key?: string;
}

/** A plugin may log in over the network. */
const TIMEOUT_MS = 30_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;
/** A credential is renewed this long before it ends, so that no request carries one that ends on its way. */
const MARGIN_MS = 10_000;

const run = promisify(execFile);

/**
 * Credentials by a plugin (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins):
 * run when there are none, when they end, or when `expire` was called because the server refused them. One run at a time.
 */
export class ExecCredentials {
  readonly #plugin: ExecPlugin;
  readonly #where: string;
  readonly #cluster: Readonly<Record<string, unknown>>;
  #running: Promise<ExecCredential> | undefined;
  #current: ExecCredential | undefined;
  #endsAtMs = 0;

  /** `cluster` is `spec.cluster` of an ExecCredential, given to plugins that ask for it. */
  constructor(plugin: ExecPlugin, where: string, cluster: Readonly<Record<string, unknown>>) {
    this.#plugin = plugin;
    this.#where = where;
    this.#cluster = cluster;
  }

  /** @throws CodedError when the plugin cannot be run or gives nothing usable */
  async get(): Promise<ExecCredential> {
    if (this.#current !== undefined && Date.now() < this.#endsAtMs - MARGIN_MS) return this.#current;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  expire(): void {
    this.#endsAtMs = 0;
  }

  async #run(): Promise<ExecCredential> {
    const { apiVersion, command, args, env, installHint, provideClusterInfo } = this.#plugin;
    const spec = { interactive: false, ...(provideClusterInfo ? { cluster: this.#cluster } : {}) };
    const info = JSON.stringify({ apiVersion, kind: 'ExecCredential', spec });
    let answer: unknown;
    try {
      const { stdout } = await run(command, [...args], {
        env: { ...process.env, ...env, KUBERNETES_EXEC_INFO: info },
        timeout: TIMEOUT_MS,
        maxBuffer: MAX_OUTPUT_BYTES,
      });
      answer = JSON.parse(stdout);
    } catch (error) {
      const why = systemCode(error) === 'ENOENT' ? 'it is not there' : messageOf(error);
      throw unusable(this.#where, `the credential plugin ${command} failed: ${why}`, installHint ?? 'run it by hand and mend what it says', error);
    }
    const text = (field: string): string | undefined => {
      const value = valueAt(answer, ['status', field]);
      return typeof value === 'string' && value !== '' ? value : undefined;
    };
    const [token, certificate, key] = [text('token'), text('clientCertificateData'), text('clientKeyData')];
    if (valueAt(answer, ['apiVersion']) !== apiVersion || (token === undefined && (certificate === undefined || key === undefined))) {
      throw unusable(this.#where, `the credential plugin ${command} gave no credentials of ${apiVersion}`, 'run it by hand and see what it prints');
    }
    const endsAtMs = Date.parse(text('expirationTimestamp') ?? '');
    this.#endsAtMs = Number.isNaN(endsAtMs) ? Infinity : endsAtMs;
    this.#current = {
      ...(token === undefined ? {} : { token }),
      ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
    };
    return this.#current;
  }
}
