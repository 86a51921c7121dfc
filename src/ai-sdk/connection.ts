// Requests to the server as the AI SDK wants them: its errors, and a stream's events one by one.
import { APICallError } from '@ai-sdk/provider';

export interface Connection {
  /** Ends with '/v1'. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: typeof globalThis.fetch;
}

interface Call {
  readonly path: string;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
}

/** @throws APICallError when the server cannot be reached or refuses; it says whether another try may help. */
export async function post(connection: Connection, { path, body, headers = {}, signal }: Call): Promise<Response> {
  const url = connection.url + path;
  const given = Object.entries({ ...connection.headers, ...headers }).filter(([, value]) => value !== undefined);
  let response: Response;
  try {
    response = await connection.fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(Object.fromEntries(given) as Record<string, string>) },
      body: JSON.stringify(body),
      signal,
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new APICallError({
      message: `open-maverick's server cannot be reached at ${url}. Is it running ('maverick serve')?`,
      url,
      requestBodyValues: body,
      cause,
      isRetryable: true,
    });
  }
  if (response.ok) return response;
  const text = await response.text();
  const data = parsed(text) as { error?: { message?: string } } | undefined;
  throw new APICallError({
    message: data?.error?.message ?? `The server answered ${response.status}.`,
    url,
    requestBodyValues: body,
    statusCode: response.status,
    responseHeaders: Object.fromEntries(response.headers),
    responseBody: text,
    data,
    // A context that is too long or a wrong parameter stays so; a full queue, a limit and a restart do not.
    isRetryable: response.status === 429 || response.status === 503,
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The JSON of a stream's events up to '[DONE]'. @throws Error with the server's words when it sends an error. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<unknown, void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const bytes of body) {
    const events = (rest + decoder.decode(bytes, { stream: true })).split('\n\n');
    rest = events.pop()!;
    for (const event of events) {
      const line = event.split('\n').find(line => line.startsWith('data: '));
      if (line === undefined) continue; // a comment
      const data = line.slice(6);
      if (data === '[DONE]') return;
      const value = JSON.parse(data) as { error?: { message?: string } };
      if (value.error) throw new Error(value.error.message ?? 'The server ended the answer with an error.');
      yield value;
    }
  }
  throw new Error('The answer broke off: the connection to the server was lost.');
}
