// Who may use the server: API keys with a name and limits each. Only their digests are kept in memory.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ApiError } from './errors.ts';

export interface ApiKey {
  /** What logs and metrics call it; never the key itself. */
  readonly name: string;
  readonly requestsPerMinute?: number;
  /** Of prompts and answers together. */
  readonly tokensPerMinute?: number;
}

export interface KeyEntry extends ApiKey {
  /** The key itself, or 'sha256:' and its digest in hexadecimal. */
  readonly key: string;
}

/** Where there are no keys, everyone who may reach the server is this one. */
export const NOBODY: ApiKey = { name: 'anonymous' };

/** @returns a check of a request's headers; @throws ApiError 401, of the check: no key, or an unknown one. */
export function createKeyCheck(entries: readonly KeyEntry[]): (headers: Pick<Headers, 'get'>) => ApiKey {
  const known = new Map(entries.map(({ key, ...about }) => [digestOf(key), about]));
  return headers => {
    if (known.size === 0) return NOBODY;
    const bearer = /^Bearer\s+(\S+)\s*$/i.exec(headers.get('authorization') ?? '')?.[1];
    const presented = bearer ?? headers.get('x-api-key');
    // Looked up by digest, so that the time it takes tells nothing about the keys.
    const key = presented && known.get(sha256(presented));
    if (key) return key;
    throw new ApiError(
      401,
      'invalid_api_key',
      presented
        ? 'The API key is not one of this server. Check it, or ask who runs the server for one.'
        : "This server wants an API key. Send the header 'authorization: Bearer <key>' or 'x-api-key: <key>'.",
      { headers: { 'www-authenticate': 'Bearer' } },
    );
  };
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const digestOf = (key: string): string => (key.startsWith('sha256:') ? key.slice(7).toLowerCase() : sha256(key));

const limit = z.int().min(1);
const fileSchema = z
  .array(
    z.strictObject({
      name: z.string().min(1).max(64),
      key: z.union([z.string().regex(/^sha256:[0-9a-fA-F]{64}$/), z.string().regex(/^(?!sha256:)[\x21-\x7e]{8,512}$/)]),
      requestsPerMinute: limit.optional(),
      tokensPerMinute: limit.optional(),
    }),
  )
  .min(1);

/**
 * Keys from JSON: `[{"name", "key", "requestsPerMinute"?, "tokensPerMinute"?}]`.
 * @param source names the file in errors, which never show a key
 * @throws Error saying what is wrong and where
 */
export function parseKeys(json: string, source: string): readonly KeyEntry[] {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new Error(`${source} is no JSON; wanted a list like [{"name": "app", "key": "a long random text"}].`);
  }
  const result = fileSchema.safeParse(value);
  if (!result.success) {
    const { path } = result.error.issues[0]!;
    const at =
      path.length > 0
        ? ` at ${path.map(step => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`)).join('')}`
        : '';
    throw new Error(
      `${source} is wrong${at}. Wanted a list of {"name", "key", "requestsPerMinute", "tokensPerMinute"}: a name of up to 64 ` +
        "characters, a key of 8 to 512 visible ASCII characters or 'sha256:' and 64 hexadecimal digits, limits of at least 1.",
    );
  }
  const names = new Set(result.data.map(({ name }) => name));
  const digests = new Set(result.data.map(({ key }) => digestOf(key)));
  if (names.size < result.data.length || digests.size < result.data.length)
    throw new Error(
      `${source} has two keys of one name, or one key twice. Give each client a name and a key of its own.`,
    );
  return result.data;
}
