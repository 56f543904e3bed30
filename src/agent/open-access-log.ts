import type { Logger } from '../daemon/io/logger.ts';
import type { Metrics } from '../daemon/metrics.ts';
import type { CallRecord } from '../model/call-record.ts';
import { AccessLog, type AccessLogCounts } from './access-log.ts';

const REPORT_MS = 10_000;

/** Where the node's proxy tells of the calls that routes want logged. */
export interface AccessLogSink {
  add(record: CallRecord): void;
  counts(): AccessLogCounts;
  close(): Promise<void>;
}

/**
 * The access log: lines of the agent's own log with `log: access`, whatever `--log-level` says, because a route asked for them.
 * What is above the bounds is counted, and said every 10 s.
 */
export function openAccessLog(log: Logger): AccessLogSink {
  const lines = log.child({ log: 'access' }, { level: 'info' });
  const access = new AccessLog(({ atMs, ...record }) => lines.info({ at: new Date(atMs).toISOString(), ...record }), performance.now());
  const timer = setInterval(() => {
    const leftOut = access.takeLeftOut();
    if (leftOut !== undefined) log.warn(leftOut, 'the access log left out lines: routes had more calls to log than a node writes');
  }, REPORT_MS).unref();
  return {
    add: (record) => access.add(record, performance.now()),
    counts: () => access.counts(),
    close: async () => clearInterval(timer),
  };
}

/** `lost`: records that got lost between the proxy and the agent. */
export function addAccessLogMetrics(metrics: Metrics, access: AccessLogSink, lost: () => number): void {
  metrics.counter({ name: 'onehop_access_log_lines_total', help: 'Calls that routes want logged: written, left out above the bounds, lost between proxy and agent', labels: ['what'] }, () => {
    const { written, overRate } = access.counts();
    return Object.entries({ written, left_out: overRate, lost: lost() }).map(([what, value]) => ({ labels: { what }, value }));
  });
}
