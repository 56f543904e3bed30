import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { openLab } from '../support/lab/lab.ts';
import { run } from '../support/lab/run.ts';

const LAB = new URL('../support/lab/lab.ts', import.meta.url).href;

/** Network namespaces and folders that bear the pid of a test process. */
const leftOf = async (pid: string): Promise<readonly string[]> =>
  [...(await readdir('/run/netns')), ...(await readdir(tmpdir()))].filter((name) => name.startsWith(`oh${pid}-`));

test('what a killed run left behind is removed when the next lab opens', async () => {
  const program = `
    import { openLab } from ${JSON.stringify(LAB)};
    await openLab([{ name: 'n1', pods: [{ name: 'p', namespace: 'a', serves: true }] }]);
    process.stdout.write(String(process.pid), () => process.kill(process.pid, 'SIGKILL'));`;
  const { stdout: pid } = await run([process.execPath, '--input-type=module', '-e', program]);
  expect(await leftOf(pid)).toHaveLength(4);
  const lab = await openLab([]);
  expect(await leftOf(pid)).toEqual([]);
  await lab.close();
});
