import { writeFile } from 'node:fs/promises';
import { renderClaimRemoval, renderClaimTable } from '../claim-table.ts';
import { DIVERT_ROUTES, divertRuleWords, renderDivertRemoval, renderDivertTable } from '../divert.ts';
import { planNode, planRemoval } from '../plan-node.ts';
import type { NodeStep, WantedNode } from '../plan-node.ts';
import { NONLOCAL_BIND6, readNode } from './read-node.ts';
import { runCommand } from './run-command.ts';

/** The effect of each kind of step. */
const EFFECTS: { readonly [Kind in NodeStep['kind']]: (step: Extract<NodeStep, { kind: Kind }>) => Promise<unknown> } = {
  'add-pool-route': ({ family, cidr }) => runCommand('ip', [flag(family), 'route', 'replace', 'local', cidr, 'dev', 'lo']),
  'remove-pool-route': ({ family, cidr }) => runCommand('ip', [flag(family), 'route', 'del', 'local', cidr, 'dev', 'lo']),
  'install-claim': ({ family, cidr }) => runCommand('nft', ['-f', '-'], renderClaimTable(family, cidr)),
  'remove-claim': ({ family }) => runCommand('nft', ['-f', '-'], renderClaimRemoval(family)),
  'add-divert-route': ({ family }) => runCommand('ip', [flag(family), 'route', 'replace', 'local', 'default', 'dev', 'lo', 'table', DIVERT_ROUTES]),
  'remove-divert-route': ({ family }) => runCommand('ip', [flag(family), 'route', 'del', 'local', 'default', 'dev', 'lo', 'table', DIVERT_ROUTES]),
  'add-divert-rule': ({ family, rule }) => runCommand('ip', [flag(family), 'rule', 'add', ...divertRuleWords(rule)]),
  'remove-divert-rule': ({ family, rule }) => runCommand('ip', [flag(family), 'rule', 'del', ...divertRuleWords(rule)]),
  'install-divert': ({ family }) => runCommand('nft', ['-f', '-'], renderDivertTable(family)),
  'remove-divert': ({ family }) => runCommand('nft', ['-f', '-'], renderDivertRemoval(family)),
  'set-nonlocal-bind6': ({ on }) => writeFile(NONLOCAL_BIND6, on ? '1' : '0'),
  'add-address6': ({ address }) => runCommand('ip', ['-6', 'addr', 'replace', `${address}/128`, 'dev', 'lo', 'nodad']),
  'remove-address6': ({ address }) => runCommand('ip', ['-6', 'addr', 'del', `${address}/128`, 'dev', 'lo']),
};

const flag = (family: 'ip' | 'ip6'): string => (family === 'ip' ? '-4' : '-6');

/**
 * Brings this node's network to `wanted`: reads, plans, applies. Resolves with the steps that were needed (none: all was in place, or
 * the pool lies in 127/8). Safe to repeat; call it again when `vips6` changes and now and then against drift.
 * @throws CodedError with the remedy; the steps before the failed one are in effect
 */
export async function ensureNode(wanted: WantedNode): Promise<readonly NodeStep[]> {
  if (wanted.pool.loopback) return [];
  const steps = planNode(wanted, await readNode(wanted.pool, wanted.divert));
  await applySteps(steps);
  return steps;
}

/** Undoes `ensureNode`. `applied`: all steps that it took in this process, to tell our own sysctl from somebody else's. */
export async function removeNode({ pool, divert }: WantedNode, applied: readonly NodeStep[]): Promise<readonly NodeStep[]> {
  if (pool.loopback) return [];
  const steps = planRemoval(pool, await readNode(pool, divert), applied.some((step) => step.kind === 'set-nonlocal-bind6'));
  await applySteps(steps);
  return steps;
}

async function applySteps(steps: readonly NodeStep[]): Promise<void> {
  for (const step of steps) await applyStep(step);
}

const applyStep = <Kind extends NodeStep['kind']>(step: Extract<NodeStep, { kind: Kind }>): Promise<unknown> => EFFECTS[step.kind](step);
