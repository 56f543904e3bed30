import { ApiError } from '../kube/api-error.ts';
import { openApiAccess } from '../kube/io/open-api-access.ts';
import { openApiClient } from '../kube/io/open-api-client.ts';
import { DEFAULT_SYSTEM_NAMESPACE } from '../kube/watched-resources.ts';
import { CodedError } from '../model/coded-error.ts';
import { isServiceName } from '../model/names.ts';
import { printable } from '../model/problem.ts';
import { globalKey } from '../routing/allocate-vips.ts';
import type { VipRecords } from '../routing/assign-vips.ts';
import { LEDGER_NAME, parseLedger, type LedgerData } from '../routing/ledger-text.ts';
import { UsageError, type Command } from './command.ts';
import { readArguments, readShared, refuseRest } from './read-arguments.ts';

interface Ledger {
  readonly metadata: { readonly resourceVersion: string };
  readonly data?: LedgerData;
}

export const release: Command = {
  name: 'release',
  summary: "frees a global name, or an address, that rests in the cluster's ledger",
  help: `Usage: onehop release GLOBALNAME|ADDRESS [--kubeconfig PATH] [--system-namespace NAME]

A global name whose route went stays reserved for its namespace, and an address is given to nobody else, for 2 hours:
callers with an old DNS answer must not land with another team. This ends that at once. What a route holds is not released.

  --kubeconfig PATH        how the API server is reached; else ONEHOP_KUBECONFIG, else KUBECONFIG, else the pod's credentials
  --system-namespace NAME  namespace of the ledger; else ONEHOP_SYSTEM_NAMESPACE, else the pod's own, else onehop-system

Exit codes: 0 done, 1 nothing of that name rests, 2 wrong usage, 3 the API server cannot be reached or refuses.
`,
  run: async (argv, terminal) => {
    const { positionals, own, rest } = readArguments(argv, { kubeconfig: { value: true }, 'system-namespace': { value: true } });
    refuseRest(rest);
    const [wanted = '', ...more] = positionals;
    const kubeconfig = readShared('kubeconfig', own, terminal);
    const systemNamespace = readShared('systemNamespace', own, terminal);
    if (more.length > 0 || !(isServiceName(wanted) || /^[\d.]+$/.test(wanted))) throw new UsageError('give one global name or IPv4 address');
    const access = await openApiAccess({ kubeconfig: kubeconfig === '' ? undefined : kubeconfig, env: terminal.env });
    // The namespace of a kubeconfig's context is where its user works, not where the controller runs.
    const namespace = systemNamespace || (access.origin === 'in cluster' ? access.namespace : undefined) || DEFAULT_SYSTEM_NAMESPACE;
    const client = openApiClient(access, { userAgent: `onehop-release/${terminal.version}` });
    const path = `/api/v1/namespaces/${namespace}/configmaps/${LEDGER_NAME}`;
    try {
      const { metadata, data = {} } = await client.request<Ledger>('GET', path);
      const { resting, holder } = findRecords(parseLedger(data), wanted);
      if (resting.length === 0) {
        terminal.err(holder === undefined ? `onehop release: nothing of ${wanted} rests\n` : `onehop release: ${wanted} is held by ${holder}; delete that route, or set its spec.global to false, first\n`);
        return 1;
      }
      // Bound to what was read: an address that went back to a route meanwhile is not torn from it.
      const body = { metadata: { resourceVersion: metadata.resourceVersion }, data: Object.fromEntries(resting.map((address) => [address, null])) };
      await client.request('PATCH', path, { body, contentType: 'application/merge-patch+json' });
      for (const address of resting) terminal.out(`released ${address} (${printable(data[address] ?? '')})\n`);
      return 0;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      throw new CodedError({ code: 'api', message: error.message, remedy: `check the kubeconfig, and its rights to get and patch configmaps in ${namespace}` }, error);
    } finally {
      client.close();
    }
  },
};

/** The addresses of a name (or the one given) that rest, and who holds it otherwise. */
function findRecords(records: VipRecords, wanted: string): { readonly resting: readonly string[]; readonly holder: string | undefined } {
  const found = [...records].filter(([address, { key }]) => address === wanted || key === globalKey(wanted));
  const held = found.find(([, { freed }]) => freed === undefined)?.[1];
  return {
    resting: found.flatMap(([address, { freed }]) => (freed === undefined ? [] : [address])),
    holder: held === undefined ? undefined : `${held.namespace ?? held.key.split('/')[0]}/${held.key.split('/')[1]}`,
  };
}
