// POST /v1/embeddings: texts or tokens in, a vector for each out. Shape: OpenAI's; the vectors are the language model's own.
import { z } from 'zod';
import { sideBySide } from './answers.ts';
import { openai } from './dialect.ts';
import { endpoint, type ModelRequest } from './endpoint.ts';
import { modelField } from './generation-fields.ts';
import { integer, label, parse, wrongValue } from './parameters.ts';
import { type Prompt, preparePrompts, promptsField, promptsOf } from './prompts-field.ts';
import type { WireEmbeddings } from './wire.ts';

/** As OpenAI's. */
const MAX_INPUTS = 2048;

const formatError = "'float' or 'base64'";
const schema = z.strictObject({
  model: modelField,
  input: promptsField,
  encoding_format: z.enum(['float', 'base64'], { error: formatError }).nullish(),
  dimensions: integer(1, Number.MAX_SAFE_INTEGER),
  user: label(),
});

interface EmbeddingsRequest extends ModelRequest {
  readonly inputs: readonly Prompt[];
  readonly base64: boolean;
  readonly dimensions: number | null;
}

/** @throws ApiError 400 naming the parameter. */
function parseRequest(body: unknown): EmbeddingsRequest {
  const request = parse(schema, body);
  const inputs = promptsOf(request.input, 'input', MAX_INPUTS);
  const empty = inputs.indexOf('');
  if (empty >= 0) throw wrongValue(inputs.length === 1 ? 'input' : `input[${empty}]`, '', 'a text that is not empty');
  return {
    model: request.model,
    stream: false,
    inputs,
    base64: request.encoding_format === 'base64',
    dimensions: request.dimensions ?? null,
  };
}

export const embeddings = endpoint<EmbeddingsRequest>({
  path: '/v1/embeddings',
  summary: "Gives a vector for each text: the mean of the language model's last hidden states, scaled to length 1.",
  dialect: openai,
  schema,
  parse: parseRequest,
  async answer(chat, { model, inputs, base64, dimensions }, signal): Promise<WireEmbeddings> {
    const { dim } = chat.engine.info.config;
    if ((dimensions ?? dim) !== dim)
      throw wrongValue(
        'dimensions',
        dimensions,
        `left out, or ${dim}: these are the model's hidden states, which cannot be shortened`,
        'unsupported_parameter',
      );
    const prompts = await preparePrompts(chat, inputs, 'input', 0);
    const data: WireEmbeddings['data'][number][] = [];
    let promptTokens = 0;
    const sources = prompts.map(
      ({ tokens }, index) =>
        async function* (signal: AbortSignal) {
          yield { index, ...(await chat.embed(tokens, { signal })) };
        },
    );
    for await (const { index, vector, promptTokens: tokens } of sideBySide(sources, signal)) {
      promptTokens += tokens;
      const unit = toLengthOne(vector);
      data[index] = { object: 'embedding', index, embedding: base64 ? toBase64(unit) : Array.from(unit) };
    }
    const usage = { prompt_tokens: promptTokens, total_tokens: promptTokens };
    return { object: 'list', data, model, pooling: 'mean', usage };
  },
});

function toLengthOne(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, number) => sum + number * number, 0));
  return length > 0 ? vector.map(number => number / length) : vector;
}

/** 32-bit floats, little-endian, as OpenAI's clients ask for them. */
function toBase64(vector: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(vector.length * 4));
  vector.forEach((number, i) => {
    bytes.setFloat32(i * 4, number, true);
  });
  return Buffer.from(bytes.buffer).toString('base64');
}
