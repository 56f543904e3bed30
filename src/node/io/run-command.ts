import { execFile } from 'node:child_process';
import { CodedError, systemCode } from '../../model/coded-error.ts';
import { printable } from '../../model/problem.ts';

const LIMITS = { timeout: 5_000, maxBuffer: 64 * 1024 * 1024, encoding: 'utf8', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' } } as const;
const PACKAGES = { ip: 'iproute2', nft: 'nftables' } as const;

/**
 * Runs `ip` or `nft` with fixed arguments and resolves with what it printed.
 * @throws CodedError `command-missing`, `net-admin-missing` or `command-failed`
 */
export function runCommand(program: keyof typeof PACKAGES, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, [...args], LIMITS, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(asCommandError(program, args, error, stderr));
    });
    child.stdin?.on('error', () => {}); // the program ended before it read: its exit code says why
    child.stdin?.end(input);
  });
}

function asCommandError(program: keyof typeof PACKAGES, args: readonly string[], error: Error, stderr: string): CodedError {
  if (systemCode(error) === 'ENOENT') {
    return new CodedError({ code: 'command-missing', message: `'${program}' is not installed`, remedy: `install ${PACKAGES[program]}` }, error);
  }
  const command = [program, ...args].join(' ');
  if (/not permitted|permission denied/i.test(stderr)) {
    const remedy = 'give the process NET_ADMIN, or make the pool local yourself (docs/install.md) and start with --no-pool-route';
    return new CodedError({ code: 'net-admin-missing', message: `no permission for '${command}'`, remedy }, error);
  }
  const said = stderr.trim().split('\n')[0] || error.message;
  return new CodedError({ code: 'command-failed', message: printable(`'${command}' failed: ${said}`), remedy: 'run onehop doctor on this node' }, error);
}
