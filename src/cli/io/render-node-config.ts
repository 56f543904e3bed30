import { probeHaproxy } from '../../haproxy/io/probe-haproxy.ts';
import { renderConfig } from '../../haproxy/render-config.ts';
import type { RouteTable } from '../../model/route-table.ts';
import { readFdLimits } from '../../node/io/fd-limits.ts';
import type { Settings } from '../../settings/settings.ts';

/** Without HAProxy here: what the oldest supported one would get. */
const ASSUMED = { version: '2.6.0', lua: true };

/** haproxy.cfg and the files beside it, as an agent on this machine would write them. */
export async function renderNodeConfig(table: RouteTable, settings: Settings): Promise<string> {
  const { config, files } = renderConfig(table, {
    runDir: settings.runDir,
    drainTimeoutSeconds: settings.drainTimeoutSeconds,
    fileDescriptors: (await readFdLimits())?.hard ?? 20_000,
    threads: 2,
    haproxy: (await probeHaproxy(settings.haproxyBin)) ?? ASSUMED,
    tokenHeader: settings.tokenHeader,
    preserveClientIp: settings.clientIp === 'preserve',
  });
  return `${config}${[...files].map(([file, content]) => `\n# ----- ${file}\n${content}`).join('')}`;
}
