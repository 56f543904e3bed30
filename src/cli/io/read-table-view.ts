import { buildDesired, type Desired } from '../../desired/build-desired.ts';
import type { TableView } from '../../desired/table-view.ts';
import { readFolder } from '../../kube/io/read-folder.ts';
import type { CheckRegexes } from '../../model/proxy.ts';
import { readLedgerFile } from '../../state/io/ledger-file.ts';
import type { Settings } from '../../settings/settings.ts';

/** What a folder gives for a node, without an agent. `useLedger`: addresses as the state folder of an agent remembers them. */
export async function readDesired(settings: Settings, version: string, useLedger: boolean, checkRegexes?: CheckRegexes): Promise<Desired> {
  const path = settings.source.kind === 'dir' ? settings.source.path : '';
  const snapshot = await readFolder(path, { globalNamespace: settings.globalNamespace, ...(checkRegexes === undefined ? {} : { checkRegexes }) });
  return buildDesired(
    snapshot,
    {
      nodeName: settings.nodeName,
      // Any node may be asked for: its own addresses are those of its Node object, not of the machine that asks.
      ownAddresses: snapshot.nodes.find((node) => node.name === settings.nodeName)?.addresses ?? [],
      pool: settings.vipPool,
      vips: 'allocate',
      globalNamespace: settings.globalNamespace,
      trustedCallers: settings.trustedCallers,
      httpPort: settings.httpPort,
      zoneName: settings.zone,
      version,
    },
    useLedger ? await readLedgerFile(settings.stateDir) : {},
    Date.now(),
  );
}

/** The same view as a running agent gives, from a folder. */
export function viewOf(settings: Settings, desired: Desired): TableView {
  return {
    generation: 0,
    proxy: settings.proxy === 'embedded' ? 'embedded' : 'haproxy',
    zone: settings.zone,
    globalNamespace: settings.globalNamespace,
    pool: settings.vipPool,
    dnsListen: settings.dnsListen,
    table: desired.table,
    applyProblems: [],
    breakers: [],
  };
}
