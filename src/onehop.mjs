#!/usr/bin/env node
// The command `onehop`. Plain JavaScript, so that an old Node gets a clear line instead of a syntax error.
const [major = 0] = process.versions.node.split('.').map(Number);
if (major < 24) {
  process.stderr.write(`onehop: Node ${process.versions.node} is too old, it needs 24 or newer; in a checkout 'npm ci' brings one for 'npx onehop'\n`);
  process.exit(3);
}
// In the image the code is compiled: main.js stands where main.ts stands in a checkout.
const compiled = new URL('./main.js', import.meta.url);
const { existsSync } = await import('node:fs');
await import(existsSync(compiled) ? compiled.href : new URL('./main.ts', import.meta.url).href);
