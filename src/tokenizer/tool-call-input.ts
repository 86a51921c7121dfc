// A text that comes in pieces, read by generators that wait where it has not come yet.

/** Reading waits: resume when there is more, or when nothing more comes. */
export type Reading<T> = Generator<void, T, void>;

/** Positions count from the beginning of the text; what lies before `keep` is forgotten. */
export class StreamedText {
  /** The next character to read. */
  at = 0;
  /** Where the text ends for who reads it now. */
  limit = Infinity;
  ended = false;
  #held = '';
  #base = 0;

  /** @param keep the first position that may still be asked for */
  add(text: string, keep: number): void {
    this.#held = this.#held.slice(keep - this.#base) + text;
    this.#base = keep;
  }

  slice(from: number, to: number): string {
    return this.#held.slice(from - this.#base, to - this.#base);
  }

  /** The next character, '' at the end or the limit. */
  *peek(): Reading<string> {
    while (this.at - this.#base >= this.#held.length) {
      if (this.ended || this.at >= this.limit) return '';
      yield;
    }
    if (this.at >= this.limit) return '';
    return this.#held[this.at - this.#base]!;
  }

  /** Reads on as long as the characters are of a class (a sticky pattern that may match nothing), and gives those that are there. */
  *run(pattern: RegExp): Reading<string> {
    if ((yield* this.peek()) === '') return '';
    pattern.lastIndex = this.at - this.#base;
    const found = pattern.exec(this.#held)![0].slice(0, this.limit - this.at);
    this.at += found.length;
    return found;
  }

  /** All characters of a class; null when there are more than `most`. */
  *word(pattern: RegExp, most: number): Reading<string | null> {
    let word = '';
    for (;;) {
      const more = yield* this.run(pattern);
      if (more === '') return word;
      word += more;
      if (word.length > most) return null;
    }
  }

  /** Whether a text comes next; it is not read. */
  *startsWith(text: string): Reading<boolean> {
    for (let i = 0; i < text.length; i++) {
      while (this.at + i - this.#base >= this.#held.length) {
        if (this.ended) return false;
        yield;
      }
      if (this.#held[this.at + i - this.#base] !== text[i]) return false;
    }
    return true;
  }

  *take(text: string): Reading<boolean> {
    if (!(yield* this.startsWith(text))) return false;
    this.at += text.length;
    return true;
  }

  *space(): Reading<void> {
    while ((yield* this.run(/\s*/y)) !== '');
  }
}
