// POST /v1/routing: which experts each token of an answer went to. Nothing is kept of answers: the conversation is read once more, and
// so everyone sees the routing of what they can say themselves.
import { z } from 'zod';
import type { Message } from '../tokenizer/tokenizer.ts';
import { checkRoom, countTokens } from './conversation.ts';
import { openai } from './dialect.ts';
import { endpoint, type ModelRequest } from './endpoint.ts';
import { modelField } from './generation-fields.ts';
import { textOf } from './logprobs.ts';
import { messagesField, toMessage } from './message-fields.ts';
import { parse, wrongValue } from './parameters.ts';
import type { WireRouting } from './wire.ts';

const schema = z.strictObject({ model: modelField, messages: messagesField });

interface RoutingRequest extends ModelRequest {
  readonly messages: readonly Message[];
}

export const routing = endpoint<RoutingRequest>({
  path: '/v1/routing',
  summary:
    "Reads a conversation that ends with the assistant's answer, and tells which experts the answer's tokens go to.",
  dialect: openai,
  schema,
  parse(body) {
    const { model, messages } = parse(schema, body);
    const last = messages.at(-1)!;
    if (last.role !== 'assistant')
      throw wrongValue(
        `messages[${messages.length - 1}].role`,
        last.role,
        "'assistant': the last message is the answer",
      );
    const read = messages.map(toMessage);
    if (read.at(-1)!.content === '')
      throw wrongValue(`messages[${messages.length - 1}].content`, '', 'a text that is not empty');
    return { model, stream: false, messages: read };
  },
  async answer(chat, { model, messages }, signal): Promise<WireRouting> {
    if (chat.engine.info.config.experts === 0)
      throw wrongValue(
        'model',
        model,
        'a model with experts: this one sends every token the same way',
        'unsupported_model',
      );
    // The answer's own tokens are among these: the context need not hold one more.
    checkRoom(chat, await countTokens(chat, { messages: messages.slice(0, -1), options: {} }), 'messages');
    const { tokens, routing } = await chat.routing(messages, { signal }).catch((error: unknown) => {
      if (error instanceof RangeError)
        throw wrongValue('messages', messages, `such that they can be read: ${error.message}`);
      throw error;
    });
    const { layers, experts, expertsPerToken, ids } = routing;
    const width = layers.length * expertsPerToken;
    return {
      object: 'routing',
      model,
      experts,
      experts_per_token: expertsPerToken,
      layers,
      tokens: tokens.map((token, at) => ({
        text: textOf(chat.tokenizer, token),
        experts: layers.map((_, layer) => {
          const from = at * width + layer * expertsPerToken;
          return Array.from(ids.subarray(from, from + expertsPerToken));
        }),
      })),
    };
  },
});
