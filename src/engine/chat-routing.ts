// Which experts an answer's tokens go to: the conversation is read once more, as it would be before the next question.
// Reading gives the routing that answering had, for a row of a pass does not depend on the rows beside it; and nothing need be kept.
import type { ChatFormat, Message } from '../tokenizer/tokenizer.ts';
import type { AnswerRouting } from './chat-types.ts';
import type { Engine, RowsOptions } from './types.ts';

/** @throws RangeError of a model without experts, or where the last message is no answer with text */
export async function routingOfAnswer(
  engine: Engine,
  format: ChatFormat,
  messages: readonly Message[],
  options: RowsOptions = {},
): Promise<AnswerRouting> {
  const last = messages.at(-1);
  if (last?.role !== 'assistant')
    throw new RangeError(
      `messages: got ${last ? `one of '${last.role}'` : 'none'} at the end, wanted the assistant's answer.`,
    );
  const before = format.encode(messages.slice(0, -1));
  const whole = format.encode(messages, { generationPrompt: false });
  // A template may write the header of a finished answer otherwise than the one that asks for an answer.
  let from = 0;
  while (from < before.length && before[from] === whole[from]) from++;
  const end = whole.findIndex((token, position) => position >= from && format.stopTokens.has(token));
  const tokens = whole.slice(0, end < 0 ? whole.length : end);
  if (from >= tokens.length)
    throw new RangeError('messages: got an answer without text at the end, wanted one with some.');
  const routing = await engine.routing(tokens, { ...options, from });
  return { tokens: tokens.slice(from), routing, promptTokens: tokens.length };
}
