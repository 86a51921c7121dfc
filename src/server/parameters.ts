// How a request body is checked: zod schemas whose failures become one OpenAI-shaped error that names the parameter, what it
// got and what it wanted.
import { z } from 'zod';
import { ApiError } from './errors.ts';

/** A finite number between two bounds, or absent (null counts as absent, as OpenAI's own clients send it). */
export const number = (low: number, high: number) => {
  const error = `a number from ${low} to ${high}`;
  return z.number({ error }).min(low, { error }).max(high, { error }).nullish();
};

/** A whole number between two bounds, or absent. */
export const integer = (low: number, high: number) => {
  const error =
    high === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${low}` : `a whole number from ${low} to ${high}`;
  return z.int({ error }).min(low, { error }).max(high, { error }).nullish();
};

export const boolean = () => z.boolean({ error: 'true or false' }).nullish();

/** Taken and without effect: labels that say who asks, or hints to a hosted service. */
export const label = () => z.unknown().optional();

/** A feature that this server does not have: only the value that asks for nothing is taken. */
export const unsupported = (isAbsent: (value: unknown) => boolean = () => false) =>
  z
    .unknown()
    .refine(value => value === undefined || value === null || isAbsent(value), {
      params: { code: 'unsupported_parameter' },
      error: 'nothing, for this server does not have that feature yet',
    })
    .optional()
    .meta({ unsupported: true });

/** An array whose length is checked before its items, so that a huge one costs nothing. */
export const list = <T extends z.ZodType>(item: T, low: number, high: number, error: string) =>
  z
    .custom<readonly unknown[]>(value => Array.isArray(value) && value.length >= low && value.length <= high, { error })
    .pipe(z.array(item, { error }).meta({ minItems: low, maxItems: high }));

/** The first thing that is wrong in a body, as an error for the client. */
export function parse<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  throw invalid(deepest(result.error.issues), body);
}

/** An error about one parameter: `wanted` completes "must be …". */
export function wrongValue(param: string, got: unknown, wanted: string, code = 'invalid_value'): ApiError {
  return new ApiError(400, code, `'${param}' must be ${wanted}; got ${describe(got)}.`, { param });
}

type Issue = z.core.$ZodIssue;

/** Of a union's branches, the one that came furthest is the one that was meant. */
function deepest(issues: readonly Issue[]): Issue {
  const [first] = issues;
  if (first?.code !== 'invalid_union') return first!;
  const branches = first.errors.filter(branch => branch.length > 0).map(branch => deepest(branch));
  const best = branches.reduce<Issue | null>((a, b) => (a && a.path.length >= b.path.length ? a : b), null);
  if (!best?.path.length) return first;
  return { ...best, path: [...first.path, ...best.path] };
}

function invalid(issue: Issue, body: unknown): ApiError {
  const param = name(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const key = shorten(issue.keys[0] ?? '');
    const full = param ? `${param}.${key}` : key;
    return new ApiError(400, 'unknown_parameter', `'${full}' is no parameter of this request. Leave it out.`, {
      param: full,
    });
  }
  let got = body;
  for (const step of issue.path) got = (got as Record<PropertyKey, unknown> | null | undefined)?.[step];
  if (!param) return new ApiError(400, 'invalid_value', `The body must be a JSON object; got ${describe(got)}.`);
  if (got === undefined)
    return new ApiError(400, 'missing_required_parameter', `'${param}' is missing; it must be ${issue.message}.`, {
      param,
    });
  const code = issue.code === 'custom' ? issue.params?.code : undefined;
  return wrongValue(param, got, issue.message, typeof code === 'string' ? code : 'invalid_value');
}

/** ['messages', 0, 'content'] is `messages[0].content`. */
function name(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text ? `${text}.${String(step)}` : String(step)),
    '',
  );
}

const shorten = (text: string, length = 60): string => (text.length > length ? `${text.slice(0, length)}…` : text);

/** A value in a few words; never recursive, for it may be nested a million deep. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(shorten(value));
  if (Array.isArray(value)) return value.length === 1 ? 'an array of 1 item' : `an array of ${value.length} items`;
  if (typeof value === 'object' && value !== null) {
    const keys = Object.keys(value);
    return keys.length ? `an object with '${shorten(keys[0]!)}'${keys.length > 1 ? ', …' : ''}` : 'an empty object';
  }
  return value === undefined ? 'nothing' : String(value);
}
