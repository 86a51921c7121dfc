// The provider over a chat model in this process: the server's own routes without a socket, so that both say the same.
import type { ChatModel } from '../engine/chat-types.ts';
import { createApp } from '../server/app.ts';
import { createModels } from '../server/models.ts';
import { createOpenMaverick, type OpenMaverickProvider } from './provider.ts';

/**
 * @param chat of `openChat`; the caller closes it
 * @param modelId what `provider(modelId)` is asked for. Default 'local'.
 */
export function createLocalOpenMaverick(chat: ChatModel, modelId = 'local'): OpenMaverickProvider {
  const library = {
    list: async () => [{ id: modelId, path: chat.engine.info.path, bytes: chat.engine.info.weightBytes }],
  };
  const lent: ChatModel = {
    engine: chat.engine,
    tokenizer: chat.tokenizer,
    format: chat.format,
    chat: (messages, options) => chat.chat(messages, options),
    complete: (prompt, options) => chat.complete(prompt, options),
    embed: (input, options) => chat.embed(input, options),
    routing: (messages, options) => chat.routing(messages, options),
    async [Symbol.asyncDispose]() {}, // the caller's to close
  };
  const app = createApp({ models: createModels({ library, openChat: async () => lent }) });
  return createOpenMaverick({
    baseURL: 'http://localhost',
    fetch: async (input, init) => app.fetch(new Request(input, init)),
  });
}
