import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { findBinaries } from '../support/cluster/binaries.ts';
import { attachCluster, closeCluster, labName, openCluster } from '../support/cluster/cluster.ts';
import type { Cluster } from '../support/cluster/cluster.ts';
import { imageStore } from '../support/cluster/image-store.ts';
import { standardImages } from '../support/cluster/images.ts';
import { onehopImage } from '../support/cluster/onehop-image.ts';

const HELP = `npm run cluster -- COMMAND [--name NAME]: a real Kubernetes on this machine, in namespaces; root, or --nodes 0

  up [--nodes 3] [--fabric bgp|vxlan]  start it, or repair what a killed run left; --nodes 0: control plane on loopback
  down                                 end and remove it
  prepare                              only build what all clusters need and this machine lacks: programs, images
  image                                only build Onehop's image; prints the archive's path
  status                               nodes and pods, addresses, where the logs lie
  kubectl ARG...                       kubectl as administrator; its own flags too
  exec NODE|cp COMMAND...              run a command on a node (n1, n2, ...) or in the control plane's network (cp)
  load IMAGE                           an image onto all nodes: an OCI archive, or the name of an image that buildah has

Options stand before the words of kubectl and exec. --name (env ONEHOP_LAB, default lab): several clusters side by side.
`;

interface Options {
  readonly name: string;
  readonly nodes: number;
  readonly fabric: 'bgp' | 'vxlan';
}

type Command = (options: Options, words: readonly string[]) => Promise<number>;

const COMMANDS: Readonly<Record<string, Command>> = { up, down, prepare, image, status, kubectl, exec, load };

// `... | head -1`
process.stdout.on('error', () => {});
process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`cluster: ${error instanceof Error ? error.message : String(error)}\n`);
  return 3;
});

async function main(args: readonly string[]): Promise<number> {
  const { own, rest } = splitOptions(args);
  const { values } = parseArgs({
    args: own,
    options: {
      name: { type: 'string', default: labName() },
      nodes: { type: 'string', default: '3' },
      fabric: { type: 'string', default: 'bgp' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const [word = '', ...words] = rest;
  const command = COMMANDS[word];
  const { name, fabric } = values;
  const nodes = Number(values.nodes);
  if (values.help || command === undefined || (fabric !== 'bgp' && fabric !== 'vxlan') || !(nodes >= 0 && nodes <= 9)) {
    process.stderr.write(HELP);
    return values.help ? 0 : 2;
  }
  return command({ name, nodes, fabric }, words);
}

/** Options of this command stand before or right after its first word; all after `kubectl` and `exec` is theirs. */
function splitOptions(args: readonly string[]): { own: string[]; rest: readonly string[] } {
  const own: string[] = [];
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    const isOurs = rest.length === 0 || /^--(?:name|nodes|fabric|help)\b/.test(arg);
    const isTheirs = (rest[0] === 'kubectl' || rest[0] === 'exec') && (rest.length > 1 || !isOurs);
    if (!arg.startsWith('-') || isTheirs) rest.push(arg);
    else if (arg.includes('=') || ['--help', '-h'].includes(arg)) own.push(arg);
    else own.push(arg, args[++i] ?? '');
  }
  return { own, rest };
}

async function up(options: Options): Promise<number> {
  const startedAt = performance.now();
  const cluster = await openCluster(options);
  process.stdout.write(`cluster ${cluster.name} (${options.nodes} nodes, ${cluster.fabric}) is up after ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
  return describe(cluster);
}

async function down({ name }: Options): Promise<number> {
  const startedAt = performance.now();
  await closeCluster(name);
  process.stdout.write(`cluster ${name} is gone after ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
  return 0;
}

async function prepare(): Promise<number> {
  const startedAt = performance.now();
  await imageStore(await standardImages(await findBinaries()));
  await onehopImage();
  process.stdout.write(`all that clusters need is there after ${((performance.now() - startedAt) / 1000).toFixed(1)} s\n`);
  return 0;
}

async function image(): Promise<number> {
  process.stdout.write(`${await onehopImage()}\n`);
  return 0;
}

async function status({ name }: Options): Promise<number> {
  return describe(await attachCluster(name));
}

async function describe(cluster: Cluster): Promise<number> {
  process.stdout.write(`API server ${cluster.server}, KUBECONFIG=${cluster.kubeconfig}, logs ${cluster.folder}/logs\n`);
  return runInForeground(cluster.kubectlArgv(['get', 'nodes,pods', '--all-namespaces', '-o', 'wide']));
}

async function kubectl({ name }: Options, words: readonly string[]): Promise<number> {
  return runInForeground((await attachCluster(name)).kubectlArgv(words));
}

async function exec({ name }: Options, [place = '', ...words]: readonly string[]): Promise<number> {
  const cluster = await attachCluster(name);
  return runInForeground(place === 'cp' ? cluster.inside(words) : await cluster.node(place).inside(words));
}

async function load({ name }: Options, [wanted = '']: readonly string[]): Promise<number> {
  const cluster = await attachCluster(name);
  if (existsSync(wanted)) await cluster.load(wanted);
  else await cluster.loadFromBuildah(wanted);
  return 0;
}

async function runInForeground([program = '', ...args]: readonly string[]): Promise<number> {
  const child = spawn(program, args, { stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}
