// An embedding model of the AI SDK (specification v4) over the server's embeddings.
import type { EmbeddingModelV4 } from '@ai-sdk/provider';
import type { WireEmbeddings } from '../server/wire.ts';
import { type Connection, post } from './connection.ts';

/** Texts of one request; the AI SDK splits what is more. */
const MOST_TEXTS = 256;

export const createEmbeddingModel = (modelId: string, connection: Connection): EmbeddingModelV4 => ({
  specificationVersion: 'v4',
  provider: 'open-maverick',
  modelId,
  maxEmbeddingsPerCall: MOST_TEXTS,
  supportsParallelCalls: true,

  async doEmbed({ values, dimensions, headers, abortSignal: signal, providerOptions }) {
    const body = {
      model: modelId,
      input: values,
      encoding_format: 'float',
      dimensions,
      ...providerOptions?.openMaverick,
    };
    const response = await post(connection, { path: '/embeddings', body, headers, signal });
    const answer = (await response.json()) as WireEmbeddings;
    return {
      embeddings: answer.data.map(({ embedding }) => embedding as number[]),
      usage: { tokens: answer.usage.prompt_tokens },
      response: { headers: Object.fromEntries(response.headers), body: answer },
      warnings: [],
    };
  },
});
