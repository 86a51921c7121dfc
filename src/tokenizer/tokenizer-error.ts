// What is thrown when vocabulary data cannot be used.

/** Names the field of the vocabulary data, what it got, what it wanted, and what to do next. */
export class TokenizerError extends Error {
  override readonly name = 'TokenizerError';
}
