// The grammars of one engine's requests: made once, kept while they are used, the least recently used forgotten first.
import { createGrammar, type Grammar } from './grammar.ts';
import { GrammarError } from './grammar-error.ts';
import type { TokenConstraint } from './token-constraint.ts';
import { createTokenTrie, type TokenBytes, type TokenTrie } from './token-trie.ts';

/** So many with what is known of their states. One takes up to about 10 MB with a vocabulary of 200,000 when all is known. */
const MOST_GRAMMARS = 32;

export interface Grammars {
  /**
   * The beginning of a text of the grammar.
   * @throws GrammarError when it is none, or the engine has no token bytes
   */
  begin(grammar: string, stopTokens: Iterable<number>): TokenConstraint;
}

/**
 * @param tokenBytes null where the engine was opened without
 * @param vocab logits of a row; tokens beyond those that have bytes are never allowed
 */
export function createGrammars(tokenBytes: TokenBytes | null, vocab: number): Grammars {
  if (tokenBytes && tokenBytes.offsets.length - 1 > vocab)
    throw new RangeError(
      `tokenBytes: got ${tokenBytes.offsets.length - 1} tokens, wanted at most the model's ${vocab}; they are another model's.`,
    );
  const kept = new Map<string, Grammar>();
  let trie: TokenTrie | null = null;
  return {
    begin(text, stopTokens) {
      if (!tokenBytes)
        throw new GrammarError(
          'grammar',
          '',
          'this engine knows no bytes of tokens. Open it with tokenBytes, or use openChat, which does',
        );
      trie ??= createTokenTrie(tokenBytes, vocab);
      const grammar = kept.get(text) ?? createGrammar(text, trie);
      kept.delete(text);
      kept.set(text, grammar);
      if (kept.size > MOST_GRAMMARS) kept.delete(kept.keys().next().value!);
      return grammar.begin(stopTokens);
    },
  };
}
