import { mkdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, messageOf, systemCode } from '../../model/coded-error.ts';
import type { VipHolding, VipLedger } from '../../model/vip-ledger.ts';
import { replaceFile } from './replace-file.ts';

const FORMAT = 1;

/** The ledger of VIPs on disk (`vips.json` in the state folder): addresses stay with their routes over restarts. */
export interface LedgerFile {
  readonly ledger: VipLedger;
  /** One line when a file was there that could not be used; it was put aside. */
  readonly warning?: string;
  /** Atomic and durable; nothing is written when `ledger` equals what was written last. */
  write(ledger: VipLedger): Promise<void>;
}

/**
 * Opens the ledger in `stateDir`, which is created when missing.
 * @throws CodedError `state-dir` when the folder cannot be made or read; `write` rejects with it when nothing can be written.
 */
export async function openLedgerFile(stateDir: string): Promise<LedgerFile> {
  const path = join(stateDir, 'vips.json');
  await mkdir(stateDir, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw new CodedError({ code: 'state-dir', message: `cannot create ${stateDir}: ${messageOf(error)}`, remedy: 'choose a folder that this user may write with --state-dir' }, error);
  });
  const { ledger, warning } = await readLedger(path);
  let written = JSON.stringify(ledger);
  return {
    ledger,
    ...(warning === undefined ? {} : { warning }),
    write: async (next) => {
      const text = JSON.stringify(next);
      if (text === written) return;
      await replaceFile(path, [JSON.stringify({ format: FORMAT, ledger: next }, null, 1)]).catch((error: unknown) => {
        throw new CodedError({ code: 'state-dir', message: `cannot write ${path}: ${messageOf(error)}`, remedy: 'make room, or choose a folder that this user may write with --state-dir' }, error);
      });
      written = text;
    },
  };
}

/** Reads a ledger without touching it: what `vips.json` in `stateDir` holds, empty when there is none or it is unusable. */
export async function readLedgerFile(stateDir: string): Promise<VipLedger> {
  const text = await readFile(join(stateDir, 'vips.json'), 'utf8').catch(() => '');
  return parseLedger(text) ?? {};
}

async function readLedger(path: string): Promise<{ ledger: VipLedger; warning?: string }> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { ledger: {} };
    throw new CodedError({ code: 'state-dir', message: `cannot read ${path}: ${messageOf(error)}`, remedy: 'run as the user who owns it, or choose another --state-dir' }, error);
  }
  const ledger = parseLedger(text);
  if (ledger !== undefined) return { ledger };
  await rename(path, `${path}.refused`);
  return { ledger: {}, warning: `${path} is torn or foreign and was put aside as ${path}.refused; routes may get other addresses than before` };
}

function parseLedger(text: string): VipLedger | undefined {
  try {
    const content: unknown = JSON.parse(text);
    if (!isRecord(content) || content['format'] !== FORMAT || !isRecord(content['ledger'])) return undefined;
    const holdings = Object.entries(content['ledger']);
    return holdings.every((entry): entry is [string, VipHolding] => isHolding(entry[1])) ? Object.fromEntries(holdings) : undefined;
  } catch {
    return undefined;
  }
}

function isHolding(value: unknown): value is VipHolding {
  return (
    isRecord(value) &&
    typeof value['vip'] === 'string' &&
    ['string', 'undefined'].includes(typeof value['namespace']) &&
    ['number', 'undefined'].includes(typeof value['freedAtMs'])
  );
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
