import { parentPort, workerData } from 'node:worker_threads';
import type { WorkerAnswer, WorkerOrder, WorkerSettings } from '../worker-messages.ts';
import { Counters } from './counters.ts';
import { RouteServer } from './serve-routes.ts';

/** The thread in which the embedded proxy serves: orders from the agent, one after the other. */
function main(port: NonNullable<typeof parentPort>, settings: WorkerSettings): void {
  const counters = new Counters(settings.counters);
  counters.resetGauges();
  const server = new RouteServer({ tokenHeader: settings.tokenHeader, counters });
  let last = Promise.resolve();
  port.on('message', (order: WorkerOrder) => {
    last = last.then(async () => {
      const problems = order.kind === 'apply' ? await server.apply(order.table) : [];
      if (order.kind === 'close') await server.close(order.drainMs);
      const answer: WorkerAnswer = { id: order.id, problems, listeners: server.listeners() };
      port.postMessage(answer);
      if (order.kind === 'close') port.close();
    });
  });
}

if (parentPort !== null) main(parentPort, workerData as WorkerSettings);
