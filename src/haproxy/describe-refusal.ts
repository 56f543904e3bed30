import { problem } from '../model/problem.ts';
import type { Problem } from '../model/problem.ts';
import type { Route } from '../model/route-table.ts';

/** Code of a route whose listener could not be opened. */
export const PORT_TAKEN = 'port-taken';

/** The last alert among HAProxy's messages, unbounded. */
export const lastAlert = (messages: string): string => messages.split('\n').findLast((line) => line.startsWith('[ALERT]')) ?? 'no message';

/** Why a route was left out of the configuration. */
export function routeProblem({ namespace, name }: Route, message: string): Problem {
  const taken = message.includes('cannot bind');
  return problem({
    code: taken ? PORT_TAKEN : 'config-rejected',
    object: { kind: 'ServiceRoute', namespace, name },
    message: `left out: HAProxy says ${message}`,
    remedy: taken ? 'free the port, or choose another spec.port.listen' : 'correct the field that the message names; other routes are not affected',
  });
}

/** Where HAProxy's own messages are, for people. An attached one is another supervisor's, and so is what it writes. */
export const logPlace = (runDir: string, attach: boolean): string => (attach ? "its container's or unit's log" : `${runDir}/haproxy.log`);

/** Codes of {@link nodeProblem}. */
const UNAPPLIED: readonly string[] = ['config-rejected', 'haproxy-failed'];

/** Whether a Problem says that a table did not take effect as a whole. */
export const isUnapplied = ({ code, object }: Problem): boolean => object.kind === 'Node' && UNAPPLIED.includes(code);

/** Nothing could be applied, and no route is to blame. `log`: the place of {@link logPlace}. */
export function nodeProblem(node: string, code: 'config-rejected' | 'haproxy-failed', messages: string, log: string): Problem {
  const alert = messages.split('\n').find((line) => line.startsWith('[ALERT]')) ?? messages;
  return problem({
    code,
    object: { kind: 'Node', name: node },
    message: `HAProxy could not be brought to this configuration, what it had goes on: ${alert}`,
    remedy: `HAProxy's messages are in ${log}; is the file system of the run dir full? see onehop doctor, too`,
  });
}
