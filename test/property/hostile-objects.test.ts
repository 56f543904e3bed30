import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { valueAt } from '../../src/kube/field-path.ts';
import { parseObject } from '../../src/kube/parse-object.ts';
import { EVIL, HOSTILE_TEXTS, fieldName, recordReads, schemaTextFields, textFields, VICTIM, withText } from '../support/hostile/hostile-objects.ts';
import type { RawObject, TextField } from '../support/hostile/hostile-objects.ts';
import { findHarm } from '../support/hostile/expect-inert.ts';
import { playObjects, renderMetrics } from '../support/hostile/play-objects.ts';
import type { Played } from '../support/hostile/play-objects.ts';
import { parseContext } from '../support/kube-parse.ts';

/** Which text stands in which field of which object. */
interface Attack {
  readonly object: RawObject;
  readonly field: TextField;
}

const EVERYTHING = Object.values(EVIL).flat();
/** The first of each name: the second objects are there for fields that the first ones hide. */
const GOOD = EVERYTHING.filter((object, i) => EVERYTHING.findIndex((other) => keyOf(other) === keyOf(object)) === i);
const ATTACKS: readonly Attack[] = EVERYTHING.flatMap((object) => textFields(object).map((field) => ({ object, field })));
const nameOf = ({ object, field }: Attack): string => `${object.kind} ${fieldName(field.path)}${field.key === true ? ' (the key)' : ''}`;
/** Lists and second objects repeat fields; where it matters what else stands beside it, the field is attacked in both. */
const DISTINCT = ATTACKS.filter((one, i) => /spec\.(?:rule|to)/.test(nameOf(one)) || ATTACKS.findIndex((other) => nameOf(other) === nameOf(one)) === i);

function keyOf({ kind, metadata }: RawObject): string {
  return `${kind} ${(metadata as { name: string }).name}`;
}

const asJson = (objects: readonly unknown[]): string => JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects });

let before: Played;

/** The world with the text in that field, and everything else as it was. As JSON, or as YAML, which both say the same. */
function attack({ object, field }: Attack, text: string, as: 'json' | 'yaml'): Played {
  const hostile = withText(object, field, text);
  const others = GOOD.filter((other) => keyOf(other) !== keyOf(object));
  const file = as === 'json' ? (['b.json', JSON.stringify(hostile)] as const) : (['b.yaml', stringify(hostile)] as const);
  return playObjects([['a.json', asJson([...VICTIM, ...others])], file], before.ledger);
}

beforeAll(() => {
  before = playObjects([['a.json', asJson([...VICTIM, ...GOOD])]]);
});

describe('the cases', () => {
  it('begin from a world without a fault, in which every field counts', () => {
    expect(before.problemLines).toEqual([]);
    expect(before.table.routes.map(({ namespace, name, invalid, versions }) => [namespace, name, invalid, versions[0]?.active.length])).toEqual([
      ['evil', 'header', false, 1],
      ['evil', 'percent', false, 1],
      ['victim', 'shop', false, 1],
    ]);
  });

  it('have a hostile text for each text field of the CRD: a new field needs one, too', () => {
    const attacked = new Set(EVIL.ServiceRoute.flatMap((object) => textFields(object).map(({ path }) => fieldName(path))));
    expect(schemaTextFields().filter((field) => !attacked.has(field))).toEqual([]);
  });

  it('have a hostile text for each field that is read of any other object', () => {
    for (const [kind, objects] of Object.entries(EVIL)) {
      if (kind === 'ServiceRoute') continue;
      const there = new Set(objects.flatMap((object) => [...everyField(object)]));
      for (const object of objects) {
        const { value, asked } = recordReads(object);
        parseObject(value, parseContext, () => undefined);
        expect([...asked].filter((field) => !there.has(field)), `${kind}: fields that its parser reads and these cases lack`).toEqual([]);
      }
    }
  });
});

/** The ways of all fields of a value, whatever their type. */
function* everyField(value: unknown, path: readonly (string | number)[] = []): Generator<string> {
  if (path.length > 0) yield fieldName(path);
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) yield* everyField(inner, [...path, Array.isArray(value) ? Number(key) : key]);
}

describe('a hostile text in any field of any object', () => {
  it.each(Object.keys(EVIL))('%s: every text in every field', (kind) => {
    const harms: string[] = [];
    for (const [n, one] of DISTINCT.filter(({ object }) => object.kind === kind).entries()) {
      const good = String(valueAt(one.object, one.field.path));
      for (const [i, text] of HOSTILE_TEXTS.entries()) {
        // Alone, behind and before what was right, by turns: the random cases below mix them further.
        const form = text.length > 1_000 ? text : ([text, `${good}${text}`, `${text}${good}`][(i + n) % 3] ?? text);
        const harm = findHarm(attack(one, form, 'json'), before);
        if (harm !== undefined) harms.push(`${JSON.stringify(form.slice(0, 80))} in ${nameOf(one)}: ${harm}`);
      }
    }
    expect(harms).toEqual([]);
  }, 120_000);

  it('whatever the text, as JSON and as YAML', () => {
    const special = fc.constantFrom('\n', '\r', '\t', ' ', '#', "'", '"', '\\', '$', '{', '}', '%', '[', ']', '(', ')', '@', ',', ';', '<', '\u0000', '\ud800', '\u202e', 'a', '.', '|', '/');
    const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 80 }), fc.string({ unit: special, maxLength: 30 }), fc.tuple(fc.constantFrom(...HOSTILE_TEXTS.filter(({ length }) => length < 1000)), fc.string({ maxLength: 10 })).map((parts) => parts.join('')));
    fc.assert(
      fc.property(fc.constantFrom(...ATTACKS), text, fc.constantFrom('json' as const, 'yaml' as const), (one, hostile, as) => {
        expect(findHarm(attack(one, hostile, as), before)).toBeUndefined();
      }),
      { numRuns: 1000 },
    );
  }, 120_000);

  it('leaves the page of metrics in its form', async () => {
    const wrong: string[] = [];
    for (const one of DISTINCT.filter(({ object, field }) => object.kind === 'ServiceRoute' && /metadata\.name|rule|to\[\]\.name/.test(fieldName(field.path)))) {
      for (const text of HOSTILE_TEXTS.filter(({ length }) => length < 1000)) {
        for (const line of (await renderMetrics(attack(one, text, 'json'))).trimEnd().split('\n')) {
          if (!/^(?:# (?:HELP|TYPE) [\x20-\x7e]*|[a-z_]+(?:\{[\x20-\x7e]*\})? [-+0-9.eE]+|)$/.test(line)) wrong.push(`${nameOf(one)}: ${JSON.stringify(line)}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  }, 120_000);
});
