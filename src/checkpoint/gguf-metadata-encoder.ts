// Turns metadata values into the bytes of a GGUF header: types are given, or inferred as the field's programs write them.
// Source: ggml-org/ggml docs/gguf.md.
import { CheckpointError } from './checkpoint.ts';
import { type ValueType, valueBytes, valueTypes } from './gguf-format.ts';

type Scalar = string | number | bigint | boolean;
type ScalarType = Exclude<ValueType, 'array'>;
type NumericType = Exclude<ScalarType, 'string' | 'bool'>;

/** A value, or an array of values, of a stated type. An array of arrays has none. */
export interface TypedValue {
  readonly type: ScalarType;
  readonly value: Scalar | readonly Scalar[];
}

/**
 * A metadata value to be written. Without a type: a whole number becomes u32, i32 where it is negative, else u64 or i64; any other
 * number f32; a bigint u64 or i64. An array's elements share the narrowest of i32, u32, i64, u64 that holds them all, or f32.
 * Programs that read GGUF often insist on a type, so say f32 for a key such as `rope.freq_base` that may be whole.
 */
export type WritableValue = Scalar | readonly Scalar[] | TypedValue;

/** States a value's type: `typed('f32', 500000)`, `typed('string', [])`. */
export const typed = (type: ScalarType, value: Scalar | readonly Scalar[]): TypedValue => ({ type, value });

const integerRange: Partial<Record<NumericType, readonly [bigint, bigint]>> = {
  u8: [0n, 2n ** 8n - 1n],
  i8: [-(2n ** 7n), 2n ** 7n - 1n],
  u16: [0n, 2n ** 16n - 1n],
  i16: [-(2n ** 15n), 2n ** 15n - 1n],
  u32: [0n, 2n ** 32n - 1n],
  i32: [-(2n ** 31n), 2n ** 31n - 1n],
  u64: [0n, 2n ** 64n - 1n],
  i64: [-(2n ** 63n), 2n ** 63n - 1n],
};

const setters: Readonly<Record<NumericType, (view: DataView, at: number, value: number | bigint) => void>> = {
  u8: (view, at, value) => view.setUint8(at, Number(value)),
  i8: (view, at, value) => view.setInt8(at, Number(value)),
  u16: (view, at, value) => view.setUint16(at, Number(value), true),
  i16: (view, at, value) => view.setInt16(at, Number(value), true),
  u32: (view, at, value) => view.setUint32(at, Number(value), true),
  i32: (view, at, value) => view.setInt32(at, Number(value), true),
  f32: (view, at, value) => view.setFloat32(at, Number(value), true),
  u64: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
  i64: (view, at, value) => view.setBigInt64(at, BigInt(value), true),
  f64: (view, at, value) => view.setFloat64(at, Number(value), true),
};

/** Grows a header. */
export class MetadataEncoder {
  readonly #path: string;
  readonly #text = new TextEncoder();
  #buffer = new Uint8Array(4096);
  #view = new DataView(this.#buffer.buffer);
  #length = 0;

  /** @param path The file being written, for messages. */
  constructor(path: string) {
    this.#path = path;
  }

  /** What was encoded so far. */
  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  u32(value: number): void {
    this.#number('u32', value);
  }

  u64(value: number): void {
    this.#number('u64', value);
  }

  string(text: string): void {
    const most = text.length * 3; // UTF-8 takes up to three bytes for each UTF-16 unit
    const at = this.#reserve(8 + most);
    const { written } = this.#text.encodeInto(text, this.#buffer.subarray(at + 8, at + 8 + most));
    this.#view.setBigUint64(at, BigInt(written), true);
    this.#length = at + 8 + written;
  }

  /** One key and its value. */
  entry(key: string, value: WritableValue): void {
    if (key === '') throw new CheckpointError(this.#path, 'a metadata key is empty; it must be named.');
    this.string(key);
    const { type, value: content } = isTyped(value) ? value : { type: this.#infer(key, value), value };
    if (isArray(content)) {
      this.u32(valueTypes.indexOf('array'));
      this.u32(valueTypes.indexOf(type));
      this.u64(content.length);
      for (const element of content) this.#scalar(key, type, element);
    } else {
      this.u32(valueTypes.indexOf(type));
      this.#scalar(key, type, content);
    }
  }

  #reserve(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#buffer.length * 2));
      grown.set(this.#buffer);
      this.#buffer = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }

  #infer(key: string, value: Scalar | readonly Scalar[]): ScalarType {
    const fail = (got: string): never => {
      throw new CheckpointError(this.#path, `metadata ${key}: ${got} has no one type; state it with typed().`);
    };
    const list = isArray(value) ? value : [value];
    const kinds = new Set(list.map(element => typeof element));
    if (kinds.size === 1 && kinds.has('string')) return 'string';
    if (kinds.size === 1 && kinds.has('boolean')) return 'bool';
    if (list.length === 0) return fail('an empty array');
    if (kinds.has('string') || kinds.has('boolean')) return fail('an array of mixed values');
    const numbers = list as readonly (number | bigint)[];
    if (numbers.some(x => typeof x === 'number' && !Number.isInteger(x))) return 'f32';
    const order = isArray(value)
      ? (['i32', 'u32', 'i64', 'u64'] as const)
      : typeof value === 'bigint'
        ? (['u64', 'i64'] as const)
        : (['u32', 'i32', 'u64', 'i64'] as const);
    return order.find(type => numbers.every(x => holds(type, x))) ?? fail('a number beyond 64 bits');
  }

  #scalar(key: string, type: ScalarType, value: Scalar): void {
    if (type === 'string' && typeof value === 'string') this.string(value);
    else if (type === 'bool' && typeof value === 'boolean') this.#number('u8', value ? 1 : 0);
    else if (isNumeric(type) && (typeof value === 'number' || typeof value === 'bigint') && holds(type, value))
      this.#number(type, value);
    else throw new CheckpointError(this.#path, `metadata ${key}: ${typeof value} ${String(value)} is no ${type}.`);
  }

  #number(type: NumericType, value: number | bigint): void {
    const at = this.#reserve(valueBytes[type]);
    setters[type](this.#view, at, value); // after reserving, which may move the buffer
  }
}

const holds = (type: NumericType, value: number | bigint): boolean => {
  const range = integerRange[type];
  return !range || (Number.isInteger(Number(value)) && range[0] <= value && value <= range[1]);
};

const isNumeric = (type: ScalarType): type is NumericType => type !== 'string' && type !== 'bool';

const isArray = (value: unknown): value is readonly Scalar[] => Array.isArray(value);

const isTyped = (value: WritableValue): value is TypedValue =>
  typeof value === 'object' && !isArray(value) && 'type' in value;
