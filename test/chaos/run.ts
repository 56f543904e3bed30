import { parseArgs } from 'node:util';
import { Suites } from '../support/suites.ts';
import { chaosSuite } from '../support/chaos/chaos-suite.ts';

/** `npm run test:chaos -- [--long] [--seed N] [--calls N] [--seconds N] [--rate N] [--keep]`: without flags the short form, as in CI. */
const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    seed: { type: 'string' },
    calls: { type: 'string' },
    seconds: { type: 'string' },
    rate: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});
const suites = new Suites();
await suites.run(chaosSuite({ ...(values.long ? { calls: '260000', seconds: '3600' } : {}), ...values }));
process.exitCode = await suites.finish();
