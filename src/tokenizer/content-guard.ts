// Keeps what people wrote from becoming special tokens when a template mixes it with the template's own special tokens.

/**
 * Breaks the texts of special tokens by a mark, a private-use character that is in no text at hand. The template renders the
 * marked texts, special tokens are looked for, and then {@link ContentGuard.unmark} takes the marks out again.
 */
export class ContentGuard {
  readonly #texts: readonly string[];
  readonly #firsts: ReadonlySet<string>;
  readonly #lasts: ReadonlySet<string>;
  readonly #longest: number;

  /** @param texts of special tokens; case is ignored, so that a template's `lower` cannot make one */
  constructor(texts: Iterable<string>) {
    this.#texts = [...texts].map(lower);
    this.#firsts = new Set(this.#texts.map(t => t[0]!));
    this.#lasts = new Set(this.#texts.map(t => t.at(-1)!));
    this.#longest = Math.max(0, ...this.#texts.map(t => t.length));
  }

  /**
   * A private-use character that is in none of the texts.
   * @throws RangeError when they use all 6,400 of them
   */
  static freeMark(texts: Iterable<string>): string {
    const used = new Set<string>();
    for (const text of texts) for (const [character] of text.matchAll(/[\ue000-\uf8ff]/g)) used.add(character);
    for (let c = 0xe000; c <= 0xf8ff; c++) if (!used.has(String.fromCharCode(c))) return String.fromCharCode(c);
    throw new RangeError('the conversation uses every private-use character from U+E000 to U+F8FF; leave one free');
  }

  /**
   * Marks whole special texts within the text, and parts of one at its ends, which the text around could complete. Everything
   * else stays as it is, so that a template may look into it.
   */
  mark(text: string, mark: string): string {
    const low = lower(text);
    const start = text.length - text.trimStart().length;
    const end = text.trimEnd().length;
    const cuts = new Set<number>();
    for (let i = 0; i < low.length; i++) {
      if (this.#firsts.has(low[i]!)) {
        const rest = end - i <= this.#longest ? low.slice(i, end) : null;
        if (this.#texts.some(t => low.startsWith(t, i) || (rest !== null && t.startsWith(rest)))) cuts.add(i + 1);
      }
      if (i >= start && i - start < this.#longest && this.#lasts.has(low[i]!)) {
        const head = low.slice(start, i + 1);
        if (this.#texts.some(t => t.endsWith(head))) cuts.add(i);
      }
    }
    return insert(
      text,
      [...cuts].sort((a, b) => a - b),
      mark,
    );
  }

  /** Marks after every character that could begin a special text and before every one that could end it. */
  markEverywhere(text: string, mark: string): string {
    const low = lower(text);
    const cuts: number[] = [];
    for (let i = 0; i < low.length; i++) {
      if (this.#lasts.has(low[i]!)) cuts.push(i);
      if (this.#firsts.has(low[i]!)) cuts.push(i + 1);
    }
    return insert(text, cuts, mark);
  }

  static unmark(text: string, mark: string): string {
    return text.replaceAll(mark, '');
  }
}

/** Lower case without changing the length. */
function lower(text: string): string {
  return text.replace(/[A-Z]/g, c => c.toLowerCase());
}

function insert(text: string, cuts: readonly number[], mark: string): string {
  let marked = '';
  let from = 0;
  for (const cut of cuts) {
    marked += text.slice(from, cut) + mark;
    from = cut;
  }
  return marked + text.slice(from);
}
