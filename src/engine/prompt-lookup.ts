// Guesses at the next tokens from the request's own: where its last few tokens stood before, what followed then may follow again.
// Prompt-lookup decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding); who verifies the guesses keeps it exact.

/** Tokens that must agree before a guess is made, and those beyond which more agreement says nothing more. */
const LEAST_AGREEMENT = 2;
const MOST_AGREEMENT = 8;
/** How far back is looked: a step's search stays far cheaper than its pass. */
const WINDOW = 65536;
/** Passes without a guess after guesses that failed, at most. */
const LONGEST_PAUSE = 32;

/**
 * What followed the latest of the longest earlier stretches that end as the tokens end; empty where nothing does. A guess that
 * reaches the end goes on with itself, so that a repetition is guessed whole.
 * @param most tokens to guess, at most
 */
export function lookUp(tokens: readonly number[], most: number): number[] {
  const end = tokens.length;
  let agreement = LEAST_AGREEMENT - 1;
  let from = -1;
  for (let at = end - 1; at > Math.max(0, end - WINDOW) && agreement < MOST_AGREEMENT; at--) {
    let n = 0;
    while (n < MOST_AGREEMENT && n < at && tokens[at - 1 - n] === tokens[end - 1 - n]) n++;
    if (n > agreement) {
      agreement = n;
      from = at;
    }
  }
  const guess: number[] = [];
  if (from >= 0) for (let i = from; guess.length < most; i++) guess.push(i < end ? tokens[i]! : guess[i - end]!);
  return guess;
}

/** Guesses of one request. Each failure shortens the next guess, and repeated ones are paused for longer and longer. */
export class PromptLookup {
  readonly #most: number;
  #length: number;
  #pause = 0;
  #wait = 0;

  /** @param most tokens a guess may have, at least 1 */
  constructor(most: number) {
    this.#most = most;
    this.#length = Math.min(4, most);
  }

  /** A guess at what follows; at most `room` tokens. */
  draft(tokens: readonly number[], room: number): number[] {
    if (this.#wait > 0) {
      this.#wait--;
      return [];
    }
    return lookUp(tokens, Math.min(this.#length, room));
  }

  /** How many of a guess's tokens came true. */
  verified(drafted: number, accepted: number): void {
    if (accepted > 0) {
      this.#pause = 0;
      this.#length = accepted === drafted ? Math.min(this.#most, Math.max(this.#length, 2 * drafted)) : accepted + 1;
      this.#length = Math.min(this.#length, this.#most);
      return;
    }
    this.#length = Math.max(1, this.#length >> 1);
    this.#pause = Math.min(LONGEST_PAUSE, Math.max(1, 2 * this.#pause));
    this.#wait = this.#pause;
  }
}
