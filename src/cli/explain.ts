import { compileRegex } from '../embedded/compile-regex.ts';
import type { TableView } from '../desired/table-view.ts';
import { CodedError } from '../model/coded-error.ts';
import { objectKey } from '../model/names.ts';
import { printable, problemLine, type Problem } from '../model/problem.ts';
import { REFUSALS } from '../model/refusal.ts';
import { describeBreaker } from './describe-breaker.ts';
import { UsageError, type Command } from './command.ts';
import { breakerOf, describeServers, explainCall, type CallQuestion, type Explanation, type MatchPattern, type Outcome } from './explain-call.ts';
import { getFromAgent } from './io/admin-client.ts';
import { askDns } from './io/ask-dns.ts';
import { askAgent, judgeAlone, readToken } from './io/judge-token.ts';
import { lookUpHeaderMap } from './io/look-up-header-map.ts';
import { readDesired, viewOf } from './io/read-table-view.ts';
import { isGiven, readArguments, readShared, readSettings, refuseRest } from './read-arguments.ts';
import type { Settings } from '../settings/settings.ts';

export const explain: Command = {
  name: 'explain',
  summary: 'where a call goes, and why',
  help: `Usage: onehop explain URL|NAME [--from POD|IP|host] [-H 'Name: value']... [--token FILE|-] [--run-dir DIR]
       onehop explain URL|NAME --source dir:PATH [--node-name NAME] ...

Says what DNS answers, who the caller is, whether it may call, which version it reaches and why, and by which servers.
NAME is a route as callers write it (svc21, svc21.global, svc21.shop.route.internal), namespace/name, or a VIP.
Asks the agent on this node, or decides from a folder of Kubernetes YAML with --source (and the agent's other flags).

  --from WHO      namespace/pod, a pod's name, an address, or host (default: host, a process of the node)
  -H 'K: V'       a request header; may be repeated
  --token FILE|-  the token that the caller shows, in a file or on standard input
  --run-dir DIR   run folder of the agent that is asked (default /run/onehop, or ONEHOP_RUN_DIR)
  --json          the explanation as JSON

Exit codes: 0 the call is served, 1 it is refused, 2 wrong usage, 3 no agent answers, or a regular
expression that only HAProxy can match decides (regex-not-explained: try the call itself).
`,
  run: async (argv, terminal) => {
    const { positionals, own, rest } = readArguments(argv, {
      from: { value: true },
      header: { value: true, short: 'H' },
      token: { value: true },
      'run-dir': { value: true },
      json: { value: false },
    });
    const [target, extra] = positionals;
    if (target === undefined || extra !== undefined) throw new UsageError('give one URL or NAME');
    const question = parseQuestion(target, own['from']?.at(-1) ?? 'host', own['header'] ?? []);
    const fromFolder = rest.some((flag) => flag.startsWith('--source'));
    if (!fromFolder) refuseRest(rest);
    const runDir = readShared('runDir', own, terminal);
    const settings = fromFolder ? readSettings(rest, undefined, terminal) : undefined;
    const view = settings === undefined ? ((await getFromAgent(runDir, '/table')) as TableView) : await viewFolder(settings, terminal.version, isGiven('state-dir', rest, terminal));
    const place = own['token']?.at(-1);
    const token = place === undefined ? undefined : await readToken(place);
    const tokenVerdict = token === undefined ? undefined : await (settings === undefined ? askAgent(runDir, token) : judgeAlone(settings, view.table.tokenCodes, token));

    const result = explainCall(view, tokenVerdict === undefined ? question : { ...question, tokenVerdict }, matchLocally);
    if ('error' in result) throw new CodedError({ code: 'not-explained', message: result.error, remedy: 'mend the name or the caller', exitCode: 2 });
    const { explanation } = result;
    const dns = fromFolder ? undefined : await askDns(view.dnsListen, explanation.dnsName);
    const running = fromFolder || view.proxy !== 'haproxy' ? undefined : await lookUpHeaderMap(runDir, explanation.route, question.headers);
    const refused = notInEffect(view, explanation).length > 0 || explanation.outcomes.every(({ decision }) => decision.kind === 'refuse');
    if (own['json'] === undefined) terminal.out(renderExplanation(view, explanation, { dns, running, impliedPort: question.impliedPort }));
    else terminal.out(`${JSON.stringify({ ...explanation, dns, running }, null, 2)}\n`);
    return refused ? 1 : 0;
  },
};

const viewFolder = async (settings: Settings, version: string, useLedger: boolean): Promise<TableView> =>
  viewOf(settings, await readDesired(settings, version, useLedger));

/** PCREs that this process cannot match exactly are said to be so: better no answer than a wrong one. */
const matchLocally: MatchPattern = (pattern, value) => {
  const compiled = compileRegex(pattern);
  if ('test' in compiled) return compiled.test(value);
  throw new CodedError({
    code: 'regex-not-explained',
    message: `the pattern ${printable(pattern, 80)} can be matched by HAProxy alone: ${compiled.unsupported}`,
    remedy: 'try the call itself: curl -H ...',
  });
};

function parseQuestion(target: string, from: string, headerLines: readonly string[]): CallQuestion {
  const headers = new Map<string, string>();
  for (const line of headerLines) {
    const colon = line.indexOf(':');
    if (colon < 1) throw new UsageError(`-H '${line}' is not 'Name: value'`);
    headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  if (!target.includes('://')) {
    const port = /^([^[\]]*[^:[\]]):(\d{1,5})$/.exec(target);
    return port === null ? { host: target, from, headers } : { host: port[1] ?? '', port: Number(port[2]), from, headers };
  }
  if (!URL.canParse(target)) throw new UsageError(`'${target}' is not a URL`);
  const url = new URL(target);
  if (url.protocol !== 'http:') throw new UsageError(`${url.protocol}// is not explained; use http:// or a name`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { host, from, headers, ...(url.port === '' ? { impliedPort: 80 } : { port: Number(url.port) }) };
}

/** What the running parts say, beside what the rules say; undefined where they were not asked. */
interface Observed {
  readonly dns: string | undefined;
  readonly running: string | undefined;
  readonly impliedPort: number | undefined;
}

function renderExplanation(view: TableView, explanation: Explanation, observed: Observed): string {
  const { route, identity, steps, outcomes } = explanation;
  const caller = describeIdentity(identity);
  const lines = [
    `route     ${objectKey(route)} (${route.protocol}, port ${route.listen}), called by its ${explanation.arrivedOn === 'global' ? 'global' : 'own'} name`,
    ...(observed.impliedPort === undefined || observed.impliedPort === route.listen ? [] : [`port      the URL means port ${observed.impliedPort}, the route listens on ${route.listen}: write the port into the URL`]),
    `dns       ${explanation.dnsName} -> ${explanation.vip}${observed.dns === undefined ? '' : ` (the running server answers ${observed.dns})`}`,
    `caller    ${explanation.source}: ${caller}`,
    ...steps.filter((step) => step.rule !== 'route' && step.rule !== 'caller').map((step) => `${step.rule.padEnd(9)} ${step.passed ? 'passed' : 'refused'}: ${step.detail}`),
    ...route.versions.flatMap((version) => {
      const state = breakerOf(view, route, version);
      return state === undefined ? [] : [`breaker   ${version.name}: ${describeBreaker(state, version)}`];
    }),
    ...(route.log === undefined ? [] : [`log       ${route.log.mode === 'Errors' ? 'calls that fail' : `${route.log.percent}% of all calls`}`]),
    ...(observed.running === undefined ? [] : [`haproxy   ${observed.running}`]),
    ...view.applyProblems.filter(({ code }) => code === 'standing-in').map((one) => `proxy     ${problemLine(one)}`),
    ...outcomes.flatMap((outcome) => renderOutcome(outcome, outcomes.length > 1)),
    ...route.problems.map((one) => `problem   ${problemLine(one)}`),
    ...notInEffect(view, explanation).map((one) => `NOT SERVED AS ABOVE: ${problemLine(one)}`),
  ];
  return `${lines.join('\n')}\n`;
}

function describeIdentity(identity: Explanation['identity']): string {
  if (identity.kind === 'pod') return `pod ${identity.caller.namespace}/${identity.caller.pod}, ServiceAccount ${identity.caller.serviceAccount}`;
  if (identity.kind === 'account') return `ServiceAccount ${identity.namespace}/${identity.serviceAccount}, by its token`;
  return identity.kind === 'bad-token' ? 'nobody, for its token is not accepted' : identity.kind;
}

/** Why the running proxy does not serve this route as its rules say: the route was left out, or nothing could be applied on this node. */
const notInEffect = ({ applyProblems }: TableView, { route }: Explanation): readonly Problem[] =>
  applyProblems.filter(
    ({ object, severity }) => severity === 'error' && (object.kind === 'Node' || (object.name === route.name && object.namespace === route.namespace)),
  );

function renderOutcome({ share, decision }: Outcome, several: boolean): readonly string[] {
  const part = several ? `${share.toFixed(0)}%: ` : '';
  if (decision.kind === 'refuse') return [`answer    ${part}${decision.status ?? REFUSALS[decision.code].status} ${decision.code}: ${decision.reason}`];
  return [`answer    ${part}version ${decision.version.name}: ${decision.reason}`, ...describeServers(decision.version).map((server) => `            ${server}`)];
}
