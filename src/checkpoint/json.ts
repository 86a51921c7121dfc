// JSON of unknown origin: bounded before it is parsed, without twice-named keys, and looked at field by field.
import { CheckpointError } from './checkpoint.ts';

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** Deeper than any file of a checkpoint nests. */
const maxDepth = 32;
const [quote, backslash, colon] = [0x22, 0x5c, 0x3a];

/**
 * @param path names the file in messages
 * @throws CheckpointError when it is no JSON, nests too deep, or names a key twice in one object
 */
export function parseJson(path: string, bytes: Uint8Array): Json {
  const keys = countKeys(path, bytes);
  let value: Json;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes));
  } catch (error) {
    const reason = error instanceof Error ? error.message.slice(0, 160) : String(error);
    throw new CheckpointError(path, `this is no JSON: ${reason}. Fetch the file again.`, { cause: error });
  }
  if (keysOf(value) !== keys) throw new CheckpointError(path, 'an object names a key twice; the file is damaged.');
  return value;
}

/** Keys of all objects, by the colons outside of texts; and whether it nests too deep, before a parser has to find out. */
function countKeys(path: string, bytes: Uint8Array): number {
  let depth = 0;
  let colons = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (byte === quote) {
      for (i++; i < bytes.length && bytes[i] !== quote; i++) if (bytes[i] === backslash) i++;
    } else if (byte === colon) colons++;
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > maxDepth)
        throw new CheckpointError(
          path,
          `its values lie more than ${maxDepth} deep in each other; the file is damaged.`,
        );
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return colons;
}

function keysOf(value: Json): number {
  if (typeof value !== 'object' || value === null) return 0;
  const inner = Object.values(value);
  let keys = Array.isArray(value) ? 0 : inner.length;
  for (const item of inner) if (typeof item === 'object' && item !== null) keys += keysOf(item);
  return keys;
}

/** The fields of an object, each asked for as what it must be. */
export class Fields {
  readonly path: string;
  /** Where in the file the object is, "text_config." */
  readonly #place: string;
  readonly #value: { readonly [key: string]: Json };

  /** @throws CheckpointError when `value` is no object */
  constructor(path: string, value: Json | undefined, place = '') {
    this.path = path;
    this.#place = place;
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new CheckpointError(
        path,
        `${place.replace(/[.: ]+$/, '') || 'the file'}: got ${shownJson(value)}, wanted an object.`,
      );
    this.#value = value as { readonly [key: string]: Json };
  }

  keys(): string[] {
    return Object.keys(this.#value);
  }

  /** Undefined where absent; null is a value. */
  get(key: string): Json | undefined {
    return Object.hasOwn(this.#value, key) ? this.#value[key] : undefined;
  }

  /** The fields of an inner object, or null where it is absent or null. */
  inner(key: string): Fields | null {
    const value = this.get(key) ?? null;
    return value === null ? null : new Fields(this.path, value, `${this.#place}${key}.`);
  }

  text(key: string, otherwise?: string): string {
    const value = this.get(key) ?? otherwise;
    return typeof value === 'string' ? value : this.fail(key, 'a text');
  }

  integer(key: string, least: number, most: number, otherwise?: number): number {
    const value = this.get(key) ?? otherwise;
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
    return this.fail(key, `an integer from ${least} to ${most}`);
  }

  number(key: string, good: (n: number) => boolean, wanted: string, otherwise?: number): number {
    const value = this.get(key) ?? otherwise;
    return typeof value === 'number' && good(value) ? value : this.fail(key, wanted);
  }

  boolean(key: string, otherwise: boolean): boolean {
    const value = this.get(key) ?? otherwise;
    return typeof value === 'boolean' ? value : this.fail(key, 'true or false');
  }

  /** Integers from `least` to `most`, at most 2^16 of them; null where absent or null. */
  integers(key: string, least: number, most: number): number[] | null {
    const value = this.get(key) ?? null;
    if (value === null) return null;
    const good = (n: Json): n is number => typeof n === 'number' && Number.isInteger(n) && n >= least && n <= most;
    if (Array.isArray(value) && value.length <= 2 ** 16 && value.every(good)) return value;
    return this.fail(key, `a list of integers from ${least} to ${most}`);
  }

  fail(key: string, wanted: string): never {
    throw new CheckpointError(
      this.path,
      `${this.#place}${key}: got ${shownJson(this.get(key))}, wanted ${wanted}. Get another copy of the file.`,
    );
  }
}

/** A value as a message may carry it. */
export function shownJson(value: Json | undefined): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(Array.isArray(value) ? value.slice(0, 20) : value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
