import { openApiAccess } from '../../../src/kube/io/open-api-access.ts';
import { openApiClient } from '../../../src/kube/io/open-api-client.ts';
import type { ApiClient } from '../../../src/kube/io/open-api-client.ts';

/** Where the API has what kubectl calls by these names, or by the singular. */
const IN_NAMESPACES: Readonly<Record<string, string>> = {
  pods: '/api/v1',
  services: '/api/v1',
  endpointslices: '/apis/discovery.k8s.io/v1',
  leases: '/apis/coordination.k8s.io/v1',
  serviceroutes: '/apis/paas.io/v1',
};

export interface ApiQuestion {
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
}

/** What `kubectl get WORDS` asks for; undefined: kubectl itself has to say. */
export function apiQuestion(words: readonly string[]): ApiQuestion | undefined {
  const names: string[] = [];
  const flags: Record<string, string> = { '-n': 'default', '-l': '', '--field-selector': '' };
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    if (!word.startsWith('-')) names.push(word);
    else if (word in flags) flags[word] = words[++i] ?? '';
    else return undefined;
  }
  const [resource = '', name, more] = names;
  const plural = resource in IN_NAMESPACES ? resource : `${resource}s`;
  const root = IN_NAMESPACES[plural];
  if (root === undefined || more !== undefined) return undefined;
  const parts = ['namespaces', flags['-n'] ?? '', plural, ...(name === undefined ? [] : [name])].map(encodeURIComponent);
  const selectors = { labelSelector: flags['-l'] ?? '', fieldSelector: flags['--field-selector'] ?? '' };
  return { path: `${root}/${parts.join('/')}`, query: Object.fromEntries(Object.entries(selectors).filter(([, value]) => value !== '')) };
}

/** Reads in this process what is asked again and again: a kubectl costs 70 ms of processor time, more than all that it is asked for. */
export class ApiReader {
  readonly #kubeconfig: string;
  #client: Promise<ApiClient> | undefined;

  constructor(kubeconfig: string) {
    this.#kubeconfig = kubeconfig;
  }

  /** undefined: it is not there, cannot be reached, or is nothing that this asks for; kubectl says what is wrong. */
  async get(words: readonly string[]): Promise<unknown> {
    const question = apiQuestion(words);
    if (question === undefined) return undefined;
    this.#client ??= openApiAccess({ kubeconfig: this.#kubeconfig }).then((access) => openApiClient(access, { userAgent: 'onehop-tests', idleConnections: 8 }));
    const client = await this.#client;
    return client.request('GET', question.path, { query: question.query }).catch(() => undefined);
  }
}
