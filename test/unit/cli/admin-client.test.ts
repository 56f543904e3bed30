import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { getFromAgent } from '../../../src/cli/io/admin-client.ts';

test('what an agent answers is shown printable and bounded', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'onehop-admin-'));
  const agent = createServer((_, response) => response.writeHead(503).end(`not yet\u001b[2J\n${'x'.repeat(5_000)}\n`));
  await new Promise<void>((resolve) => void agent.listen(join(folder, 'admin.sock'), resolve));
  try {
    await expect(getFromAgent(folder, '/table')).rejects.toMatchObject({ code: 'agent-refused', message: expect.stringMatching(/^the agent answered 503: not yet\\u\{1b\}\[2J\\u\{a\}x{200,280}\.\.\.$/) });
  } finally {
    agent.closeAllConnections();
    await new Promise((resolve) => void agent.close(resolve));
    rmSync(folder, { recursive: true });
  }
});
