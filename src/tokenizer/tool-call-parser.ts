// Finds the calls of tools in what a model says, in every form that Llama 4 uses, while it is being said.
import type { CallableTool, ToolCallPiece } from './tool-call-events.ts';
import { type Reading, StreamedText } from './tool-call-input.ts';
import { readString, readValue, type WantedType, writeWord } from './tool-call-value.ts';

/** What may become a call is held back so far, and is text when it is longer. */
const MOST_HELD = 16_384;
const LONGEST_NAME = 256;
const PYTHON_START = '<|python_start|>';
const PYTHON_END = '<|python_end|>';
const TAG_END = '</function>';
/** Meta's tools whose calls are no functions of the caller's: `brave_search.call(query="…")`, and Python as it is. */
const BUILT_IN = ['brave_search', 'wolfram_alpha', 'photogen'];
const CODE = 'code_interpreter';

export interface ToolCallParser {
  /** Reads more of the text and gives what is certain by now. */
  push(text: string): ToolCallPiece[];
  /** Nothing more comes: gives the rest. */
  end(): ToolCallPiece[];
}

/**
 * Reads `{"name": …, "parameters" | "arguments": …}` alone or in a list, with or without `"type": "function"` and `"function"`
 * around it, `[f(a=1, b="x"), g()]`, `<function=f>{…}</function>`, and `<|python_start|>` blocks of these or of Python code, with
 * text anywhere between. Time is linear in the text, and no more than a few kilobytes of it are held back.
 * @param tools only these are called, and their schemas decide where quotes are in doubt; null takes every name for a tool's
 */
export const createToolCallParser = (tools: readonly CallableTool[] | null): ToolCallParser => new Parser(tools);

class Parser implements ToolCallParser {
  readonly #tools: ReadonlyMap<string, CallableTool> | null;
  readonly #input = new StreamedText();
  readonly #reading: Reading<void>;
  #pieces: ToolCallPiece[] = [];
  /** All before it was given out. */
  #given = 0;
  #mode: 'text' | 'held' | 'arguments' = 'text';
  #json = '';
  #index = -1;

  constructor(tools: readonly CallableTool[] | null) {
    this.#tools = tools && new Map(tools.map(tool => [tool.name, tool]));
    this.#reading = this.#read();
  }

  push(text: string): ToolCallPiece[] {
    this.#input.add(text, this.#given);
    this.#reading.next();
    return this.#flush();
  }

  end(): ToolCallPiece[] {
    this.#input.ended = true;
    this.#reading.next();
    return this.#flush();
  }

  #flush(): ToolCallPiece[] {
    if (this.#mode === 'text') this.#giveText();
    else if (this.#mode === 'arguments') this.#giveArguments();
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  #raw(): string {
    const raw = this.#input.slice(this.#given, this.#input.at);
    this.#given = this.#input.at;
    return raw;
  }

  #giveText(): void {
    const text = this.#raw();
    if (text === '') return;
    const last = this.#pieces.at(-1);
    if (last?.type === 'text') this.#pieces[this.#pieces.length - 1] = { type: 'text', text: last.text + text };
    else this.#pieces.push({ type: 'text', text });
  }

  #giveArguments(): void {
    const raw = this.#raw();
    if (raw !== '' || this.#json !== '')
      this.#pieces.push({ type: 'call-arguments', index: this.#index, delta: this.#json, raw });
    this.#json = '';
  }

  #start(name: string): void {
    this.#pieces.push({ type: 'call-start', index: ++this.#index, name, raw: this.#raw() });
    this.#mode = 'arguments';
    this.#input.limit = Infinity;
  }

  readonly #write = (json: string): void => {
    this.#json += json;
  };

  #finish(complete: boolean): true {
    this.#giveArguments();
    this.#pieces.push({ type: 'call-end', index: this.#index, complete });
    this.#hold();
    return true;
  }

  #frame(): true {
    this.#pieces.push({ type: 'frame', raw: this.#raw() });
    this.#hold();
    return true;
  }

  #hold(): void {
    this.#mode = 'held';
    this.#input.limit = this.#given + MOST_HELD;
  }

  #knows(name: string): boolean {
    return this.#tools?.has(name) ?? name !== '';
  }

  *#read(): Reading<void> {
    const input = this.#input;
    for (;;) {
      this.#mode = 'text';
      input.limit = Infinity;
      while ((yield* input.run(/[^{[<]*/y)) !== '');
      if ((yield* input.peek()) === '') return;
      this.#giveText();
      for (let found = true; found; ) {
        this.#hold();
        found = yield* this.#candidate();
        // Between calls stand white space, commas and semicolons; behind the last one they are text.
        if (found) while ((yield* input.run(/[\s,;]*/y)) !== '');
        found &&= /[{[<]/.test(yield* input.peek());
      }
      // Where nothing was read, the character begins no call.
      if (input.at === this.#given) input.at++;
      this.#giveText();
    }
  }

  /** True when a call, or a part around calls, was read. Else nothing was given out, and what was read is text. */
  *#candidate(): Reading<boolean> {
    const input = this.#input;
    const c = yield* input.peek();
    if (c === '{') return yield* this.#object();
    if (yield* input.take('[')) {
      yield* input.space();
      return (yield* input.peek()) === '{' ? yield* this.#objects() : yield* this.#list();
    }
    if (yield* input.take('<function=')) return yield* this.#tag();
    if (yield* input.take(PYTHON_START)) return yield* this.#block();
    return this.#index >= 0 && (yield* input.take(PYTHON_END)) ? this.#frame() : false;
  }

  /** `[{…}, {…}]`, behind the bracket. */
  *#objects(): Reading<boolean> {
    const input = this.#input;
    for (let first = true; ; first = false) {
      if ((yield* input.peek()) !== '{' || !(yield* this.#object())) return !first;
      yield* input.space();
      if (yield* input.take(']')) return this.#frame();
      if (!(yield* input.take(','))) return true;
      yield* input.space();
    }
  }

  /** `{"name": …, "parameters": {…}}`: a call where the arguments of a tool's name begin, or where it ends with a name. */
  *#object(): Reading<boolean> {
    const input = this.#input;
    let name: string | null = null;
    let early: string | null = null;
    let started = false;
    let first = true;
    input.at++;
    // A function may stand in an object of its own.
    for (let depth = 1; depth > 0; ) {
      yield* input.space();
      if (yield* input.take('}')) {
        depth--;
        first = false;
        continue;
      }
      if (!first && !(yield* input.take(','))) return started && this.#finish(false);
      first = false;
      yield* input.space();
      const key = yield* this.#string();
      yield* input.space();
      if (key === null || !(yield* input.take(':'))) return started && this.#finish(false);
      yield* input.space();
      const c = yield* input.peek();
      if (key === 'function' && c === '{' && depth === 1 && !started) {
        input.at++;
        depth++;
        first = true;
      } else if (key === 'name' || key === 'function') {
        const value = yield* this.#string();
        if (value === null || name !== null || !this.#knows(value)) return started && this.#finish(false);
        name = value;
      } else if ((key === 'parameters' || key === 'arguments') && name !== null && early === null && !started) {
        if (c !== '{' && c !== '"' && c !== 'n') return false;
        this.#start(name);
        started = true;
        if (!(yield* this.#arguments(name))) return this.#finish(false);
      } else if (started || ['type', 'id', 'index', 'parameters', 'arguments'].includes(key)) {
        const from = input.at;
        if (!(yield* readValue(input, () => {}))) return started && this.#finish(false);
        if (key !== 'parameters' && key !== 'arguments') continue;
        if (started || early !== null) return started && this.#finish(false);
        early = input.slice(from, input.at);
      } else return false;
    }
    if (started) return this.#finish(true);
    // Without arguments, only a known tool's name makes a call.
    if (name === null || (early === null && !this.#tools)) return false;
    this.#start(name);
    return this.#finish(this.#argumentsIn(early ?? '{}', name));
  }

  /** A string that is short enough for a name. */
  *#string(): Reading<string | null> {
    const c = yield* this.#input.peek();
    if (c !== '"' && c !== "'") return null;
    let json = '';
    const whole = yield* readString(this.#input, piece => {
      json += piece;
    });
    return whole && json.length <= LONGEST_NAME ? (JSON.parse(`"${json}"`) as string) : null;
  }

  /** An object, the same as JSON in a string, or null for none. */
  *#arguments(name: string): Reading<boolean> {
    const input = this.#input;
    const c = yield* input.peek();
    if (c === '{') return yield* readValue(input, this.#write, null, this.#types(name));
    let json = '';
    const whole = yield* readValue(input, piece => {
      json += piece;
    });
    return whole && this.#argumentsIn(json, name);
  }

  /** Arguments that are there as a whole. */
  #argumentsIn(text: string, name: string): boolean {
    if (text === 'null' || text === '""') {
      this.#write('{}');
      return true;
    }
    const inner = new StreamedText();
    inner.add(text[0] === '"' ? (JSON.parse(text) as string) : text, 0);
    inner.ended = true;
    inner.space().next();
    if (inner.peek().next().value !== '{') return false;
    return readValue(inner, this.#write, null, this.#types(name)).next().value === true;
  }

  /** `[f(a=1), g()]`, behind the bracket. */
  *#list(): Reading<boolean> {
    const input = this.#input;
    for (let first = true; ; first = false) {
      const name = yield* input.word(/[\w.-]*/y, LONGEST_NAME);
      if (!name || !this.#knows(name) || !(yield* input.take('(')) || !(yield* this.#call(name))) return !first;
      yield* input.space();
      const comma = yield* input.take(',');
      yield* input.space();
      if (yield* input.take(']')) return this.#frame();
      if (!comma) return true;
    }
  }

  /** `a=1, b="x")`, behind the parenthesis. Arguments without names have the schema's, in its order. */
  *#call(name: string): Reading<boolean> {
    const input = this.#input;
    const types = this.#types(name);
    const order = Object.keys(propertiesOf(this.#tools?.get(name)?.parameters));
    let started = false;
    for (let i = 0; ; i++) {
      yield* input.space();
      const close = yield* input.take(')');
      let key: string | null | undefined = order[i];
      let word: string | null = null;
      if (!close && /[\w+.-]/.test(yield* input.peek())) {
        word = yield* input.word(/[\w+.-]*/y, LONGEST_NAME);
        yield* input.space();
        if (yield* input.take('=')) {
          key = word;
          word = null;
        }
      }
      if (!started && !close && (!key || (word !== null && !this.#tools))) return false;
      if (!started) {
        this.#start(name);
        this.#write('{');
        started = true;
      }
      if (close) {
        this.#write('}');
        return this.#finish(true);
      }
      if (!key) return this.#finish(false);
      this.#write(`${i > 0 ? ',' : ''}${JSON.stringify(key)}:`);
      const type = types(key);
      const read: boolean =
        word === null ? yield* readValue(input, this.#write, type) : writeWord(word, this.#write, type);
      yield* input.space();
      if (!read || (!(yield* input.take(',')) && (yield* input.peek()) !== ')')) return this.#finish(false);
    }
  }

  /** `f>{…}</function>`, behind the equals sign. */
  *#tag(): Reading<boolean> {
    const input = this.#input;
    const name = yield* input.word(/[^>\s<]*/y, LONGEST_NAME);
    if (!name || !this.#knows(name) || !(yield* input.take('>'))) return false;
    yield* input.space();
    const empty = yield* input.startsWith(TAG_END);
    if (!empty && (yield* input.peek()) !== '{') return false;
    this.#start(name);
    if (empty) this.#write('{}');
    else if (!(yield* this.#arguments(name))) return this.#finish(false);
    yield* input.space();
    yield* input.take(TAG_END);
    return this.#finish(true);
  }

  /** `<|python_start|>…`, behind the marker: calls, or else code. */
  *#block(): Reading<boolean> {
    const input = this.#input;
    const start = input.at;
    yield* input.space();
    if (/[{[<]/.test(yield* input.peek())) {
      if (!(yield* input.startsWith(PYTHON_START)) && (yield* this.#candidate())) return true;
    } else if (yield* this.#bareCalls()) return true;
    if (this.#tools?.has(CODE) === false) return false;
    input.at = start;
    yield* this.#code();
    return true;
  }

  /** `f(a=1)` or `brave_search.call(query="…")`, one a line. */
  *#bareCalls(): Reading<boolean> {
    const input = this.#input;
    for (let first = true; ; first = false) {
      const word = yield* input.word(/[\w.-]*/y, LONGEST_NAME);
      const names = [word ?? '', word?.replace(/\.call$/, '') ?? ''];
      const name = names.find(known => (this.#tools ? this.#tools.has(known) : BUILT_IN.includes(known)));
      if (name === undefined || !(yield* input.take('(')) || !(yield* this.#call(name))) return !first;
      while ((yield* input.run(/[\s;,]*/y)) !== '');
    }
  }

  *#code(): Reading<void> {
    const input = this.#input;
    this.#start(CODE);
    this.#write('{"code":"');
    while (!(yield* input.take(PYTHON_END)) && (yield* input.peek()) !== '') {
      const code = (yield* input.run(/[^<]*/y)) || '<';
      if (code === '<') input.at++;
      // A character cut in two must not be escaped by halves.
      this.#write(code.replace(/[^ !#-[\]-\uffff]/g, c => JSON.stringify(c).slice(1, -1)));
    }
    this.#write('"}');
    this.#finish(true);
  }

  /** What the schema of a tool says of its arguments, as far as quotes are concerned. */
  #types(name: string): (key: string) => WantedType {
    const properties = propertiesOf(this.#tools?.get(name)?.parameters);
    return key => (Object.hasOwn(properties, key) ? wantedTypeOf(properties[key]) : null);
  }
}

function propertiesOf(schema: unknown): Readonly<Record<string, unknown>> {
  const properties = isObject(schema) ? schema.properties : null;
  return isObject(properties) ? properties : {};
}

/** A type that leaves no choice of quotes; null where the schema allows both, or says nothing. */
function wantedTypeOf(schema: unknown): WantedType {
  if (!isObject(schema)) return null;
  const types = new Set([schema.type].flat().filter(type => type !== 'null'));
  if (types.size === 0) return null;
  const only = (...wanted: string[]): boolean => [...types].every(type => wanted.includes(type as string));
  if (only('string')) return 'string';
  if (only('number', 'integer')) return 'number';
  return only('boolean') ? 'boolean' : null;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
