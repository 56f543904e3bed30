import { printable } from '../model/problem.ts';
import type { CheckRegexes } from '../model/proxy.ts';
import { compileRegex } from './compile-regex.ts';

/** Says of each pattern that the embedded proxy cannot match exactly as HAProxy does why not; the others are absent. */
export const checkRegexes: CheckRegexes = (patterns) => {
  const refused = new Map<string, string>();
  for (const pattern of patterns) {
    const compiled = compileRegex(pattern);
    if ('unsupported' in compiled) refused.set(pattern, printable(`the embedded proxy takes plain expressions alone, HAProxy may take more: ${compiled.unsupported}`));
  }
  return Promise.resolve(refused);
};
