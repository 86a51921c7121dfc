// What a request may say next, besides what is likely: the set of allowed tokens, and how it changes with each token said.

/** A place in a constrained answer. It never changes, so that a token tried and taken back leaves no trace. */
export interface TokenConstraint {
  /** [⌈vocab / 32⌉]: token t may come next iff bit t & 31 of word t >> 5 is set. At least one is, unless `ended`. */
  readonly allowed: Uint32Array;
  /** True when the answer is whole and nothing can follow. */
  readonly ended: boolean;
  /** The place behind a token that is allowed here. */
  after(token: number): TokenConstraint;
}

/**
 * Copies a row of logits with all tokens impossible that are not allowed.
 * @param into [vocab]
 */
export function maskedLogits(logits: Float32Array, allowed: Uint32Array, into: Float32Array): Float32Array {
  into.set(logits);
  let likely = false;
  for (let word = 0; word * 32 < logits.length; word++) {
    const bits = allowed[word]!;
    const end = Math.min(logits.length, word * 32 + 32);
    if (bits === 0) {
      into.fill(-Infinity, word * 32, end);
      continue;
    }
    for (let token = word * 32; token < end; token++) {
      if (((bits >>> (token & 31)) & 1) === 0) into[token] = -Infinity;
      else likely ||= logits[token] !== -Infinity;
    }
  }
  // What the model holds for impossible must still be said when nothing else is allowed.
  if (!likely) for (let token = 0; token < into.length; token++) if (isAllowed(allowed, token)) into[token] = 0;
  return into;
}

export const isAllowed = (allowed: Uint32Array, token: number): boolean =>
  ((allowed[token >> 5]! >>> (token & 31)) & 1) === 1;
