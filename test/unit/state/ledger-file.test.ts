import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openLedgerFile, readLedgerFile } from '../../../src/state/io/ledger-file.ts';

it('a ledger that cannot be written names the folder and the remedy; written later it is all there', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'onehop-ledger-'));
  try {
    const file = await openLedgerFile(folder);
    await mkdir(join(folder, 'vips.json'));
    const ledger = { 'shop/cart': { vip: '127.77.1.1' } };
    await expect(file.write(ledger)).rejects.toMatchObject({ code: 'state-dir', remedy: expect.stringContaining('--state-dir') });
    await rm(join(folder, 'vips.json'), { recursive: true });
    await file.write(ledger);
    expect(await readLedgerFile(folder)).toEqual(ledger);
  } finally {
    await rm(folder, { recursive: true });
  }
});
