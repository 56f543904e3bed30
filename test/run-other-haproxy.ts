import { runOnOtherHaproxy } from './support/other-haproxy.ts';
import { Suites } from './support/suites.ts';

/** `npm run test:haproxy [-- FILE...]`: the part of `npm test` that runs on a second HAProxy, alone. */
const suites = new Suites();
const wanted = process.argv.slice(2);
await runOnOtherHaproxy(suites, wanted.length > 0 ? { files: wanted } : {});
process.exitCode = await suites.finish();
