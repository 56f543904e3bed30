/** The Kubernetes object that a Problem is about. `namespace` is absent for cluster-scoped kinds. */
export interface ObjectRef {
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
}

/** Where an object was read: a file of the folder source and the line (1-based) of the object or field. */
export interface Origin {
  readonly file: string;
  readonly line?: number;
}

/**
 * Something wrong with one object. It never stops the build and never touches another object.
 * `code` is stable (kebab-case, used in metrics and conditions); `message` and `remedy` are one line each,
 * printable and bounded: build them with {@link problem}.
 */
export interface Problem {
  readonly code: string;
  readonly severity: 'error' | 'warning';
  readonly object: ObjectRef;
  /** Path inside the object, as kubectl explains it: `spec.to[0].balance.rule`. */
  readonly field?: string;
  readonly message: string;
  /** What the reader can do about it, an imperative sentence. */
  readonly remedy: string;
  readonly origin?: Origin;
}

const MAX_TEXT = 300;

/**
 * Makes tenant text safe to show: one line, printable ASCII (others as `\u{hex}`), at most `limit` characters.
 * Whatever comes from an object passes through here before it reaches a log line, a message or a page.
 */
export function printable(text: string, limit = MAX_TEXT): string {
  let shown = '';
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    shown += code >= 0x20 && code < 0x7f ? char : `\\u{${code.toString(16)}}`;
    if (shown.length > limit) return `${shown.slice(0, limit - 3)}...`;
  }
  return shown;
}

/** Builds a Problem whose texts are printable and bounded. Severity is `error` unless given. */
export function problem(
  from: Omit<Problem, 'severity' | 'field' | 'origin'> & {
    readonly severity?: Problem['severity'];
    readonly field?: string | undefined;
    readonly origin?: Origin | undefined;
  },
): Problem {
  const { kind, namespace, name } = from.object;
  return {
    code: from.code,
    severity: from.severity ?? 'error',
    object: {
      kind: printable(kind, 64),
      ...(namespace === undefined ? {} : { namespace: printable(namespace, 64) }),
      name: printable(name, 128),
    },
    ...(from.field === undefined ? {} : { field: printable(from.field, 200) }),
    message: printable(from.message),
    remedy: printable(from.remedy),
    ...(from.origin === undefined ? {} : { origin: from.origin }),
  };
}

/** One line for people: `file:line: ServiceRoute shop/cart spec.to[0]: message; remedy`. */
export function problemLine(p: Problem): string {
  const where = p.origin === undefined ? '' : `${printable(p.origin.file, 200)}${p.origin.line === undefined ? '' : `:${p.origin.line}`}: `;
  const name = p.object.namespace === undefined ? p.object.name : `${p.object.namespace}/${p.object.name}`;
  const field = p.field === undefined ? '' : ` ${p.field}`;
  // A file that is at fault itself stands in front already.
  const object = p.object.kind === 'File' && where !== '' ? '' : `${p.object.kind} ${name}${field}: `;
  return `${where}${object}${p.message} [${p.code}]; ${p.remedy}`;
}
