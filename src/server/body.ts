// A request's body as JSON, and nothing else: a form of another site cannot declare JSON.
import { ApiError } from './errors.ts';

/** @throws ApiError 415, 400: not declared as JSON, not read to its end, or no JSON. */
export async function readJson(request: Request): Promise<unknown> {
  const type = request.headers.get('content-type') ?? '';
  if (!/^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i.test(type))
    throw new ApiError(
      415,
      'unsupported_media_type',
      `The content type must be application/json; got ${type ? JSON.stringify(type.slice(0, 100)) : 'none'}. Send the header 'content-type: application/json'.`,
    );
  const text = await request.text().catch((error: Error) => {
    throw new ApiError(400, 'incomplete_body', `The body could not be read to its end: ${error.message}`, {
      cause: error,
    });
  });
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new ApiError(400, 'invalid_json', `The body is not JSON: ${(error as Error).message}.`, { cause: error });
  }
}
