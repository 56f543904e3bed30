import { collectDefaultMetrics } from 'prom-client';
import type { Metrics } from '../metrics.ts';

/** Adds CPU, memory, file descriptors, garbage collection and event loop delay of this process (`process_*`, `nodejs_*`). */
export function addProcessMetrics(metrics: Metrics): void {
  collectDefaultMetrics({ register: metrics.registry });
}
