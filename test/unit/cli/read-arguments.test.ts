import { describe, expect, it } from 'vitest';
import { UsageError, type Terminal } from '../../../src/cli/command.ts';
import { isGiven, readArguments, readShared } from '../../../src/cli/read-arguments.ts';

const terminal = (env: Record<string, string> = {}): Terminal => ({ out: () => {}, err: () => {}, env, workingDirectory: '/here', hostname: 'n1', version: '0' });

describe('arguments of a command', () => {
  it('may stand in any order, with blank or =', () => {
    expect(readArguments(['a', '--json', '--from', 'b/x', '--zone=z', '-H', 'K: v', '--node-name', 'n2'], { json: { value: false }, from: { value: true }, header: { value: true, short: 'H' } })).toEqual({
      positionals: ['a'],
      own: { json: [''], from: ['b/x'], header: ['K: v'] },
      rest: ['--zone=z', '--node-name=n2'],
    });
  });

  it('want their values', () => {
    expect(() => readArguments(['--from'], { from: { value: true } })).toThrow(UsageError);
  });
});

describe("an agent's flag of a command", () => {
  it('is the flag, else its variable, else the default; an empty variable is absent', () => {
    expect(readShared('runDir', { 'run-dir': ['/a'] }, terminal({ ONEHOP_RUN_DIR: '/b' }))).toBe('/a');
    expect(readShared('runDir', {}, terminal({ ONEHOP_RUN_DIR: '/b' }))).toBe('/b');
    expect(readShared('runDir', {}, terminal({ ONEHOP_RUN_DIR: '' }))).toBe('/run/onehop');
    expect(readShared('globalNamespace', {}, terminal({ ONEHOP_GLOBAL_NAMESPACE: 'public' }))).toBe('public');
  });

  it('is parsed as the agent parses it', () => {
    expect(readShared('runDir', { 'run-dir': ['run'] }, terminal())).toBe('/here/run');
    expect(() => readShared('globalNamespace', { 'global-namespace': ['No_Name'] }, terminal())).toThrow(/^--global-namespace: 'No_Name' is not a namespace's name$/);
    expect(() => readShared('systemNamespace', {}, terminal({ ONEHOP_SYSTEM_NAMESPACE: 'No_Name' }))).toThrow(/^ONEHOP_SYSTEM_NAMESPACE: 'No_Name'/);
  });

  it('is given on the command line or by a variable that is not empty', () => {
    expect([isGiven('state-dir', ['--state-dir=/s'], terminal()), isGiven('state-dir', [], terminal({ ONEHOP_STATE_DIR: '/s' }))]).toEqual([true, true]);
    expect(isGiven('state-dir', ['--state-directory=/s'], terminal({ ONEHOP_STATE_DIR: '' }))).toBe(false);
  });
});
