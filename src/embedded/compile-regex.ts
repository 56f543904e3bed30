import { WORD } from '../model/byte-set.ts';
import type { ByteSet } from '../model/byte-set.ts';
import { UnsupportedRegex, parseRegex } from './parse-regex.ts';
import type { Assertion, RegexNode } from './parse-regex.ts';

/** A pattern made ready: `test` says whether it is found in a value (one character per byte, as Node gives header values). */
export interface CompiledRegex {
  readonly test: (value: string) => boolean;
}

/** One step of the automaton; `next` are indexes of instructions. */
type Instruction =
  | { readonly kind: 'bytes'; readonly set: ByteSet; readonly next: number }
  | { readonly kind: 'assert'; readonly assertion: Assertion; readonly next: number }
  | { readonly kind: 'split'; next: readonly number[] }
  | { readonly kind: 'match' };

/** What stood before the current position; assertions depend on it. */
type Before = 'start' | 'word' | 'other';

/** A set of instructions reached at one position, and where each class of byte leads from it (filled in as it is needed). */
interface State {
  readonly before: Before;
  readonly threads: readonly number[];
  readonly after: (State | boolean | undefined)[];
}

const MAX_INSTRUCTIONS = 1000;
/** Bound of the memory that one pattern's cached states take (threads kept, all states together). */
const MAX_CACHED_THREADS = 10_000;
/**
 * Bound of the work that one value may cost beyond look-ups in cached states: about 5 ms. A value that needs more is no match, as with
 * the match limit of HAProxy's PCRE; only patterns made for it come near (`a[ab]{900}$` on random text; ordinary ones stay below 2,000).
 */
const MAX_STEPS = 50_000;

/**
 * Compiles a PCRE for matching in linear time: at most `instructions` steps per byte whatever the pattern, usually one table look-up.
 * Thompson's automaton, turned into a deterministic one state by state as values need them (Cox, "Regular Expression Matching Can Be
 * Simple And Fast"). Returns the reason, one printable line, when the pattern is not supported.
 */
export function compileRegex(pattern: string): CompiledRegex | { readonly unsupported: string } {
  try {
    const program: Instruction[] = [{ kind: 'match' }];
    const start = emit(program, parseRegex(pattern), 0);
    const automaton = new LazyAutomaton(program, start);
    return { test: (value) => automaton.test(value) };
  } catch (error) {
    if (error instanceof UnsupportedRegex) return { unsupported: error.message };
    throw error;
  }
}

function add(program: Instruction[], instruction: Instruction): number {
  if (program.length >= MAX_INSTRUCTIONS) throw new UnsupportedRegex(`the expression is too large (over ${MAX_INSTRUCTIONS} steps when its counted repeats are written out)`);
  return program.push(instruction) - 1;
}

/** Emits the code of `node`, which goes on at `next`; returns where it begins. Built from the end to the beginning. */
function emit(program: Instruction[], node: RegexNode, next: number): number {
  switch (node.kind) {
    case 'bytes':
      return add(program, { kind: 'bytes', set: node.set, next });
    case 'assert':
      return add(program, { kind: 'assert', assertion: node.assertion, next });
    case 'sequence':
      return node.parts.reduceRight((after, part) => emit(program, part, after), next);
    case 'choice':
      return add(program, { kind: 'split', next: node.options.map((option) => emit(program, option, next)) });
    case 'repeat':
      return emitRepeat(program, node, next);
  }
}

function emitRepeat(program: Instruction[], { part, min, max }: RegexNode & { readonly kind: 'repeat' }, next: number): number {
  let begin = next;
  if (max === Infinity) {
    const loop: Instruction = { kind: 'split', next: [] };
    begin = add(program, loop);
    loop.next = [emit(program, part, begin), next];
  } else {
    for (let i = min; i < max; i++) begin = add(program, { kind: 'split', next: [emit(program, part, begin), next] });
  }
  for (let i = 0; i < min; i++) begin = emit(program, part, begin);
  return begin;
}

class LazyAutomaton {
  readonly #program: readonly Instruction[];
  readonly #start: number;
  /** Bytes that no instruction tells apart share a class; the class after the last one is the end of the value. */
  readonly #classOf: Uint8Array;
  readonly #representative: number[] = [];
  readonly #seen: Uint32Array;
  #mark = 0;
  #steps = 0;
  #states = new Map<string, State>();
  #cachedThreads = 0;

  constructor(program: readonly Instruction[], start: number) {
    this.#program = program;
    this.#start = start;
    this.#seen = new Uint32Array(program.length);
    const sets = new Set([WORD, ...program.flatMap((step) => (step.kind === 'bytes' ? [step.set] : []))]);
    const classes = new Map<string, number>();
    this.#classOf = Uint8Array.from({ length: 256 }, (_, byte) => {
      const signature = [...sets].map((set) => set[byte]).join('');
      if (!classes.has(signature)) this.#representative.push(byte);
      const known = classes.get(signature) ?? classes.size;
      classes.set(signature, known);
      return known;
    });
  }

  test(value: string): boolean {
    let state = this.#state('start', []);
    const end = this.#representative.length;
    this.#steps = 0;
    for (let i = 0; i <= value.length; i++) {
      const byteClass = i === value.length ? end : (this.#classOf[value.charCodeAt(i) & 255] ?? 0);
      const after = state.after[byteClass] ?? this.#step(state, byteClass);
      if (after === undefined) return false;
      state.after[byteClass] = after;
      if (typeof after === 'boolean') return after;
      state = after;
    }
    return false;
  }

  /** The state with these threads, from the cache when it is known. The cache is emptied when it is full. */
  #state(before: Before, threads: readonly number[]): State {
    const key = `${before} ${threads.join(' ')}`;
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    if ((this.#cachedThreads += threads.length + 10) > MAX_CACHED_THREADS) {
      this.#states = new Map();
      this.#cachedThreads = 0;
    }
    const state: State = { before, threads, after: [] };
    this.#states.set(key, state);
    return state;
  }

  /**
   * Where `state` goes on a byte of that class: another state, or true (found) or false (the value ended without a
   * match); undefined when the value has cost too much.
   */
  #step(state: State, byteClass: number): State | boolean | undefined {
    const byte = this.#representative[byteClass];
    const reached = new Set<number>();
    // The beginning is added at every position: the expression is not anchored.
    const pending = [this.#start, ...state.threads];
    this.#mark++;
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      if (this.#seen[at] === this.#mark) continue;
      this.#seen[at] = this.#mark;
      if (++this.#steps > MAX_STEPS) return undefined;
      const step = this.#program[at];
      if (step === undefined || step.kind === 'match') return true;
      if (step.kind === 'split') pending.push(...step.next);
      else if (step.kind === 'bytes') {
        if (byte !== undefined && step.set[byte] === 1) reached.add(step.next);
      } else if (holds(step.assertion, state.before, byte)) pending.push(step.next);
    }
    if (byte === undefined) return false;
    return this.#state(WORD[byte] === 1 ? 'word' : 'other', [...reached].sort((a, b) => a - b));
  }
}

/** Whether an assertion holds between what stood before and the next byte (undefined: the end of the value). */
function holds(assertion: Assertion, before: Before, byte: number | undefined): boolean {
  const boundary = (before === 'word') !== (byte !== undefined && WORD[byte] === 1);
  switch (assertion) {
    case 'start':
      return before === 'start';
    case 'end':
      return byte === undefined;
    case 'word-boundary':
      return boundary;
    case 'not-word-boundary':
      return !boundary;
  }
}
