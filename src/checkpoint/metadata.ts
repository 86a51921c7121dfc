// Metadata as the types a reader wants: what is missing or of another type is named, with what it is.
import { type Checkpoint, CheckpointError, type MetadataValue } from './checkpoint.ts';

/**
 * Typed access to a checkpoint's metadata. Each method throws a CheckpointError that names the key, what it got and what it
 * wanted; with a fallback, a missing key gives the fallback, while one of a wrong type is still an error.
 */
export class Metadata {
  readonly #checkpoint: Pick<Checkpoint, 'path' | 'metadata'>;

  constructor(checkpoint: Pick<Checkpoint, 'path' | 'metadata'>) {
    this.#checkpoint = checkpoint;
  }

  has(key: string): boolean {
    return this.#checkpoint.metadata.has(key);
  }

  string(key: string): string;
  string<F>(key: string, fallback: F): string | F;
  string<F>(key: string, ...fallback: [F?]): string | F {
    return this.#get(key, 'a text', isString, fallback);
  }

  boolean(key: string): boolean;
  boolean<F>(key: string, fallback: F): boolean | F;
  boolean<F>(key: string, ...fallback: [F?]): boolean | F {
    return this.#get(key, 'true or false', isBoolean, fallback);
  }

  /** A finite number. */
  number(key: string): number;
  number<F>(key: string, fallback: F): number | F;
  number<F>(key: string, ...fallback: [F?]): number | F {
    return this.#get(key, 'a finite number', isNumber, fallback);
  }

  /** A whole number from `least` to `most`, both included. */
  integer(key: string, least: number, most: number): number;
  integer<F>(key: string, least: number, most: number, fallback: F): number | F;
  integer<F>(key: string, least: number, most: number, ...fallback: [F?]): number | F {
    const fits = (value: MetadataValue): value is number => isInteger(value) && value >= least && value <= most;
    return this.#get(key, `a whole number from ${least} to ${most}`, fits, fallback);
  }

  strings(key: string): readonly string[];
  strings<F>(key: string, fallback: F): readonly string[] | F;
  strings<F>(key: string, ...fallback: [F?]): readonly string[] | F {
    return this.#list(key, 'a text', isString, fallback);
  }

  booleans(key: string): readonly boolean[];
  booleans<F>(key: string, fallback: F): readonly boolean[] | F;
  booleans<F>(key: string, ...fallback: [F?]): readonly boolean[] | F {
    return this.#list(key, 'true or false', isBoolean, fallback);
  }

  /** Finite numbers. */
  numbers(key: string): readonly number[];
  numbers<F>(key: string, fallback: F): readonly number[] | F;
  numbers<F>(key: string, ...fallback: [F?]): readonly number[] | F {
    return this.#list(key, 'a finite number', isNumber, fallback);
  }

  #get<T extends MetadataValue, F>(
    key: string,
    wanted: string,
    is: (value: MetadataValue) => value is T,
    fallback: [F?],
  ): T | F {
    const value = this.#checkpoint.metadata.get(key);
    if (value === undefined) {
      if (fallback.length > 0) return fallback[0] as F;
      throw new CheckpointError(
        this.#checkpoint.path,
        `metadata ${key} is missing; it must be ${wanted}. Make the file again with a current converter.`,
      );
    }
    if (!is(value))
      throw new CheckpointError(this.#checkpoint.path, `metadata ${key} is ${describe(value)}; it must be ${wanted}.`);
    return value;
  }

  #list<T extends MetadataValue, F>(
    key: string,
    wanted: string,
    is: (value: MetadataValue) => value is T,
    fallback: [F?],
  ): readonly T[] | F {
    const list = this.#get(key, `an array whose elements are each ${wanted}`, isArray, fallback);
    if (!isArray(list)) return list;
    const wrong = list.findIndex(element => !is(element));
    if (wrong !== -1)
      throw new CheckpointError(
        this.#checkpoint.path,
        `metadata ${key}[${wrong}] is ${describe(list[wrong]!)}; it must be ${wanted}.`,
      );
    return list as readonly T[];
  }
}

/** A value as a message may carry it. */
function describe(value: MetadataValue): string {
  if (isArray(value)) return `an array of ${value.length}`;
  if (typeof value !== 'string') return String(value);
  return `the text ${JSON.stringify(value.length > 60 ? `${value.slice(0, 59)}…` : value)}`;
}

const isString = (value: MetadataValue): value is string => typeof value === 'string';
const isBoolean = (value: MetadataValue): value is boolean => typeof value === 'boolean';
const isNumber = (value: MetadataValue): value is number => Number.isFinite(value);
const isInteger = (value: MetadataValue): value is number => Number.isSafeInteger(value);
const isArray = (value: unknown): value is readonly MetadataValue[] => Array.isArray(value);
