// Whether guesses at what the next layer wants are worth reading: they are counted before they are trusted.

/** Recent guesses weigh more: this many ago, a guess counts about a third. */
const memory = 64;
/** A wrong guess costs a read, and the place of an expert that was wanted more. */
const leastRight = 1 / 2;

export class GuessTrust {
  /** All guesses that were judged, and the right ones. */
  guesses = 0;
  right = 0;
  private readonly open = new Set<number>();
  private rate = 0;

  guess(key: number): void {
    this.open.add(key);
  }

  /** What was wanted is known. */
  judge(wanted: (key: number) => boolean): void {
    for (const key of this.open) {
      const right = wanted(key);
      this.guesses++;
      if (right) this.right++;
      this.rate += (Number(right) - this.rate) / Math.min(memory, this.guesses);
    }
    this.open.clear();
  }

  /** As many guesses as it takes came true. */
  get deserved(): boolean {
    return this.guesses >= memory / 4 && this.rate >= leastRight;
  }
}
