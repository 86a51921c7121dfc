// The page's requests to the server it came from, and its errors in words.
import type { WireError, WireModel, WireModelList } from '../server/wire.ts';
import type { ChatBody, ChatChunk } from './chat-request.ts';
import { isRouting, type WireRouting, type WireRoutingRequest } from './routing.ts';
import { storedSettings } from './settings.ts';
import { sseEvents } from './sse.ts';

/** An error whose message can be shown as it is. */
export class RequestError extends Error {
  /** The server wants an API key, or another one. */
  readonly needsKey: boolean;
  constructor(message: string, needsKey = false) {
    super(message);
    this.needsKey = needsKey;
  }
}

const at = (path: string): URL => new URL(path, document.baseURI);

async function request(path: string, init: RequestInit): Promise<Response> {
  const { apiKey } = storedSettings();
  const headers = { ...init.headers, ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}) };
  let response: Response;
  try {
    response = await fetch(at(path), { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new RequestError('The server does not answer. Is it still running? Start it again with: maverick serve');
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => null)) as Partial<WireError> | null;
  throw new RequestError(
    body?.error?.message ?? `The server answered with status ${response.status}.`,
    response.status === 401,
  );
}

const post = (path: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
  request(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });

export async function fetchModels(): Promise<readonly WireModel[]> {
  const response = await request('v1/models', {});
  return ((await response.json()) as WireModelList).data;
}

/** Begins loading; the list of models tells how far it is. */
export async function loadModel(model: string): Promise<void> {
  await post('v1/models/load', { model });
}

/** Which experts read each token of the last message. */
export async function fetchRouting(body: WireRoutingRequest, signal: AbortSignal): Promise<WireRouting> {
  const response = await post('v1/routing', body, signal);
  const routing: unknown = await response.json();
  if (isRouting(routing)) return routing;
  throw new RequestError('The server told the routing in a form that this page does not know. Reload the page.');
}

/** The chunks of an answer as they come. @throws RequestError also for an error in the middle. */
export async function* streamChat(body: ChatBody, signal: AbortSignal): AsyncGenerator<ChatChunk, void> {
  const response = await post('v1/chat/completions', body, signal);
  let isComplete = false;
  try {
    for await (const data of sseEvents(response.body!)) {
      if (data === '[DONE]') {
        isComplete = true; // and read on to the end, so that the connection is not cut
        continue;
      }
      const value = JSON.parse(data) as ChatChunk | WireError;
      if ('error' in value) throw new RequestError(value.error.message);
      yield value;
    }
  } catch (error) {
    if (error instanceof RequestError || signal.aborted) throw error;
  }
  if (!isComplete) throw new RequestError('The connection to the server broke off in the middle of the answer.');
}
