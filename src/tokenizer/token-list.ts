// A growing list of tokens: filling typed memory and copying once is several times faster than pushing to an array.

/** Integers kept between uses; longer lists give their memory back. */
const KEPT = 1 << 18;

export class TokenList {
  #ids = new Int32Array(1024);
  #length = 0;

  clear(): void {
    this.#length = 0;
  }

  push(id: number): void {
    if (this.#length === this.#ids.length) this.#grow(1);
    this.#ids[this.#length++] = id;
  }

  /** Appends source[start, start + count). */
  append(source: Int32Array, start: number, count: number): void {
    if (this.#length + count > this.#ids.length) this.#grow(count);
    const ids = this.#ids;
    let at = this.#length;
    for (let i = start; i < start + count; i++) ids[at++] = source[i]!;
    this.#length = at;
  }

  #grow(count: number): void {
    const grown = new Int32Array(Math.max(this.#ids.length * 2, this.#length + count));
    grown.set(this.#ids);
    this.#ids = grown;
  }

  /** The tokens as an array; the list is empty afterwards. */
  take(): number[] {
    const ids = this.#ids;
    const length = this.#length;
    const array = new Array<number>(length);
    for (let i = 0; i < length; i++) array[i] = ids[i]!;
    this.#length = 0;
    if (ids.length > KEPT) this.#ids = new Int32Array(1024);
    return array;
  }
}
