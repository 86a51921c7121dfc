// A provider of the AI SDK that speaks with `maverick serve` (any address, any fetch).
import { type LanguageModelV4, NoSuchModelError, type ProviderV4 } from '@ai-sdk/provider';
import { createEmbeddingModel } from './embedding-model.ts';
import { createLanguageModel } from './language-model.ts';

export interface OpenMaverickSettings {
  /** Where the server is, without '/v1'. Default 'http://127.0.0.1:8080'. */
  readonly baseURL?: string;
  /** Sent as a bearer token. */
  readonly apiKey?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: the global one. */
  readonly fetch?: typeof globalThis.fetch;
}

export interface OpenMaverickProvider extends ProviderV4 {
  /** A model of the server's library, by its id. */
  (modelId: string): LanguageModelV4;
}

/**
 * `providerOptions.openMaverick` of a call holds parameters of the server's chat completions that the AI SDK has no word for,
 * such as `min_p`, `repetition_penalty` or `logit_bias`.
 */
export function createOpenMaverick(settings: OpenMaverickSettings = {}): OpenMaverickProvider {
  const { baseURL = 'http://127.0.0.1:8080', apiKey, headers = {}, fetch = globalThis.fetch } = settings;
  const connection = {
    url: `${baseURL.replace(/\/+$/, '')}/v1`,
    headers: { ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }), ...headers },
    fetch,
  };
  const languageModel = (modelId: string) => createLanguageModel(modelId, connection);
  return Object.assign((modelId: string) => languageModel(modelId), {
    specificationVersion: 'v4' as const,
    languageModel,
    embeddingModel: (modelId: string) => createEmbeddingModel(modelId, connection),
    imageModel(modelId: string): never {
      const message = `open-maverick has no imageModel '${modelId}'.`;
      throw new NoSuchModelError({ modelId, modelType: 'imageModel', message });
    },
  });
}
