import { askRunning, denied } from '../haproxy/io/client-ip-trial.ts';
import type { CodedError } from '../model/coded-error.ts';
import { problem, type Problem } from '../model/problem.ts';
import type { CallerTable, RouteTable } from '../model/route-table.ts';
import { describeBridges, findSharedBridges } from '../node/find-shared-bridges.ts';
import { readBridges, readMainRoutes } from '../node/io/read-node.ts';
import type { Settings } from '../settings/settings.ts';

/** HAProxy is asked again this often: another supervisor may have started another one. */
const RECHECK_MS = 5_000;

/** Whether `--client-ip preserve` can work here; without it nothing is looked at. */
export interface ClientIpWatch {
  /**
   * Before a table takes effect.
   * @throws CodedError `client-ip-bridge` where it was never possible: at the first table
   */
  look(table: RouteTable): Promise<void>;
  /** What keeps it from working now. */
  problems(): readonly Problem[];
}

export function openClientIpWatch({ clientIp, runDir }: Pick<Settings, 'clientIp' | 'runDir'>, now: () => number): ClientIpWatch {
  let denial: CodedError | undefined;
  let bridged: CodedError | undefined;
  let node = '';
  let callers: CallerTable | undefined;
  let checkedAtMs = -RECHECK_MS;
  return {
    look: async (table) => {
      if (clientIp === 'forwarded' || (callers !== undefined && now() - checkedAtMs < RECHECK_MS)) return;
      node = table.node;
      checkedAtMs = now();
      // Pods come and go, and the network that carries them stays: it is read for other pods only.
      if (callers !== table.callers) bridged = describeBridges(findSharedBridges(table.callers.pods.map(({ address }) => address), await readMainRoutes(), await readBridges()));
      if (callers === undefined && bridged !== undefined) throw bridged;
      callers = table.callers;
      // Not waited for: the trial takes its time when all is well, and a change must not.
      void askRunning(runDir).then((allowed) => (denial = allowed === false ? denied('HAProxy may not do it, and its calls fail', 'give it CAP_NET_RAW and start it again') : undefined));
    },
    problems: () => [bridged, denial].filter((each) => each !== undefined).map(({ code, message, remedy }) => problem({ code, object: { kind: 'Node', name: node }, message, remedy })),
  };
}
