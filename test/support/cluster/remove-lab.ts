import { rm } from 'node:fs/promises';
import { endProcesses, labProcesses } from './daemons.ts';
import type { LabPaths } from './lab-paths.ts';

/** Removes whatever there is of a lab, also what a killed run left half-made. Nothing there: nothing to do. */
export async function removeLab(lab: LabPaths): Promise<void> {
  await endProcesses(lab, await labProcesses(lab), ['SIGKILL']);
  await rm(lab.folder, { recursive: true, force: true });
  await rm(lab.data, { recursive: true, force: true });
}
