// What a GGUF file is made of: its constants, the names of its parts, and what a metadata value may be when it is written.
// Source: ggml-org/ggml docs/gguf.md; ggml.h `enum ggml_type`.
import { dtypeOfGgml } from './dtype.ts';

/** The four bytes "GGUF", read as a little-endian number. */
export const ggufMagic = 0x46554747;
/** The version written; 2 has the same layout and is read too. */
export const ggufVersion = 3;
/** Alignment of tensor data where `general.alignment` does not say. */
export const defaultAlignment = 32;

/** The types of a metadata value, in the order of their ids in a file (`enum gguf_type`). */
export const valueTypes = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;

/** The name of a metadata type. */
export type ValueType = (typeof valueTypes)[number];

/** Bytes of one value in a file. A string begins with its length, an array with its type and its length. */
export const valueBytes: Readonly<Record<ValueType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8,
  array: 12,
  u64: 8,
  i64: 8,
  f64: 8,
};

/** Tensor types that ggml defines, or once defined, and this code cannot read. */
const unreadableTypes: ReadonlyMap<number, string> = new Map([
  [4, 'Q4_2'],
  [5, 'Q4_3'],
  [9, 'Q8_1'],
  [15, 'Q8_K'],
  [24, 'I8'],
  [25, 'I16'],
  [27, 'I64'],
  [28, 'F64'],
  [31, 'Q4_0_4_4'],
  [32, 'Q4_0_4_8'],
  [33, 'Q4_0_8_8'],
  [36, 'IQ4_NL_4_4'],
  [37, 'IQ4_NL_4_8'],
  [38, 'IQ4_NL_8_8'],
]);

/** ggml's name of a tensor type, also where this code cannot read it; undefined where ggml has no such type either. */
export const ggmlTypeName = (ggmlType: number): string | undefined =>
  dtypeOfGgml(ggmlType) ?? unreadableTypes.get(ggmlType);

/** The name of one part of a split file, `part` counted from 1: `dir/name-00001-of-00003.gguf`. */
export const partPath = (stem: string, part: number, parts: number): string =>
  `${stem}-${String(part).padStart(5, '0')}-of-${String(parts).padStart(5, '0')}.gguf`;

/** What a part's name says, or null for a name that is no part's. */
export function parsePartPath(path: string): { stem: string; part: number; parts: number } | null {
  const match = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/is.exec(path);
  return match ? { stem: match[1]!, part: Number(match[2]), parts: Number(match[3]) } : null;
}

/** `offset`, moved up to the next multiple of `alignment`. */
export const alignUp = (offset: number, alignment: number): number => Math.ceil(offset / alignment) * alignment;
