// The server as a function from a request to a response: routes, checks that come before them, and errors in words.
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import type { DestinationStream } from 'pino';
import { z } from 'zod';
import { type AccessOptions, createAccessCheck } from './access.ts';
import { createAnswering } from './answering.ts';
import { readJson } from './body.ts';
import { chatCompletions } from './chat-completions.ts';
import { completions } from './completions.ts';
import { dialectOf } from './dialect.ts';
import { embeddings } from './embeddings.ts';
import type { Endpoint } from './endpoint.ts';
import { ApiError, asApiError, stopping } from './errors.ts';
import { createExchange, type Exchange, type Observer, tokensOf } from './exchange.ts';
import { expertStats } from './experts.ts';
import { modelField } from './generation-fields.ts';
import { createKeyCheck, type KeyEntry } from './keys.ts';
import { countMessageTokens, messages } from './messages.ts';
import { createMetrics } from './metrics.ts';
import { healthOf, wireModel } from './model-routes.ts';
import type { Models } from './models.ts';
import { openApiDocument, type PlainRoute } from './openapi.ts';
import { BUILT_PAGE, pageFile } from './page.ts';
import { parse } from './parameters.ts';
import { createRateLimits } from './rate-limits.ts';
import { createRefusal, type Refusal } from './refusal.ts';
import { createRequestLog } from './request-log.ts';
import { createRequestScopes } from './request-scope.ts';
import { responses } from './responses.ts';
import { routing } from './routing.ts';
import { detokenize, tokenize } from './tokenize.ts';
import { createTracing } from './tracing.ts';

export interface AppOptions extends AccessOptions {
  readonly models: Models;
  /** Largest request body, bytes. Default 4 MiB. */
  readonly maxBodyBytes?: number;
  /** How long `/health` waits for the engine's answer, ms. Default 10,000. */
  readonly healthTimeoutMs?: number;
  /** Folder of the built page, ending with a slash. Default: dist/web. */
  readonly pageFolder?: URL;
  /** Aborted when the server is about to stop: running answers go on, and new requests are refused. */
  readonly draining?: AbortSignal;
  /** Aborted when the server stops: running answers end with an error. */
  readonly stopping?: AbortSignal;
  /** Who may use the API. Default: everyone who may reach the server. */
  readonly keys?: readonly KeyEntry[];
  /** Where a line a request is written, as JSON, without what was said. Default: nowhere. */
  readonly log?: DestinationStream;
  /** Measure the process itself too, for /metrics. Default false. */
  readonly processMetrics?: boolean;
  /** Told of every error that is the server's own fault (5xx), for a log. */
  readonly onError?: (error: unknown, request: { readonly method: string; readonly path: string }) => void;
}

/** What models answer. */
const ENDPOINTS: readonly Endpoint[] = [
  chatCompletions,
  completions,
  responses,
  messages,
  countMessageTokens,
  embeddings,
  routing,
  tokenize,
  detokenize,
];

const loadSchema = z.strictObject({ model: modelField });

const ROUTES: readonly PlainRoute[] = [
  { method: 'get', path: '/v1/models', summary: 'Lists the models of the library.' },
  { method: 'get', path: '/v1/models/{id}', summary: 'One model, its state and its facts.' },
  {
    method: 'post',
    path: '/v1/models/load',
    summary: 'Begins to load a model and answers at once.',
    schema: loadSchema,
  },
  {
    method: 'get',
    path: '/v1/experts',
    summary: 'What reading experts from disk costs, for models larger than memory.',
  },
  { method: 'get', path: '/health', summary: 'Whether an engine answers: 200, or 503.' },
  { method: 'get', path: '/openapi.json', summary: 'This document.' },
  { method: 'get', path: '/metrics', summary: "The server's measurements, for Prometheus.", type: 'text/plain' },
];

/** What wants a key, where there are keys: all but the page and /health. */
const isApi = (path: string): boolean =>
  path.startsWith('/v1/') || ['/tokenize', '/detokenize', '/metrics', '/openapi.json'].includes(path);

interface Context {
  Variables: { exchange: Exchange };
}

const tokensSpent = (exchange: Exchange): number => {
  const { prompt, answer } = tokensOf(exchange);
  return prompt + answer;
};

/** Of every response but those that say otherwise. */
const CACHE_CONTROL = 'no-store';

const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};

/** What answers requests. */
export type App = Hono<Context> & {
  /** For who has a socket: it may ask this first. */
  readonly refuse: Refusal;
};

/** The API and the page over a registry of models. Pure request to response: no socket is opened. */
export function createApp(options: AppOptions): App {
  const { models, maxBodyBytes = 4 * 1024 * 1024, healthTimeoutMs = 10_000, pageFolder = BUILT_PAGE } = options;
  const allow = createAccessCheck(options);
  const created = Math.floor(Date.now() / 1000);
  const app = new Hono<Context>();

  const checkKey = createKeyCheck(options.keys ?? []);
  const limits = createRateLimits();
  const metrics = createMetrics(models, { process: options.processMetrics });
  const observers: readonly Observer[] = [
    metrics,
    createTracing(),
    { end: exchange => limits.spend(exchange.key, tokensSpent(exchange)) },
    ...(options.log ? [createRequestLog(options.log)] : []),
  ];
  const end = (exchange: Exchange) => {
    for (const observer of observers) observer.end?.(exchange);
  };

  const report = (error: unknown, exchange: Exchange): ApiError => {
    const shown = asApiError(error);
    exchange.errorCode = shown.code;
    if (shown.status >= 500) {
      exchange.cause = error;
      options.onError?.(error, { method: exchange.method, path: exchange.route });
    }
    return shown;
  };
  app.onError((error, c) => {
    const shown = report(error, c.get('exchange'));
    return shown.toResponse(dialectOf(c.req.path).error(shown));
  });

  app.use(async (c, next) => {
    const exchange = createExchange(c.req.raw);
    c.set('exchange', exchange);
    for (const observer of observers) observer.begin?.(exchange);
    await next();
    c.res.headers.set('x-request-id', exchange.id);
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) c.res.headers.set(name, value);
    if (!c.res.headers.has('cache-control')) c.res.headers.set('cache-control', CACHE_CONTROL);
    if (exchange.open) return;
    exchange.status = c.res.status;
    end(exchange);
  });
  app.use(async (c, next) => {
    allow(c.req.header('host') ?? new URL(c.req.url).host, c.req.header('origin'));
    await next();
  });
  if (options.allowedOrigins?.length) app.use('/v1/*', cors({ origin: [...options.allowedOrigins] }));
  app.use(
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: () => {
        throw new ApiError(
          413,
          'body_too_large',
          `The body is larger than ${maxBodyBytes} bytes, the most this server takes.`,
        );
      },
    }),
  );

  app.use(async (c, next) => {
    if (isApi(c.req.path)) c.get('exchange').key = checkKey(c.req.raw.headers);
    await next();
  });

  const openScope = createRequestScopes(options.stopping);
  const answer = createAnswering({ models, observers, openScope, report, end });
  for (const endpoint of ENDPOINTS)
    app.post(endpoint.path, async c => {
      const exchange = c.get('exchange');
      exchange.route = endpoint.path;
      if (options.draining?.aborted) throw stopping();
      models.checkRoom(); // who is too many is told before the body is read
      const left = limits.admit(exchange.key);
      const request = endpoint.parse(await readJson(c.req.raw));
      const response = await answer(endpoint, request, c.req.raw.signal, exchange);
      for (const [name, value] of Object.entries(left)) response.headers.set(name, value);
      return response;
    });

  app.get('/v1/models', async c =>
    c.json({ object: 'list', data: (await models.list()).map(model => wireModel(model, created)) }),
  );

  app.post('/v1/models/load', async c => {
    const { model: id } = parse(loadSchema, await readJson(c.req.raw));
    await models.preload(id);
    return c.json(wireModel(await models.find(id), created), 202);
  });

  app.get('/v1/models/:id{.+}', async c => c.json(wireModel(await models.find(c.req.param('id')), created)));

  app.get('/v1/experts', async c => c.json(await expertStats(models)));

  app.get('/health', async c => {
    const health = await healthOf(models, healthTimeoutMs);
    if (options.draining?.aborted) return c.json({ ...health, status: 'unavailable' }, 503);
    return c.json(health, health.status === 'ok' ? 200 : 503);
  });

  const document = openApiDocument(ENDPOINTS, ROUTES);
  app.get('/openapi.json', c => c.json(document));

  app.get('/metrics', async c => c.body(await metrics.text(), 200, { 'content-type': metrics.contentType }));

  app.get('*', async (c, next) =>
    c.req.path.startsWith('/v1/') ? next() : ((await pageFile(c.req.path, pageFolder)) ?? next()),
  );

  app.notFound(c => {
    const { method, path } = c.req;
    const routes = app.routes.filter(route => route.method !== 'ALL' && route.path !== '/*');
    const same = routes.filter(route => route.path === path);
    const shown = path.length > 100 ? `${path.slice(0, 100)}…` : path;
    if (same.length > 0) {
      const methods = same.map(route => route.method).join(', ');
      throw new ApiError(405, 'method_not_allowed', `${shown} takes ${methods}; got ${method}.`, {
        headers: { allow: methods },
      });
    }
    const known = routes.map(route => `${route.method} ${route.path.replace('{.+}', '')}`).join(', ');
    throw new ApiError(404, 'not_found', `There is no ${method} ${shown} here. There are: ${known}.`);
  });

  const headers = { ...SECURITY_HEADERS, 'cache-control': CACHE_CONTROL };
  const { draining } = options;
  return Object.assign(app, {
    refuse: createRefusal({ models, endpoints: ENDPOINTS, allow, checkKey, draining, headers, end }),
  });
}
