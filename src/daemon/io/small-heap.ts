import { setFlagsFromString } from 'node:v8';

/**
 * V8 by default trades memory for speed: two semi-spaces of up to 32 MB, and a heap that may double before it is collected. A process of every
 * node keeps small instead (figures: docs/decisions/0007). To be called before anything is loaded: a semi-space that has grown stays,
 * and threads take what holds when they start.
 */
export function keepHeapSmall(): void {
  for (const flag of ['--semi-space-growth-factor=1', '--max-semi-space-size=1', '--optimize-for-size']) setFlagsFromString(flag);
}
