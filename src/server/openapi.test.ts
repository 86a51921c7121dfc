// The API's document: what it says of a body is what the server does with it.
import { describe, expect, test } from 'vitest';
import { createApp } from './app.ts';
import { createFakeChat } from './fake-chat.cases.ts';
import { createModels } from './models.ts';

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly anyOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
}
interface Document {
  readonly openapi: string;
  readonly paths: Readonly<
    Record<string, { readonly post?: { requestBody?: { content: { 'application/json': { schema: Schema } } } } }>
  >;
}

const library = { list: async () => [{ id: 'tiny', path: 'tiny.gguf', bytes: 10 }] };
const app = createApp({ models: createModels({ library, openChat: async path => createFakeChat(path) }) });
const document = (await (await app.request('/openapi.json')).json()) as Document;
const bodies = Object.entries(document.paths).flatMap(([path, { post }]) =>
  post?.requestBody ? [[path, post.requestBody.content['application/json'].schema] as const] : [],
);
const post = async (path: string, body: object): Promise<{ status: number; param: unknown; message: string }> => {
  const headers = { 'content-type': 'application/json' };
  const response = await app.request(path, { method: 'POST', headers, body: JSON.stringify(body) });
  const { error } = (await response.json()) as { error?: { param?: unknown; message: string } };
  return { status: response.status, param: error?.param, message: error?.message ?? '' };
};

test('every route of the API is in it', () => {
  expect(document.openapi).toBe('3.1.0');
  const routes = app.routes.filter(route => route.method !== 'ALL' && route.path !== '/*');
  const names = routes.map(({ method, path }) => [method.toLowerCase(), path.replace(/:(\w+)\{.*\}/, '{$1}')] as const);
  for (const [method, path] of names) expect(document.paths[path]).toHaveProperty(method);
  expect(names).toHaveLength(Object.values(document.paths).flatMap(path => Object.keys(path)).length);
});

describe.each(bodies)('%s', (path, schema) => {
  test('what the document requires is required', async () => {
    expect(schema).toMatchObject({ type: 'object', additionalProperties: false });
    expect(schema.required).toContain('model');
    const { status, message } = await post(path, {});
    expect([status, message]).toMatchObject([400, expect.stringContaining("'model' is missing")]);
  });

  test('a parameter that is not in the document is refused, one that is and is no object is not unknown', async () => {
    expect((await post(path, { model: 'tiny', nonsense: 1 })).status).toBe(400);
    for (const name of Object.keys(schema.properties!)) {
      const { status, message } = await post(path, { model: 'tiny', [name]: { '': 0 } });
      expect(status).toBeLessThan(500);
      expect(message).not.toContain(`'${name}' is no parameter`);
      expect(message).not.toContain('does not have that feature');
    }
  });

  test('a number past its bounds is refused', async () => {
    for (const [name, property] of Object.entries(schema.properties!))
      for (const { minimum, maximum } of property.anyOf ?? [property])
        for (const value of [minimum !== undefined && minimum - 1, maximum !== undefined && maximum + 1]) {
          if (typeof value !== 'number' || Math.abs(value) >= Number.MAX_SAFE_INTEGER) continue;
          const { status, message } = await post(path, { model: 'tiny', [name]: value });
          expect(status).toBe(400);
          if (!message.includes('is missing')) expect(message).toContain(`'${name}'`);
        }
  });
});
