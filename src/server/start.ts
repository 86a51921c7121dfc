// Listens: the app on a socket, on the loopback address unless told otherwise, with an orderly end.
import { createServer, type ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type AppOptions, createApp } from './app.ts';
import { stopping } from './errors.ts';
import type { Library, OpenChat, Room } from './library.ts';
import { createModels } from './models.ts';
import { sendEvents } from './send-events.ts';

export interface StartOptions extends Omit<AppOptions, 'models' | 'draining' | 'stopping'> {
  readonly library: Library;
  /** `openChat` of engine/chat.ts, with the backend, threads and context length wanted. */
  readonly openChat: OpenChat;
  /** What memory has room for. Default: one model at a time. */
  readonly room?: Room;
  /** Default '127.0.0.1': this machine only. Any other address needs `keys`. */
  readonly host?: string;
  /** Default 8080; 0 takes a free one. */
  readonly port?: number;
  /** Id of the model to load at once. Without it the first request loads one, and `/health` is 503 until then. */
  readonly preload?: string;
  /** How long a client may take to send a request whole, ms; its headers at most 20,000. Default 60,000. */
  readonly receiveTimeoutMs?: number;
  /** Requests that may be answered or wait at once; more get 429. Default 256. */
  readonly maxRequests?: number;
}

export interface RunningServer {
  /** Where the page is, such as 'http://127.0.0.1:8080/'. */
  readonly url: string;
  readonly port: number;
  /** Refuses new requests, lets running answers end for so long (default 30,000 ms), then closes. */
  drain(graceMs?: number): Promise<void>;
  /** Ends running answers with an error, closes the connections and the model. Resolves when all is closed. */
  close(): Promise<void>;
}

/** How long a client may take to read the end of its answer when the server stops, ms. */
const CLOSE_GRACE_MS = 1000;

/** How long running answers may go on when the server drains, ms. */
const DRAIN_MS = 30_000;

/**
 * Starts the server and resolves when it listens.
 * @throws Error if the address cannot be had, is not this machine's alone and there are no keys, or `preload` names no model
 *   (ApiError).
 */
export async function startServer(options: StartOptions): Promise<RunningServer> {
  const {
    host = '127.0.0.1',
    port = 8080,
    library,
    openChat,
    preload,
    maxRequests,
    receiveTimeoutMs = 60_000,
  } = options;
  if (!options.keys?.length && !isLoopback(host))
    throw new Error(
      `Listening on ${host} gives the model to the network, and there are no API keys. Give keys (--keys FILE, or the ` +
        'environment variable MAVERICK_API_KEY), or listen on 127.0.0.1.',
    );
  const draining = new AbortController();
  const stop = new AbortController();
  const models = createModels({ library, openChat, maxRequests, ...(options.room && { room: options.room }) });
  const isAnyAddress = host === '0.0.0.0' || host === '::';
  const allowedHosts = [...(options.allowedHosts ?? []), isAnyAddress ? '*' : inUrl(host)];
  const app = createApp({ ...options, allowedHosts, models, draining: draining.signal, stopping: stop.signal });
  if (preload !== undefined) await models.find(preload);

  const listener = getRequestListener(
    async (request, env) => {
      const response = await app.fetch(request);
      return sendEvents(response, env.outgoing as ServerResponse) ? RESPONSE_ALREADY_SENT : response;
    },
    { overrideGlobalObjects: false }, // a library leaves its host's globals alone
  );
  const limits = {
    headersTimeout: Math.min(20_000, receiveTimeoutMs),
    requestTimeout: receiveTimeoutMs,
    connectionsCheckingInterval: Math.min(1000, receiveTimeoutMs),
    maxHeaderSize: 16_384,
  };
  const server = createServer(limits, (incoming, outgoing) => {
    if (!app.refuse(incoming, outgoing)) void listener(incoming, outgoing);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', error => reject(listenError(error, host, port)));
    server.listen(port, host, resolve);
  });
  const address = server.address();
  const actualPort = typeof address === 'object' && address ? address.port : port;
  if (preload !== undefined) await models.preload(preload);

  let answering = 0;
  let onIdle = () => {};
  server.on('request', (_request, response) => {
    answering++;
    response.once('close', () => {
      answering--;
      if (answering === 0) onIdle();
    });
  });

  let closing: Promise<void> | null = null;
  const close = async () => {
    draining.abort();
    stop.abort(stopping());
    const closed = new Promise<void>(resolve => server.close(() => resolve()));
    // A connection that a browser has opened ahead of need is not idle to Node, and would hold the server open.
    onIdle = () => server.closeAllConnections();
    if (answering === 0) onIdle();
    const timer = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
    await closed;
    clearTimeout(timer);
    await models[Symbol.asyncDispose]();
  };
  const closeOnce = () => {
    closing ??= close();
    return closing;
  };
  return {
    url: `http://${inUrl(isAnyAddress ? 'localhost' : host)}:${actualPort}/`,
    port: actualPort,
    async drain(graceMs = DRAIN_MS) {
      draining.abort();
      const idle = Promise.withResolvers<void>();
      onIdle = idle.resolve;
      const timer = setTimeout(idle.resolve, graceMs);
      if (answering > 0) await idle.promise;
      clearTimeout(timer);
      await closeOnce();
    },
    close: closeOnce,
  };
}

const isLoopback = (host: string): boolean => /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);

const inUrl = (host: string): string => (host.includes(':') && !host.startsWith('[') ? `[${host}]` : host);

function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const at = `${inUrl(host)}:${port}`;
  const why: Record<string, string> = {
    EADDRINUSE: `Port ${port} is taken on ${host}. Choose another port, or end the program that has it.`,
    EACCES: `This user may not listen on ${at}. Ports below 1024 usually need more rights; choose a higher one.`,
    EADDRNOTAVAIL: `This machine has no address ${host}. Use 127.0.0.1, or 0.0.0.0 for all of its addresses.`,
    ENOTFOUND: `The host name ${host} cannot be resolved. Use 127.0.0.1, or 0.0.0.0 for all addresses.`,
  };
  return new Error(why[error.code ?? ''] ?? `Cannot listen on ${at}: ${error.message}`, { cause: error });
}
