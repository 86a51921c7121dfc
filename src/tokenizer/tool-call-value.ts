// Reads a value as models write them, in JSON or Python or between the two, and writes it as JSON while it comes.
import type { Reading, StreamedText } from './tool-call-input.ts';

/** What a schema wants of a value, where it says so. */
export type WantedType = 'string' | 'number' | 'boolean' | null;

const DEEPEST = 512;
/** A string longer than this is no number in quotes. */
const LONGEST_NUMBER = 40;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/;
const literals: Readonly<Record<string, string>> = {
  true: 'true',
  True: 'true',
  false: 'false',
  False: 'false',
  null: 'null',
  None: 'null',
};
const closers: Readonly<Record<string, string>> = { '{': '}', '[': ']', '(': ')' };
const pythonEscapes: Readonly<Record<string, string>> = { "'": "'", a: '\\u0007', v: '\\u000b', '\n': '' };

interface Open {
  readonly close: string;
  /** An object, of which a key or a value comes next. */
  readonly isObject: boolean;
  empty: boolean;
}

/**
 * One value. Strings may be in single, double or triple quotes, with the escapes of either language; tuples are lists; keys may
 * stand without quotes before `=`, commas behind the last item, and a single word without quotes is a string.
 * @param write takes JSON text, in pieces as they are certain
 * @param keyTypes what an object's own values should be; a number in quotes, or a string without, is then put right
 * @returns false when what comes is no value; what was written so far is then its beginning
 */
export function* readValue(
  input: StreamedText,
  write: (json: string) => void,
  wanted: WantedType = null,
  keyTypes: (key: string) => WantedType = () => null,
): Reading<boolean> {
  const open: Open[] = [];
  let type = wanted;
  for (;;) {
    // A value.
    yield* input.space();
    const c = yield* input.peek();
    if (c in closers) {
      if (open.length === DEEPEST) return false;
      input.at++;
      open.push({ close: closers[c]!, isObject: c === '{', empty: true });
      write(c === '{' ? '{' : '[');
    } else if (!(yield* readScalar(input, write, type))) return false;
    // What may follow it: closings, a comma, the next key.
    let opened = c in closers;
    for (;;) {
      const top = open.at(-1);
      if (!top) return true;
      yield* input.space();
      const begins = opened;
      opened = false;
      const comma = !begins && (yield* input.take(','));
      if (comma) yield* input.space();
      if (yield* input.take(top.close)) {
        write(top.isObject ? '}' : ']');
        open.pop();
        continue;
      }
      if (!begins && !comma) return false;
      if (!top.empty) write(',');
      top.empty = false;
      type = null;
      if (!top.isObject) break;
      const key = yield* readKey(input, write);
      if (key === null) return false;
      if (open.length === 1) type = keyTypes(key);
      break;
    }
  }
}

/** A key and its colon (or, as Meta's code writes it, equals sign). */
function* readKey(input: StreamedText, write: (json: string) => void): Reading<string | null> {
  let json = '';
  const c = yield* input.peek();
  if (c === '"' || c === "'") {
    const whole = yield* readString(input, piece => {
      json += piece;
    });
    if (!whole) return null;
    json = `"${json}"`;
  } else {
    const word = yield* input.word(/[\w.$-]*/y, 256);
    if (!word) return null;
    json = JSON.stringify(word);
  }
  yield* input.space();
  if (!(yield* input.take(':')) && !(yield* input.take('='))) return null;
  write(`${json}:`);
  return JSON.parse(json) as string;
}

function* readScalar(input: StreamedText, write: (json: string) => void, wanted: WantedType): Reading<boolean> {
  const c = yield* input.peek();
  if (c === '"' || c === "'") {
    if (wanted !== 'number' && wanted !== 'boolean') {
      write('"');
      const whole = yield* readString(input, write);
      if (whole) write('"');
      return whole;
    }
    // Held until it is clear that it is no number, or no truth value, in quotes.
    let held: string | null = '';
    const whole = yield* readString(input, piece => {
      if (held === null) write(piece);
      else if (held.length + piece.length > LONGEST_NUMBER) {
        write(`"${held}${piece}`);
        held = null;
      } else held += piece;
    });
    if (held !== null) {
      const bare = wanted === 'number' ? (NUMBER.test(held) ? held : null) : truthOf(held);
      write(whole ? (bare ?? `"${held}"`) : `"${held}`);
    } else if (whole) write('"');
    return whole;
  }
  const word = yield* input.word(/[\w+.$-]*/y, 1024);
  return word ? writeWord(word, write, wanted) : false;
}

/** A literal, a number, or a string without quotes; false when it is none. */
export function writeWord(word: string, write: (json: string) => void, wanted: WantedType): boolean {
  const literal = Object.hasOwn(literals, word) ? literals[word]! : numberOf(word);
  if (wanted === 'string' && literal !== 'null') write(JSON.stringify(word));
  else if (literal !== null) write(literal);
  else if (/^[A-Za-z_][\w-]*$/.test(word)) write(JSON.stringify(word));
  else return false;
  return true;
}

const truthOf = (text: string): string | null => (/^(true|false)$/i.test(text) ? text.toLowerCase() : null);

/** A number as JSON writes it; Python also has 1_000, .5, 5. and +1. */
function numberOf(word: string): string | null {
  if (NUMBER.test(word)) return word;
  if (!/^[-+]?(?:\d(?:_?\d)*)?\.?(?:\d(?:_?\d)*)?(?:[eE][-+]?\d+)?$/.test(word) || !/\d/.test(word)) return null;
  const plain = word
    .replaceAll('_', '')
    .replace(/^\+/, '')
    .replace(/^(-?)\./, '$10.')
    .replace(/\.(?!\d)/, '');
  return NUMBER.test(plain) ? plain : null;
}

/** A string in quotes, whose characters are written as JSON escapes them, without quotes. */
export function* readString(input: StreamedText, write: (json: string) => void): Reading<boolean> {
  const quote = yield* input.peek();
  const close = (yield* input.startsWith(quote.repeat(3))) ? quote.repeat(3) : quote;
  // An empty string and the beginning of another look alike: '' is followed by no third quote.
  input.at += close.length;
  for (;;) {
    // From the space on, without the backslash and the quotes.
    const plain = yield* input.run(quote === '"' ? /[ !#-[\]-\uffff]*/y : /[ !#-&(-[\]-\uffff]*/y);
    if (plain !== '') {
      write(plain);
      continue;
    }
    const c = yield* input.peek();
    if (c === '') return false;
    if (c === quote && (yield* input.take(close))) return true;
    input.at++;
    if (c !== '\\') {
      write(JSON.stringify(c).slice(1, -1)); // a line end as it is, or the other kind of quote
      continue;
    }
    const escaped = yield* readEscape(input);
    if (escaped === null) return false;
    write(escaped);
  }
}

/** What stands behind a backslash, as JSON. What is no escape in either language keeps its backslash, as in Python. */
function* readEscape(input: StreamedText): Reading<string | null> {
  const c = yield* input.peek();
  if (c === '') return null;
  if (c === 'u' || c === 'x' || c === 'U') {
    const digits = { u: 4, x: 2, U: 8 }[c];
    input.at++;
    let hex = '';
    for (let next = yield* input.peek(); hex.length < digits && /[0-9a-fA-F]/.test(next); next = yield* input.peek()) {
      hex += next;
      input.at++;
    }
    const code = Number.parseInt(hex, 16);
    if (hex.length < digits || code > 0x10ffff) return `\\\\${c}${hex}`;
    return digits === 4 ? `\\u${hex}` : JSON.stringify(String.fromCodePoint(code)).slice(1, -1);
  }
  input.at++;
  if ('"\\/bfnrt'.includes(c)) return `\\${c}`;
  if (Object.hasOwn(pythonEscapes, c)) return pythonEscapes[c]!;
  return `\\\\${c < ' ' ? JSON.stringify(c).slice(1, -1) : c}`;
}
