#!/usr/bin/env node
const v: string = process.version; process.stdout.write(`${v} ${process.cwd()}\n`);
