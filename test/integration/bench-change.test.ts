import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

/** `npm run bench:change` in small, from source, so that it cannot rot: its musts hold at any size. Its aims are for a quiet machine. */
const ROOT = join(import.meta.dirname, '../..');
const SMALL = ['--routes=40', '--endpoints=400', '--seconds=4', '--calls=50', '--dns=200', '--net=127.95', `--entry=${join(ROOT, 'src/onehop.mjs')}`];

function bench(): Promise<{ readonly code: number | null; readonly out: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [join(ROOT, 'test/bench/change.ts'), ...SMALL], { timeout: 390_000 }, (_error, stdout, stderr) => resolve({ code: child.exitCode, out: stdout + stderr }));
  });
}

/** How many changes were seen to take effect. */
const seen = (out: string): number => Number(/(\d+) of them brought an endpoint into use/.exec(out)?.[1]);

it('churn of an API server, a hand-over and a start from the snapshot: nothing is reloaded, no call fails, no query is lost', { timeout: 400_000 }, async () => {
  const { code, out } = await bench();
  expect(out).toMatch(/^80 changes, /m);
  expect(seen(out)).toBeGreaterThan(5);
  expect(out).toContain('reloads: 0 (must be 0: met)');
  expect(out).toContain('failed calls: 0 (must be 0: met)');
  expect(out).toMatch(/from the snapshot: ready after \d+ ms/);
  expect({ code, out }).toMatchObject({ code: 0 });
});
