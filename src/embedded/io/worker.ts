import { parentPort, workerData } from 'node:worker_threads';
import { objectKey } from '../../model/names.ts';
import type { Problem } from '../../model/problem.ts';
import type { Route } from '../../model/route-table.ts';
import type { TableChange } from '../serve-table.ts';
import type { BreakerOrder, WorkerAnswer, WorkerCalls, WorkerNote, WorkerOrder, WorkerQuestion, WorkerSettings } from '../worker-messages.ts';
import { Counters } from './counters.ts';
import { RouteServer } from './serve-routes.ts';
import { TokenDesk } from './token-desk.ts';

/** The thread in which the embedded proxy serves: orders from the agent, one after the other. */
function main(port: NonNullable<typeof parentPort>, settings: WorkerSettings): void {
  const counters = new Counters(settings.counters);
  counters.resetGauges();
  const desk = new TokenDesk((question: WorkerQuestion) => port.postMessage(question));
  const server = new RouteServer({
    tokenHeader: settings.tokenHeader,
    verifyToken: (token) => desk.verify(token),
    counters,
    givesWay: settings.givesWay,
    onCalls: (calls, lost) => port.postMessage({ calls, lost } satisfies WorkerCalls),
  });
  const routes = new Map<string, Route>();
  const applyChange = ({ callers, changed, removed }: TableChange, modes: readonly BreakerOrder[]): Promise<readonly Problem[]> => {
    for (const key of removed) routes.delete(key);
    for (const route of changed) routes.set(objectKey(route), route);
    return server.apply({ callers, routes: [...routes.values()] }, modes);
  };
  const answer = (id: number, more: Pick<WorkerAnswer, 'problems' | 'breakers'>): void => port.postMessage({ id, listeners: server.listeners(), ...more } satisfies WorkerAnswer);
  let last = Promise.resolve();
  port.on('message', (order: WorkerOrder | WorkerNote) => {
    if (order.kind === 'verdict') return desk.answered(order.id, order.verdict, order.keep);
    if (order.kind === 'forget') return desk.forget();
    if (order.kind === 'breakers') {
      if (order.set !== undefined) server.setBreaker(order.set);
      answer(order.id, { problems: [], breakers: server.breakers() });
      return;
    }
    last = last.then(async () => {
      const problems = order.kind === 'apply' ? await applyChange(order.change, order.modes) : [];
      if (order.kind === 'close') await server.close(order.drainMs, order.idle);
      answer(order.id, { problems, breakers: [] });
      if (order.kind === 'close') port.close();
    });
  });
}

if (parentPort !== null) main(parentPort, workerData as WorkerSettings);
