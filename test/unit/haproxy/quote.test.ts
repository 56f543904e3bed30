import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { label, quote, quoteArgument } from '../../../src/haproxy/quote.ts';

const HOSTILE = ["it's", '"double"', 'a b', 'a # b', '$HOME ${HOME}', 'back\\slash\\', '%[src]', '`id`', '}{', '!if', "'", "''", '\\', "\\'", 'é☃'];

describe('quote', () => {
  it('leaves plain words as they are', () => {
    expect(quote('127.0.0.1:80')).toBe('127.0.0.1:80');
    expect(quote('shop.cart')).toBe('shop.cart');
  });
  it('replaces control characters: none ends a line', () => {
    expect(quote('a\nb\r\0\u007f')).toBe("'a?b???'");
  });
  it('survives HAProxy: hostile words reach the parser whole', () => {
    const dir = mkdtempSync(join(tmpdir(), 'onehop-quote-'));
    try {
      // An unknown keyword is repeated by HAProxy in its message: what it repeats is what it read.
      const lines = ['frontend f', ...HOSTILE.map((word) => `  ${quote(`x${word}`)} backend evil`)];
      writeFileSync(join(dir, 'haproxy.cfg'), `${lines.join('\n')}\n`);
      const message = (() => {
        try {
          return execFileSync('haproxy', ['-c', '-f', join(dir, 'haproxy.cfg')], { encoding: 'utf8', stdio: 'pipe' });
        } catch (error) {
          return (error as { stderr: string }).stderr;
        }
      })();
      for (const [index, word] of HOSTILE.entries()) expect(message).toContain(`haproxy.cfg:${index + 2}] : unknown keyword 'x${word}' in 'frontend' section`);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
  it('arguments are quoted once more', () => {
    expect(quoteArgument('x-version')).toBe('x-version');
    expect(quoteArgument('a"b\\c')).toBe('"a\\"b\\\\c"');
  });
});

describe('label', () => {
  it('keeps labels and never maps two names to one', () => {
    expect(label('cart-1')).toBe('cart-1');
    const names = ['a.b', 'a_2e_b', 'a b', 'a\nb', 'a#b', 'aéb'];
    expect(new Set(names.map(label)).size).toBe(names.length);
    for (const name of names) expect(label(name)).toMatch(/^[A-Za-z0-9_-]+$/);
  });
});
