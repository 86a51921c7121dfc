// OpenTelemetry spans of requests to models, with the names of its GenAI conventions. Only the API is used: without an SDK in the
// program they are nothing. Never what was said.
import {
  context,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { type Exchange, type Observer, tokensOf } from './exchange.ts';

const OPERATIONS: Readonly<Record<string, string>> = {
  '/v1/chat/completions': 'chat',
  '/v1/responses': 'chat',
  '/v1/messages': 'chat',
  '/v1/completions': 'text_completion',
  '/v1/embeddings': 'embeddings',
};

const headersGetter: TextMapGetter<Headers> = {
  keys: headers => [...headers.keys()],
  get: (headers, name) => headers.get(name) ?? undefined,
};

/** One span a request that a model answers, a child of what the client's `traceparent` names. */
export function createTracing(tracer: Tracer = trace.getTracer('open-maverick')): Observer {
  const spans = new WeakMap<Exchange, Span>();
  return {
    answering(exchange) {
      const operation = OPERATIONS[exchange.route];
      if (!operation) return;
      const parent = propagation.extract(context.active(), exchange.headers, headersGetter);
      const parameters = Object.entries(exchange.parameters).map(([name, value]) => [`gen_ai.request.${name}`, value]);
      const attributes = {
        'gen_ai.operation.name': operation,
        'gen_ai.provider.name': 'open_maverick',
        'gen_ai.request.model': exchange.model ?? '',
        'http.route': exchange.route,
        ...Object.fromEntries(parameters),
      };
      const name = `${operation} ${exchange.model}`;
      spans.set(exchange, tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, parent));
    },
    end(exchange) {
      const span = spans.get(exchange);
      if (!span) return;
      const { prompt, answer } = tokensOf(exchange);
      span.setAttributes({
        'gen_ai.response.model': exchange.model ?? '',
        'gen_ai.response.finish_reasons': exchange.generations.map(({ reason }) => reason),
        'gen_ai.usage.input_tokens': prompt,
        'gen_ai.usage.output_tokens': answer,
        'http.response.status_code': exchange.status,
      });
      if (exchange.firstTokenMs !== null)
        span.setAttribute('gen_ai.server.time_to_first_token', (exchange.firstTokenMs - exchange.startedMs) / 1000);
      if (exchange.errorCode !== null) {
        span.setAttribute('error.type', exchange.errorCode);
        if (exchange.status >= 500 || exchange.cause) span.setStatus({ code: SpanStatusCode.ERROR });
      }
      span.end();
    },
  };
}
