import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { printable } from '../../model/problem.ts';
import type { CheckRegexes } from '../../model/proxy.ts';
import { CONFIG_FILE } from '../plan-change.ts';
import { MATCH_LIMIT, unfitForMap } from '../render-maps.ts';
import { runCheck } from './check-config.ts';
import { writeFiles } from './config-files.ts';

const MAX_CACHED = 10_000;
const MAX_PER_RUN = 500;
const TIMEOUT_MS = 10_000;

/**
 * Regexes judged by the HAProxy that will run them: each stands in a file of its own under an ACL of its own, so one
 * `haproxy -c` names every bad one (a bad `http-request` rule would end the reading at the first). Verdicts are kept (a pattern's never changes).
 * The returned function rejects when the binary cannot be run.
 */
export function openRegexCheck(binary: string): CheckRegexes {
  const verdicts = new Map<string, string | undefined>();
  return async (patterns) => {
    const unique = [...new Set(patterns)];
    const fresh = unique.filter((pattern) => !verdicts.has(pattern));
    if (verdicts.size + fresh.length > MAX_CACHED) verdicts.clear();
    const toRun = unique.filter((pattern) => !verdicts.has(pattern));
    for (let from = 0; from < toRun.length; from += MAX_PER_RUN) {
      for (const [pattern, reason] of await judge(binary, toRun.slice(from, from + MAX_PER_RUN))) verdicts.set(pattern, reason);
    }
    return new Map(unique.flatMap((pattern) => {
      const reason = verdicts.get(pattern);
      return reason === undefined ? [] : [[pattern, reason] as const];
    }));
  };
}

async function judge(binary: string, patterns: readonly string[]): Promise<ReadonlyMap<string, string | undefined>> {
  const verdicts = new Map(patterns.map((pattern) => [pattern, unfitForMap(pattern)]));
  const fit = patterns.filter((pattern) => verdicts.get(pattern) === undefined);
  if (fit.length === 0) return verdicts;
  const messages = await compile(binary, fit);
  if (messages === undefined) return verdicts;
  const bad = [...messages.matchAll(/haproxy\.cfg:(\d+)\] ?:(.*)/g)].flatMap(([, line, message]) => {
    const pattern = fit[Number(line) - FIRST_RULE];
    return pattern === undefined ? [] : [[pattern, message ?? ''] as const];
  });
  if (bad.length > 0) {
    for (const [pattern, message] of bad) verdicts.set(pattern, `HAProxy cannot compile it: ${reasonIn(message)}`);
    return verdicts;
  }
  // Nobody named (a pattern that takes too long to compile): by halves.
  if (fit.length === 1) return verdicts.set(fit[0] ?? '', printable(`HAProxy cannot compile it: ${messages}`, 200));
  const half = Math.ceil(fit.length / 2);
  for (const part of [fit.slice(0, half), fit.slice(half)]) for (const [pattern, reason] of await judge(binary, part)) verdicts.set(pattern, reason);
  return verdicts;
}

const HEAD = ['defaults', '  mode http', '  timeout client 1s', 'frontend regexes', '  bind unix@check.sock'];
const FIRST_RULE = HEAD.length + 1;

async function compile(binary: string, patterns: readonly string[]): Promise<string | undefined> {
  const dir = await mkdtemp(join(tmpdir(), 'onehop-regex-'));
  try {
    const rules = patterns.map((_, index) => `  acl regex${index} req.fhdr(x) -m reg -f ${index}.txt`);
    const files = new Map(patterns.map((pattern, index) => [`${index}.txt`, `${MATCH_LIMIT}${pattern}\n`]));
    await writeFiles(dir, files.set(CONFIG_FILE, `${[...HEAD, ...rules].join('\n')}\n`));
    return await runCheck(binary, dir, TIMEOUT_MS);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** PCRE's words and the place, counted in the tenant's own pattern. */
function reasonIn(message: string): string {
  const found = /error=([^,)]*), erroffset=(\d+)/.exec(message);
  if (found?.[1] === undefined) return printable(message.trim(), 160);
  return printable(`${found[1]} at offset ${Math.max(0, Number(found[2]) - MATCH_LIMIT.length)}`, 160);
}
