// Text on a terminal breaks between words, also while it is still being written.

/** East Asian wide characters and emoji take two columns (Unicode TR 11, in ranges that answers have). */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\p{Emoji_Presentation}\u{20000}-\u{3fffd}]/u;
const NOTHING = /[\p{Mn}\p{Me}\p{Cf}\p{Cc}]/u;
const JOINER = '\u200d';

/** Columns that a character takes. */
export const widthOf = (character: string): number => (NOTHING.test(character) ? 0 : WIDE.test(character) ? 2 : 1);

/**
 * Breaks lines of a text that comes in pieces. A word is shown as it comes; when it turns out to be too long for its line it is taken
 * back and written on the next. Code between fences is left as it is, and so is a word longer than a line.
 */
export class WordWrap {
  readonly #columns: () => number;
  /** Of the line so far, and of the word at its end. */
  #column = 0;
  #word = '';
  #wordWidth = 0;
  #line = '';
  #code = false;
  #last = '';

  /** @param columns of the terminal, now */
  constructor(columns: () => number) {
    this.#columns = columns;
  }

  /** What to write for more of the text. */
  push(text: string): string {
    let out = '';
    for (const character of text) {
      out += this.#next(character);
      this.#last = character;
    }
    return out;
  }

  #next(character: string): string {
    if (character === '\n') {
      if (/^ {0,3}(?:```|~~~)/.test(this.#line)) this.#code = !this.#code;
      this.#line = '';
      this.#begin(0);
      return character;
    }
    if (this.#line.length < 8) this.#line += character;
    if (this.#code) return character;
    // The last column stays free: behind it terminals differ in where the cursor is.
    const room = this.#columns() - 1;
    if (character === ' ' || character === '\t') {
      if (this.#column >= room) {
        this.#begin(0);
        return '\n';
      }
      this.#begin(this.#column + 1);
      return ' ';
    }
    const width = widthOf(character);
    if (width === 2) {
      // Breaks may be anywhere between these.
      const breaks = this.#column + width > room && this.#last !== JOINER;
      this.#begin((breaks ? 0 : this.#column) + width);
      return breaks ? `\n${character}` : character;
    }
    const taken = this.#column + width > room && this.#wordWidth + width <= room && this.#wordWidth < this.#column;
    const back = this.#wordWidth > 0 ? `\x1b[${this.#wordWidth}D\x1b[K` : '';
    const before = taken ? `${back}\n${this.#word}` : '';
    if (taken) this.#column = this.#wordWidth;
    this.#column += width;
    this.#word += character;
    this.#wordWidth += width;
    return before + character;
  }

  #begin(column: number): void {
    this.#column = column;
    this.#word = '';
    this.#wordWidth = 0;
  }
}

/** A whole text in lines of at most so many columns, as far as its words allow. */
export function wrapWords(text: string, columns: number): string {
  const lines = text.split('\n').map(line => {
    let column = 0;
    return line.replace(/(\s*)(\S+)/g, (all, space: string, word: string) => {
      const width = [...word].reduce((sum, character) => sum + widthOf(character), 0);
      const breaks = column > 0 && column + space.length + width > columns;
      column = breaks ? width : column + space.length + width;
      return breaks ? `\n${word}` : all;
    });
  });
  return lines.join('\n');
}
