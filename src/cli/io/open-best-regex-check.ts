import { checkRegexes as checkForEmbedded } from '../../embedded/check-regexes.ts';
import { probeHaproxy } from '../../haproxy/io/probe-haproxy.ts';
import { openRegexCheck } from '../../haproxy/io/regex-check.ts';
import type { CheckRegexes } from '../../model/proxy.ts';

/** HAProxy's own verdict where it is installed; else the embedded proxy's, which takes fewer patterns. */
export async function openBestRegexCheck(haproxyBin: string): Promise<CheckRegexes> {
  return (await probeHaproxy(haproxyBin)) === undefined ? checkForEmbedded : openRegexCheck(haproxyBin);
}
