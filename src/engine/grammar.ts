// Follows a grammar byte by byte and says which tokens may come next. Places in a text are states of an automaton that is made
// as it is walked: each is a set of positions in the grammar with what has to follow them, and each is made once.
import { GrammarError } from './grammar-error.ts';
import {
  BRANCH,
  BYTE,
  CALL,
  compileGrammar,
  END,
  type GrammarProgram,
  MOST_EMPTY_REPETITIONS,
  REPEAT,
} from './grammar-program.ts';
import type { TokenConstraint } from './token-constraint.ts';
import { createTokenTrie, type TokenTrie } from './token-trie.ts';

/** What follows when a rule or a repetition's body ends: a node, or the same repetition for the nth time. Like ones are one. */
interface Frame {
  readonly id: number;
  readonly parent: Frame | null;
  readonly node: number;
  readonly count: number;
}

/** A set of positions, each at a byte to read. */
interface State {
  readonly nodes: readonly number[];
  readonly frames: readonly (Frame | null)[];
  /** The text may end here. */
  readonly whole: boolean;
  readonly key: string;
  /** Tokens that may follow, once known. */
  allowed: Uint32Array | null;
}

/** A grammar over a vocabulary; what it learns of its states it keeps for all who use it. */
export interface Grammar {
  /**
   * The place where a text begins.
   * @param stopTokens allowed where the text may end
   */
  begin(stopTokens: Iterable<number>): TokenConstraint;
}

/** More positions at once, and the grammar is too ambiguous to follow. */
const MOST_POSITIONS = 4096;
/** States kept, and lists of tokens kept with them. Beyond, all are forgotten and those needed are made again. */
const MOST_STATES = 8192;
const MOST_MASKS = 256;

/**
 * @param parameter what error messages call the grammar
 * @throws GrammarError when the text is no usable grammar
 */
export function createGrammar(text: string, trie: TokenTrie, parameter = 'grammar'): Grammar {
  const automaton = new Automaton(compileGrammar(text, parameter), trie, parameter);
  return {
    begin: stopTokens => new Place(automaton, automaton.start, [...stopTokens], false),
  };
}

/** Whether a text is one of a grammar. @throws GrammarError */
export function accepts(grammar: string, text: string): boolean {
  const automaton = new Automaton(
    compileGrammar(grammar),
    createTokenTrie({ bytes: new Uint8Array(), offsets: new Uint32Array(1) }),
    'grammar',
  );
  return automaton.follow(new TextEncoder().encode(text));
}

class Place implements TokenConstraint {
  readonly #automaton: Automaton;
  readonly #state: State;
  readonly #stops: readonly number[];
  readonly ended: boolean;
  #allowed: Uint32Array | null = null;

  constructor(automaton: Automaton, state: State, stops: readonly number[], stopped: boolean) {
    this.#automaton = automaton;
    this.#state = state;
    this.#stops = stops;
    this.ended = stopped || (state.whole && state.nodes.length === 0);
  }

  get allowed(): Uint32Array {
    this.#allowed ??= this.#automaton.allowed(this.#state, this.#stops);
    return this.#allowed;
  }

  after(token: number): TokenConstraint {
    if (this.#state.whole && this.#stops.includes(token))
      return new Place(this.#automaton, this.#state, this.#stops, true);
    return new Place(this.#automaton, this.#automaton.token(this.#state, token), this.#stops, false);
  }
}

const UNKNOWN = -1;
const NOWHERE = -2;

class Automaton {
  readonly start: State;
  readonly #program: GrammarProgram;
  readonly #trie: TokenTrie;
  readonly #parameter: string;
  readonly #frames = new Map<string, Frame>();
  #lastFrame = 0;
  /** States by their row in the table, and the rows by the states' keys. */
  #states: State[] = [];
  readonly #rows = new Map<string, number>();
  /** Where a row's state leads by class of byte: a row, UNKNOWN or NOWHERE. */
  #table = new Int32Array(0);
  #masks = 0;
  /** Rows on the way down the trie. */
  readonly #path: Int32Array;

  constructor(program: GrammarProgram, trie: TokenTrie, parameter: string) {
    this.#program = program;
    this.#trie = trie;
    this.#parameter = parameter;
    this.#path = new Int32Array(trie.deepest + 1);
    this.start = this.#close([[program.entry, null]]);
  }

  /** Where a token's bytes lead. */
  token(state: State, token: number): State {
    const { bytes, offsets } = this.#trie;
    const found =
      offsets[token] === offsets[token + 1]
        ? null
        : this.#walk(state, bytes.subarray(offsets[token], offsets[token + 1]));
    if (!found) throw new Error(`token ${token} is not allowed here`);
    return found;
  }

  /** Whether bytes are a whole text. */
  follow(bytes: Uint8Array): boolean {
    return this.#walk(this.start, bytes)?.whole ?? false;
  }

  #walk(from: State, bytes: Uint8Array): State | null {
    let row = this.#row(from);
    for (const byte of bytes) {
      this.#makeRoom([row]);
      row = this.#step(this.#path[0]!, byte);
      if (row < 0) return null;
    }
    return this.#states[row]!;
  }

  allowed(state: State, stops: readonly number[]): Uint32Array {
    if (!state.allowed) {
      const twin = this.#twin(state);
      twin.allowed ??= this.#mask(twin);
      state.allowed = twin.allowed;
    }
    const { whole } = state;
    if (whole && stops.length > 0) {
      const allowed = state.allowed.slice();
      for (const token of stops) allowed[token >> 5]! |= 1 << (token & 31);
      return allowed;
    }
    if (!whole && !state.allowed.some(bits => bits !== 0))
      throw new GrammarError(this.#parameter, '', 'no token of this vocabulary can continue the text here');
    return state.allowed;
  }

  /**
   * A state from which the same tokens are allowed, the same one for many: a counter so far from its bounds that no token reaches
   * them might as well stand elsewhere. Without it, every place in a string of limited length would be looked at anew.
   */
  #twin(state: State): State {
    const { kinds, b, c } = this.#program;
    const reach = this.#trie.deepest;
    const known = new Map<Frame, Frame>();
    const twinOf = (frame: Frame | null): Frame | null => {
      if (!frame) return null;
      let twin = known.get(frame);
      if (!twin) {
        const [fewest, most] = [b[frame.node]!, c[frame.node]!];
        let { count } = frame;
        // Parts that may be empty count without reading, but never so far.
        if (kinds[frame.node] === REPEAT && most > MOST_EMPTY_REPETITIONS && most - count > reach) {
          if (count >= fewest) count = Math.max(fewest, most - reach - 1);
          else if (fewest - count > reach) count = fewest - reach - 1;
        }
        twin = this.#frame(twinOf(frame.parent), frame.node, count);
        known.set(frame, twin);
      }
      return twin;
    };
    const nodes = this.#program.kinds.length;
    const positions = state.nodes.map((node, i) => {
      const frame = twinOf(state.frames[i]!);
      return { key: (frame?.id ?? 0) * nodes + node, node, frame };
    });
    return this.#state(positions, state.whole);
  }

  #mask(start: State): Uint32Array {
    if (++this.#masks > MOST_MASKS) {
      for (const state of this.#states) state.allowed = null;
      this.#masks = 1;
    }
    const { size, byte, depth, skip, first, tokens, vocab } = this.#trie;
    const { classOf, classes } = this.#program;
    const allowed = new Uint32Array(Math.ceil(vocab / 32));
    const path = this.#path;
    path[0] = this.#row(start);
    let table = this.#table;
    for (let node = 0; node < size; ) {
      const level = depth[node]!;
      let row = table[path[level]! * classes + classOf[byte[node]!]!]!;
      if (row === UNKNOWN) {
        this.#makeRoom(path.subarray(0, level + 1));
        row = this.#step(path[level]!, byte[node]!);
        table = this.#table;
      }
      if (row === NOWHERE) {
        node = skip[node]!;
        continue;
      }
      path[level + 1] = row;
      for (let i = first[node]!; i < first[node + 1]!; i++) allowed[tokens[i]! >> 5]! |= 1 << (tokens[i]! & 31);
      node++;
    }
    return allowed;
  }

  #step(from: number, byte: number): number {
    const at = from * this.#program.classes + this.#program.classOf[byte]!;
    if (this.#table[at] !== UNKNOWN) return this.#table[at]!;
    const { a, b, next } = this.#program;
    const { nodes, frames } = this.#states[from]!;
    const behind: [number, Frame | null][] = [];
    nodes.forEach((node, i) => {
      if (byte >= a[node]! && byte <= b[node]!) behind.push([next[node]!, frames[i]!]);
    });
    const state = this.#close(behind);
    const row = state.nodes.length > 0 || state.whole ? this.#row(state) : NOWHERE;
    this.#table[at] = row;
    return row;
  }

  /** The state of all bytes that can be read next from given nodes. */
  #close(open: [number, Frame | null][]): State {
    const { kinds, a, b, c, next, targets } = this.#program;
    const seen = new Set<number>();
    const positions: { key: number; node: number; frame: Frame | null }[] = [];
    let whole = false;
    for (let top = open.pop(); top; top = open.pop()) {
      const [node, frame] = top;
      const key = (frame?.id ?? 0) * kinds.length + node;
      if (seen.has(key)) continue;
      seen.add(key);
      if (seen.size > MOST_POSITIONS) throw this.#ambiguous();
      switch (kinds[node]) {
        case BYTE:
          positions.push({ key, node, frame });
          break;
        case BRANCH:
          for (const target of targets[node]!) open.push([target, frame]);
          break;
        case CALL:
          // What nothing follows within its rule returns where the rule returns.
          open.push([a[node]!, kinds[next[node]!] === END ? frame : this.#frame(frame, next[node]!, 0)]);
          break;
        case REPEAT:
          if (b[node] === 0) open.push([next[node]!, frame]);
          open.push([a[node]!, this.#frame(frame, node, 1)]);
          break;
        case END: {
          if (!frame) {
            whole = true;
            break;
          }
          const { parent, node: repeat, count } = frame;
          if (kinds[repeat] !== REPEAT) {
            open.push([repeat, parent]);
            break;
          }
          const [fewest, most] = [b[repeat]!, c[repeat]!];
          if (count >= fewest) open.push([next[repeat]!, parent]);
          // Without an upper bound, more than enough is enough.
          if (most < 0) open.push([a[repeat]!, this.#frame(parent, repeat, Math.min(count + 1, fewest))]);
          else if (count < most) open.push([a[repeat]!, this.#frame(parent, repeat, count + 1)]);
        }
      }
    }
    return this.#state(positions, whole);
  }

  /** The state of some positions; the one there is, if there is one. */
  #state(positions: { key: number; node: number; frame: Frame | null }[], whole: boolean): State {
    positions.sort((x, y) => x.key - y.key);
    const state = {
      nodes: positions.map(({ node }) => node),
      frames: positions.map(({ frame }) => frame),
      whole,
      key: `${whole ? 'w' : ''}${positions.map(({ key }) => key).join()}`,
      allowed: null,
    };
    return this.#states[this.#rows.get(state.key) ?? -1] ?? state;
  }

  /** The row of a state in the table. */
  #row(state: State): number {
    const known = this.#rows.get(state.key);
    if (known !== undefined) return known;
    const row = this.#states.push(state) - 1;
    this.#rows.set(state.key, row);
    const { classes } = this.#program;
    if ((row + 1) * classes > this.#table.length) {
      const grown = new Int32Array(Math.max(64, 2 * row) * classes).fill(UNKNOWN);
      grown.set(this.#table);
      this.#table = grown;
    }
    return row;
  }

  /** Forgets all states but those in hand when there are too many; `inHand` are the first rows of the path from then on. */
  #makeRoom(inHand: ArrayLike<number>): void {
    const states = Array.from(inHand, row => this.#states[row]!);
    if (this.#states.length >= MOST_STATES) {
      this.#states = [];
      this.#rows.clear();
      this.#frames.clear();
      this.#table = new Int32Array(0);
      this.#path.set(states.map(state => this.#row(state)));
    } else this.#path.set(inHand);
  }

  #frame(parent: Frame | null, node: number, count: number): Frame {
    const key = `${parent?.id ?? 0},${node},${count}`;
    let frame = this.#frames.get(key);
    if (!frame) {
      frame = { id: ++this.#lastFrame, parent, node, count };
      this.#frames.set(key, frame);
    }
    return frame;
  }

  #ambiguous(): GrammarError {
    return new GrammarError(
      this.#parameter,
      '',
      `it is too ambiguous: the text so far can be read in more than ${MOST_POSITIONS} ways. Let alternatives begin differently`,
    );
  }
}
