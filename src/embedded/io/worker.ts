import { parentPort, workerData } from 'node:worker_threads';
import { objectKey } from '../../model/names.ts';
import type { Problem } from '../../model/problem.ts';
import type { Route } from '../../model/route-table.ts';
import type { TableChange } from '../serve-table.ts';
import type { WorkerAnswer, WorkerOrder, WorkerSettings } from '../worker-messages.ts';
import { Counters } from './counters.ts';
import { RouteServer } from './serve-routes.ts';

/** The thread in which the embedded proxy serves: orders from the agent, one after the other. */
function main(port: NonNullable<typeof parentPort>, settings: WorkerSettings): void {
  const counters = new Counters(settings.counters);
  counters.resetGauges();
  const server = new RouteServer({ tokenHeader: settings.tokenHeader, counters });
  const routes = new Map<string, Route>();
  const applyChange = ({ callers, changed, removed }: TableChange): Promise<readonly Problem[]> => {
    for (const key of removed) routes.delete(key);
    for (const route of changed) routes.set(objectKey(route), route);
    return server.apply({ callers, routes: [...routes.values()] });
  };
  let last = Promise.resolve();
  port.on('message', (order: WorkerOrder) => {
    last = last.then(async () => {
      const problems = order.kind === 'apply' ? await applyChange(order.change) : [];
      if (order.kind === 'close') await server.close(order.drainMs);
      const answer: WorkerAnswer = { id: order.id, problems, listeners: server.listeners() };
      port.postMessage(answer);
      if (order.kind === 'close') port.close();
    });
  });
}

if (parentPort !== null) main(parentPort, workerData as WorkerSettings);
