// POST /tokenize and /detokenize: text and conversations as the model's tokens, and back. Shapes: vLLM's.
import { z } from 'zod';
import type { Message } from '../tokenizer/tokenizer.ts';
import { checkLength, countTokens } from './conversation.ts';
import { openai } from './dialect.ts';
import { endpoint, type ModelRequest } from './endpoint.ts';
import { modelField } from './generation-fields.ts';
import { tokenText } from './logprobs.ts';
import { messagesField, toMessage } from './message-fields.ts';
import { boolean, parse, wrongValue } from './parameters.ts';

const tokenizeSchema = z.strictObject({
  model: modelField,
  prompt: z.string({ error: 'a string' }).nullish(),
  messages: messagesField.nullish(),
  add_special_tokens: boolean(),
  add_generation_prompt: boolean(),
  return_token_strs: boolean(),
});

interface TokenizeRequest extends ModelRequest {
  readonly input: string | readonly Message[];
  /** Of a text: put the model's first token in front. */
  readonly addBos: boolean;
  readonly generationPrompt: boolean;
  readonly texts: boolean;
}

export const tokenize = endpoint<TokenizeRequest>({
  path: '/tokenize',
  summary: "Gives a text's or a conversation's tokens.",
  dialect: openai,
  schema: tokenizeSchema,
  parse(body) {
    const request = parse(tokenizeSchema, body);
    const { prompt, messages } = request;
    if ((prompt == null) === (messages == null))
      throw wrongValue('prompt', prompt, "a string where there are no 'messages', and nothing beside them");
    return {
      model: request.model,
      stream: false,
      input: prompt ?? messages!.map(toMessage),
      addBos: request.add_special_tokens ?? true,
      generationPrompt: request.add_generation_prompt ?? true,
      texts: request.return_token_strs ?? false,
    };
  },
  async answer(chat, { input, addBos, generationPrompt, texts }) {
    const { tokenizer, format, engine } = chat;
    let tokens: readonly number[];
    if (typeof input === 'string') {
      await checkLength(chat, [input], 'prompt');
      tokens = [...(addBos && tokenizer.bos !== null ? [tokenizer.bos] : []), ...tokenizer.encode(input)];
    } else {
      await countTokens(chat, { messages: input, options: {} });
      tokens = format.encode(input, { generationPrompt });
    }
    return {
      count: tokens.length,
      max_model_len: engine.info.contextTokens,
      tokens,
      token_strs: texts ? tokens.map(token => tokenText(tokenizer.bytes(token))) : null,
    };
  },
});

const detokenizeSchema = z.strictObject({
  model: modelField,
  tokens: z.custom<readonly number[]>(Array.isArray, { error: 'an array of token ids' }).meta({
    type: 'array',
    items: { type: 'integer', minimum: 0 },
  }),
});

export const detokenize = endpoint<ModelRequest & { readonly tokens: readonly number[] }>({
  path: '/detokenize',
  summary: 'Gives the text that tokens stand for.',
  dialect: openai,
  schema: detokenizeSchema,
  parse: body => ({ ...parse(detokenizeSchema, body), stream: false }),
  async answer({ tokenizer }, { tokens }) {
    const wrong = tokens.findIndex(token => !Number.isInteger(token) || token < 0 || token >= tokenizer.vocabSize);
    if (wrong >= 0)
      throw wrongValue(`tokens[${wrong}]`, tokens[wrong], `a token id from 0 to ${tokenizer.vocabSize - 1}`);
    return { prompt: tokenizer.decode(tokens, { special: 'show' }) };
  },
});
