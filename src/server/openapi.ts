// GET /openapi.json: what the API takes, written from the very schemas that check it, so that the two cannot differ.
// zod writes the JSON Schemas itself; a library that also replaces the router and the checks would bring its own errors.
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';

/** A route that no model answers. */
export interface PlainRoute {
  readonly method: 'get' | 'post';
  /** With parameters in braces. */
  readonly path: string;
  readonly summary: string;
  readonly schema?: z.ZodType;
  /** Of the answer; default application/json. */
  readonly type?: string;
}

const openaiError = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
});
const anthropicError = z.object({
  type: z.literal('error'),
  error: z.object({ type: z.string(), message: z.string() }),
});

const toSchema = (schema: z.ZodType): object => {
  const { $schema, ...written } = z.toJSONSchema(schema, {
    io: 'output', // of a check followed by a shape, the shape
    unrepresentable: 'any',
    override({ jsonSchema }) {
      for (const [name, property] of Object.entries(jsonSchema.properties ?? {}))
        if (typeof property === 'object' && 'unsupported' in property) delete jsonSchema.properties![name];
    },
  });
  return written;
};

const json = (schema: object) => ({ 'application/json': { schema } });
const isAnthropic = (path: string): boolean => path.startsWith('/v1/messages');

/** An OpenAPI 3.1 document. */
export function openApiDocument(endpoints: readonly Endpoint[], routes: readonly PlainRoute[]): object {
  const errorOf = (path: string) => ({
    description: 'An error, in words that name the parameter, what it got and what it wanted',
    content: json({ $ref: `#/components/schemas/${isAnthropic(path) ? 'AnthropicError' : 'Error'}` }),
  });
  const paths: Record<string, Record<string, object>> = {};
  const add = (path: string, method: string, operation: object) => {
    paths[path] = { ...paths[path], [method]: operation };
  };
  for (const { path, summary, schema } of endpoints) {
    const body = toSchema(schema) as { properties?: Record<string, unknown> };
    const streams = body.properties?.stream ? { 'text/event-stream': { schema: { type: 'string' } } } : {};
    add(path, 'post', {
      summary,
      operationId: nameOf(path),
      requestBody: { required: true, content: json(body) },
      responses: {
        200: { description: 'The answer', content: { ...json({ type: 'object' }), ...streams } },
        default: errorOf(path),
      },
    });
  }
  for (const { method, path, summary, schema, type = 'application/json' } of routes) {
    const names = [...path.matchAll(/\{(\w+)\}/g)].map(match => match[1]!);
    add(path, method, {
      summary,
      operationId: nameOf(`${method}${path}`),
      ...(names.length > 0 && {
        parameters: names.map(name => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
      }),
      ...(schema && { requestBody: { required: true, content: json(toSchema(schema)) } }),
      responses: {
        200: { description: 'The answer', content: { [type]: { schema: {} } } },
        default: errorOf(path),
      },
    });
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'open-maverick',
      version: '1',
      description: "The API of 'maverick serve': OpenAI's and Anthropic's shapes.",
    },
    paths,
    components: {
      schemas: { Error: toSchema(openaiError), AnthropicError: toSchema(anthropicError) },
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
      },
    },
    // None where the server has no keys.
    security: [{ bearer: [] }, { apiKey: [] }, {}],
  };
}

/** '/v1/chat/completions' is v1ChatCompletions. */
const nameOf = (path: string): string =>
  path
    .split(/[^a-zA-Z0-9]+/)
    .filter(Boolean)
    .map((word, i) => (i === 0 ? word : word[0]!.toUpperCase() + word.slice(1)))
    .join('');
