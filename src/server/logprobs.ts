// Log-probabilities of tokens as OpenAI writes them, for chat (objects) and for completions (parallel arrays).
import type { TokenEvent } from '../engine/types.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { WireChatLogprobs, WireCompletionLogprobs, WireTokenLogprob } from './wire.ts';

/** A token of the prompt or of the answer; the first token of a prompt has no probability. */
export interface ScoredToken extends Omit<TokenEvent, 'logprob'> {
  readonly logprob: number | null;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// JSON has no infinity; −9999 is what OpenAI sends for what cannot happen.
const finite = (logprob: number): number => (Number.isFinite(logprob) ? logprob : -9999);

/** The token's text; bytes that are no whole characters as `bytes:\xe2\x80`, so that different tokens stay different. */
export function tokenText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return `bytes:${Array.from(bytes, byte => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
  }
}

/** A token's bytes; a model may have more rows than its tokenizer has tokens. */
const bytesOf = (tokenizer: Tokenizer, token: number): Uint8Array =>
  token < tokenizer.vocabSize ? tokenizer.bytes(token) : new TextEncoder().encode(`<|${token}|>`);

export const textOf = (tokenizer: Tokenizer, token: number): string => tokenText(bytesOf(tokenizer, token));

/** One entry a token, with its bytes. */
export function chatLogprobs(tokenizer: Tokenizer, tokens: readonly TokenEvent[]): WireChatLogprobs {
  const entry = (token: number, logprob: number): WireTokenLogprob => {
    const bytes = bytesOf(tokenizer, token);
    return { token: tokenText(bytes), logprob: finite(logprob), bytes: Array.from(bytes) };
  };
  return {
    content: tokens.map(({ token, logprob, topLogprobs }) => ({
      ...entry(token, logprob),
      top_logprobs: topLogprobs.map(top => entry(top.token, top.logprob)),
    })),
    refusal: null,
  };
}

/** Writes the logprobs of one completion piece by piece: the text offsets go on from piece to piece. */
export function completionLogprobsWriter(
  tokenizer: Tokenizer,
  topLogprobs: number,
): (tokens: readonly ScoredToken[]) => WireCompletionLogprobs {
  const text = tokenizer.stream({ special: 'show' });
  let offset = 0;
  return tokens => ({
    tokens: tokens.map(({ token }) => textOf(tokenizer, token)),
    token_logprobs: tokens.map(({ logprob }) => (logprob === null ? null : finite(logprob))),
    top_logprobs:
      topLogprobs === 0
        ? null
        : tokens.map(({ token, logprob, topLogprobs }) =>
            logprob === null
              ? null
              : {
                  // The chosen token is always among them, as with OpenAI; of equal texts the likelier one stays.
                  [textOf(tokenizer, token)]: finite(logprob),
                  ...Object.fromEntries(
                    topLogprobs.toReversed().map(top => [textOf(tokenizer, top.token), finite(top.logprob)]),
                  ),
                },
          ),
    text_offset: tokens.map(({ token }) => {
      const at = offset;
      if (token < tokenizer.vocabSize) offset += text.push(token).length;
      return at;
    }),
  });
}

/** The `count` largest entries of a row of log-probabilities [vocab], the likeliest first. */
export function largest(row: Float32Array, count: number): { token: number; logprob: number }[] {
  const best: { token: number; logprob: number }[] = [];
  if (count === 0) return best;
  for (let token = 0; token < row.length; token++) {
    const logprob = row[token]!;
    if (best.length === count && logprob <= best[count - 1]!.logprob) continue;
    let at = best.length;
    while (at > 0 && best[at - 1]!.logprob < logprob) at--;
    best.splice(at, 0, { token, logprob });
    if (best.length > count) best.pop();
  }
  return best;
}
