import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommand } from '../../../src/cli/main.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onehop-validate-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function validate(yaml: string, ...flags: readonly string[]) {
  await writeFile(join(folder, 'objects.yaml'), yaml);
  let out = '';
  const code = await runCommand('validate', [folder, ...flags], { out: (text) => (out += text), err: (text) => (out += text), env: {}, workingDirectory: folder, hostname: 'n1', version: '0' });
  return { code, out };
}

const service = 'apiVersion: v1\nkind: Service\nmetadata: { name: web, namespace: shop }\nspec: { ports: [{ port: 80 }] }\n';
const pinned = `---\napiVersion: paas.io/v1\nkind: ServiceRoute\nmetadata: { name: cart, namespace: shop }\nspec: { rule: { type: '' }, to: [{ name: web }] }\nstatus: { vip: 10.99.4.4 }\n`;

describe('onehop validate', () => {
  it('does not judge a pinned address by a pool that it was not told', async () => {
    expect(await validate(service + pinned)).toEqual({ code: 0, out: '2 objects: 0 errors, 0 warnings\n' });
  });

  it('judges it by the pool that it is told', async () => {
    expect((await validate(service + pinned, '--vip-pool=10.99.0.0/16')).code).toBe(0);
    expect(await validate(service + pinned, '--vip-pool', '10.98.0.0/16')).toMatchObject({ code: 1, out: expect.stringContaining('[vip-refused]') });
    expect(await validate(service + pinned, '--vip-pool', 'x')).toMatchObject({ code: 2, out: expect.stringContaining('--vip-pool') });
  });

  it('misses a Service only where there are others', async () => {
    expect((await validate(pinned)).code).toBe(0);
    expect(await validate(service.replace('web', 'other') + pinned)).toMatchObject({ code: 1, out: expect.stringContaining('[service-not-found]') });
  });
});
