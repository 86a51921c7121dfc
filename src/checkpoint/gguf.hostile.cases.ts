// Handcrafted GGUF files that must not open, byte by byte, and the field each error must name.

/** One evil: the files to lay down in an empty directory, which of them to open, and what the error must say. */
export interface HostileCase {
  readonly name: string;
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** The file to open; the first where absent. */
  readonly open?: string;
  /** Extends the opened file to this size with a hole, which takes no room on the disk. */
  readonly size?: number;
  readonly error: RegExp;
}

type Bytes = readonly number[];

/** Little-endian number of `bytes` bytes; negative ones wrap around, as in a file. */
const number = (value: number | bigint, bytes: number): Bytes =>
  Array.from({ length: bytes }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 255n));
const u16 = (value: number): Bytes => number(value, 2);
export const u32 = (value: number): Bytes => number(value, 4);
export const u64 = (value: number | bigint): Bytes => number(value, 8);
const raw = (text: string): Bytes => [...new TextEncoder().encode(text)];
export const text = (value: string): Bytes => [...u64(raw(value).length), ...raw(value)];
/** Ids of `enum gguf_type`. */
const id = { u8: 0, u16: 2, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10 };
type Piece = readonly [field: RegExp, bytes: Bytes];

export const entry = (key: string, type: number, ...value: Bytes[]): Bytes => [
  ...text(key),
  ...u32(type),
  ...value.flat(),
];
const tensor = (name: string, dims: readonly (number | bigint)[], type: number, offset: number | bigint): Bytes => [
  ...text(name),
  ...u32(dims.length),
  ...dims.flatMap(size => u64(size)),
  ...u32(type),
  ...u64(offset),
];

interface Recipe {
  readonly magic?: Bytes;
  readonly version?: Bytes;
  readonly tensorCount?: number | bigint;
  readonly entryCount?: number | bigint;
  readonly entries?: readonly Bytes[];
  readonly tensors?: readonly Bytes[];
  readonly data?: number;
  readonly alignment?: number;
}

const architecture = entry('general.architecture', id.string, text('llama4'));
const goodTensors = [tensor('a', [4], 0, 0), tensor('b', [32, 2], 2, 32)];

/** A file that opens, but for what the recipe changes: 16 bytes of F32 and 36 of Q4_0. */
export function craft(recipe: Recipe = {}): Uint8Array {
  const { entries = [architecture], tensors = goodTensors, alignment = 32 } = recipe;
  const header = [
    ...(recipe.magic ?? raw('GGUF')),
    ...(recipe.version ?? u32(3)),
    ...u64(recipe.tensorCount ?? tensors.length),
    ...u64(recipe.entryCount ?? entries.length),
    ...entries.flat(),
    ...tensors.flat(),
  ];
  const start = Math.ceil(header.length / alignment) * alignment;
  const file = new Uint8Array(start + (recipe.data ?? 68));
  file.set(header);
  return file;
}

/** The pieces of a small file in order, each with what an error inside of it must name. */
const pieces: readonly Piece[] = [
  [/magic/, raw('GGUF')],
  [/version/, u32(3)],
  [/header|count/, u64(1)],
  [/header|count/, u64(3)],
  [/metadata key 1 of 3/, u64(1)],
  [/metadata key 1 of 3/, raw('k')],
  [/metadata k:/, u32(id.string)],
  [/metadata k:/, u64(5)],
  [/metadata k:/, raw('value')],
  [/metadata key 2 of 3/, text('list')],
  [/metadata list:/, u32(id.array)],
  [/metadata list:/, u32(id.string)],
  [/metadata list:/, u64(2)],
  [/metadata list:/, text('one')],
  [/metadata list:/, text('two')],
  [/metadata key 3 of 3/, text('f')],
  [/metadata f:/, u32(id.f32)],
  [/metadata f:/, u32(0x7fc00000)],
  [/tensor 1 of 1/, text('weight')],
  [/tensor weight:/, u32(2)],
  [/tensor weight:/, [...u64(4), ...u64(2)]],
  [/tensor weight:/, u32(0)],
  [/tensor weight:/, u64(0)],
  [/tensor weight:/, new Array(32).fill(0)],
];

function truncations(): HostileCase[] {
  const cases: HostileCase[] = [];
  const bytes = pieces.flatMap(([, piece]) => piece);
  let start = 0;
  for (const [i, [error, piece]] of pieces.entries()) {
    // What ends early may also betray itself by a count before it, which no longer fits: then that field is named.
    for (const cut of new Set([start, start + Math.ceil(piece.length / 2)]))
      cases.push({
        name: `ends ${cut === start ? 'before' : 'within'} piece ${i}`,
        files: { 'f.gguf': Uint8Array.from(bytes.slice(0, cut)) },
        error: new RegExp(`${error.source}|count is|length of`),
      });
    start += piece.length;
  }
  return cases;
}

const one = (name: string, file: Uint8Array, error: RegExp, size?: number): HostileCase => ({
  name,
  files: { 'f.gguf': file },
  error,
  ...(size === undefined ? {} : { size }),
});
const withTensors = (name: string, tensors: readonly Bytes[], error: RegExp, data?: number) =>
  one(name, craft({ tensors, ...(data === undefined ? {} : { data }) }), error);
const withEntries = (name: string, entries: readonly Bytes[], error: RegExp) => one(name, craft({ entries }), error);
const shaped = (name: string, dims: readonly (number | bigint)[], error = /tensor x: shape/) =>
  withTensors(name, [tensor('x', dims, 0, 0)], error);
const nested = (depth: number): Bytes => [
  ...Array.from({ length: depth }, () => [...u32(id.array), ...u64(1)]).flat(),
  ...u32(id.u8),
  ...u64(0),
];

const beginnings: HostileCase[] = [
  one('empty file', new Uint8Array(0), /empty/),
  one('one byte', Uint8Array.of(71), /magic/),
  one('zeros', new Uint8Array(4096), /magic: .*00 00 00 00/),
  one('a hole of 225 GB', new Uint8Array(0), /magic/, 225e9),
  one('magic in lower case', craft({ magic: raw('gguf') }), /magic/),
  one('magic backwards', craft({ magic: raw('FUGG') }), /magic: .*bytes swapped/),
  one('GGML', craft({ magic: raw('lmgg') }), /magic: .*GGML/),
  one('a Git LFS pointer', Uint8Array.from(raw('version https://git-lfs.github.com/spec/v1\noid')), /Git LFS pointer/),
  one('a web page', Uint8Array.from(raw('<!DOCTYPE html><title>404</title>')), /web page/),
  one('a PyTorch archive', Uint8Array.from([...raw('PK'), 3, 4, 0, 0, 0, 0]), /PyTorch/),
  one('a pickle', Uint8Array.of(0x80, 2, 0x63, 0, 0), /pickle/),
  one('safetensors', Uint8Array.from([...u64(8), ...raw('{"a":{}}'), 0, 0]), /safetensors/),
  one('version 0', craft({ version: u32(0) }), /version 0/),
  one('version 1', craft({ version: u32(1) }), /version 1/),
  one('version 4', craft({ version: u32(4) }), /version 4/),
  one('version 2^32 - 1', craft({ version: u32(2 ** 32 - 1) }), /version 4294967295/),
  one('big-endian version 3', craft({ version: [0, 0, 0, 3] }), /version: .*big-endian/),
  one('big-endian version 2', craft({ version: [0, 0, 0, 2] }), /version: .*big-endian/),
];

const counts: HostileCase[] = [
  one(
    '2^60 tensors in 24 bytes',
    craft({ tensorCount: 2n ** 60n }).slice(0, 24),
    /tensor count is 1152921504606846976/,
  ),
  one('2^64 - 1 tensors', craft({ tensorCount: 2n ** 64n - 1n }), /tensor count is 18446744073709551615/),
  one('2^63 tensors', craft({ tensorCount: 2n ** 63n }), /tensor count is 9223372036854775808/),
  one('2^32 tensors in a hole', craft({ tensorCount: 2 ** 32 }), /tensor count is 4294967296/, 225e9),
  one('a million tensors in a hole', craft({ tensorCount: 1e6 }), /tensor count is 1000000/, 225e9),
  one('one tensor too many', craft({ tensorCount: 3 }), /tensor 3 of 3/),
  one('2^60 metadata', craft({ entryCount: 2n ** 60n }), /metadata count is 1152921504606846976/),
  one('2^64 - 1 metadata', craft({ entryCount: 2n ** 64n - 1n }), /metadata count is/),
  one('2^30 metadata in a hole', craft({ entryCount: 2 ** 30 }), /metadata count is 1073741824/, 225e9),
  one('one metadata entry too many', craft({ entryCount: 2 }), /tensor 1 of 2/),
  one('metadata that run into a hole', craft({ entryCount: 60000, tensors: [] }), /metadata key 2 of 60000/, 225e9),
];

const keys: HostileCase[] = [
  withEntries('empty key', [entry('', id.u8, [1])], /metadata key 1 of 1: its name is empty/),
  withEntries('key given twice', [architecture, architecture], /metadata general.architecture: .*twice/),
  withEntries('key of 2^64 - 1 bytes', [[...u64(2n ** 64n - 1n), 97]], /metadata key 1 .*length of its name/),
  withEntries('key of 2^63 bytes', [[...u64(2n ** 63n), 97]], /metadata key 1 .*length of its name/),
  one(
    'key of 2^33 bytes in a hole',
    craft({ entries: [[...u64(2 ** 33)]] }),
    /metadata key 1 .*length of its name/,
    2 ** 35,
  ),
  one('key of 65536 bytes', craft({ entries: [entry('k'.repeat(65536), id.u8, [1])] }), /length of its name is 65536/),
  withEntries('key of no UTF-8', [[...u64(2), 0xc3, 0x28, ...u32(id.u8), 1]], /metadata key 1 of 1: .*UTF-8/),
  withEntries('key with an overlong slash', [[...u64(2), 0xc0, 0xaf, ...u32(id.u8), 1]], /metadata key 1 .*UTF-8/),
  withEntries('key with half a surrogate pair', [[...u64(3), 0xed, 0xa0, 0x80, ...u32(id.u8), 1]], /key 1 .*UTF-8/),
  withEntries('key cut within a character', [[...u64(1), 0xc3, ...u32(id.u8), 1]], /metadata key 1 .*UTF-8/),
  withEntries('key with line breaks', [entry('a\nb\u001b[31m', 99)], /metadata "a\\nb\\u001b\[31m": value type 99/),
];

const values: HostileCase[] = [
  withEntries('value type 13', [entry('k', 13, u64(0))], /metadata k: value type 13/),
  withEntries('value type 2^32 - 1', [entry('k', 2 ** 32 - 1, u64(0))], /metadata k: value type 4294967295/),
  withEntries('bool of 2', [entry('k', id.bool, [2])], /metadata k: is a bool of 2/),
  withEntries('bools of 255', [entry('k', id.array, u32(id.bool), u64(2), [1, 255])], /metadata k: is a bool of 255/),
  withEntries(
    'text of 2^64 - 1 bytes',
    [entry('k', id.string, u64(2n ** 64n - 1n))],
    /metadata k: the length of its text/,
  ),
  withEntries('text of 2^63 bytes', [entry('k', id.string, u64(2n ** 63n))], /metadata k: the length of its text/),
  withEntries('text of 2^53 + 1 bytes', [entry('k', id.string, u64(2n ** 53n + 1n))], /text is 9007199254740993/),
  one(
    'text of 4 GiB in a hole',
    craft({ entries: [entry('k', id.string, u64(2 ** 32))] }),
    /metadata k: .*text/,
    2 ** 34,
  ),
  one(
    'text of 60 MiB in a hole',
    craft({ entries: [entry('k', id.string, u64(60e6))] }),
    /metadata k: .*text/,
    2 ** 34,
  ),
  withEntries('text of no UTF-8', [entry('k', id.string, u64(1), [0xff])], /metadata k: .*UTF-8/),
  withEntries(
    'texts of no UTF-8',
    [entry('k', id.array, u32(id.string), u64(2), text('a'), u64(1), [0x80])],
    /metadata k: .*UTF-8/,
  ),
  withEntries(
    'a character spread over two texts',
    [entry('k', id.array, u32(id.string), u64(2), u64(1), [0xc3], u64(1), [0xa9])],
    /metadata k: .*UTF-8/,
  ),
  withEntries('array of type 13', [entry('k', id.array, u32(13), u64(1), [1])], /metadata k: value type 13/),
  withEntries(
    'array of 2^64 - 1 bytes',
    [entry('k', id.array, u32(id.u8), u64(2n ** 64n - 1n))],
    /metadata k: .*array/,
  ),
  withEntries(
    'array of 2^61 u64, 2^64 bytes',
    [entry('k', id.array, u32(id.u64), u64(2n ** 61n))],
    /metadata k: .*array/,
  ),
  withEntries(
    'array of 2^62 u32, 2^64 bytes',
    [entry('k', id.array, u32(id.u32), u64(2n ** 62n))],
    /metadata k: .*array/,
  ),
  withEntries('array of 2^60 texts', [entry('k', id.array, u32(id.string), u64(2n ** 60n))], /metadata k: .*array/),
  one(
    'array of 2^36 bools in a hole',
    craft({ entries: [entry('k', id.array, u32(id.bool), u64(2 ** 36))] }),
    /metadata k: the length of its array is 68719476736/,
    225e9,
  ),
  one(
    'array of 2^30 texts in a hole',
    craft({ entries: [entry('k', id.array, u32(id.string), u64(2 ** 30))] }),
    /metadata k: the length of its array/,
    225e9,
  ),
  withEntries(
    'text in an array longer than the file',
    [entry('k', id.array, u32(id.string), u64(1), u64(1e9))],
    /length of a text/,
  ),
  withEntries('arrays 5 deep', [entry('k', id.array, nested(5))], /metadata k: arrays lie more than 4 deep/),
  withEntries('arrays 5000 deep', [entry('k', id.array, nested(5000))], /metadata k: arrays lie more than 4 deep/),
  one(
    'a million empty arrays in a hole',
    craft({ entries: [entry('k', id.array, u32(id.array), u64(1e6))] }),
    /metadata k: the length of its array is 1000000/,
    225e9,
  ),
  one(
    'arrays of arrays that multiply',
    craft({ entries: [entry('k', id.array, u32(id.array), u64(60000), u32(id.array), u64(60000))] }),
    /metadata k: the length of its array is 60000/,
    225e9,
  ),
];

const alignments: HostileCase[] = [
  ...[0, 3, 24, 33, 2 ** 32 - 1, 2 ** 31].map(value =>
    withEntries(`alignment ${value}`, [entry('general.alignment', id.u32, u32(value))], /general.alignment is \d+/),
  ),
  withEntries(
    'alignment 2^40',
    [entry('general.alignment', id.u64, u64(2 ** 40))],
    /general.alignment is 1099511627776/,
  ),
  withEntries('alignment 2^63', [entry('general.alignment', id.u64, u64(2n ** 63n))], /general.alignment is 92233720/),
  withEntries('alignment -32', [entry('general.alignment', id.i32, u32(2 ** 32 - 32))], /general.alignment is -32/),
  withEntries(
    'alignment as f32',
    [entry('general.alignment', id.f32, u32(0x42000000))],
    /general.alignment is of type f32/,
  ),
  withEntries(
    'alignment as text',
    [entry('general.alignment', id.string, text('32'))],
    /general.alignment is of type string/,
  ),
  withEntries('alignment as bool', [entry('general.alignment', id.bool, [1])], /general.alignment is of type bool/),
  withEntries(
    'alignment as array',
    [entry('general.alignment', id.array, u32(id.u32), u64(1), u32(32))],
    /general.alignment is of type array/,
  ),
  withEntries(
    'alignment that puts the data past the end',
    [entry('general.alignment', id.u32, u32(2 ** 30))],
    /tensor a: its data reach from offset 1073741824/,
  ),
];

const shapes: HostileCase[] = [
  shaped('no dimensions', [], /tensor x: has 0 dimensions/),
  shaped('5 dimensions', [1, 1, 1, 1, 1], /tensor x: has 5 dimensions/),
  withTensors('2^32 - 1 dimensions', [[...text('x'), ...u32(2 ** 32 - 1)]], /tensor x: has 4294967295 dimensions/),
  shaped('dimension 0', [0]),
  shaped('dimension 0 among others', [4, 0, 4]),
  shaped('dimension 2^63', [2n ** 63n]),
  shaped('dimension 2^64 - 1', [2n ** 64n - 1n]),
  shaped('dimension 2^53', [2n ** 53n]),
  shaped('product 2^64', [2n ** 32n, 2n ** 32n]),
  shaped('product 2^64 + 4 bytes', [2n ** 62n + 1n]),
  shaped('product that wraps to 4', [2n ** 33n + 2n, 2n ** 63n]),
  shaped('product of four 2^16', [65536, 65536, 65536, 65536]),
  shaped('four dimensions of 2^64 - 1', [2n ** 64n - 1n, 2n ** 64n - 1n, 2n ** 64n - 1n, 2n ** 64n - 1n]),
  shaped('2^40 elements in a small file', [2 ** 40], /tensor x: its data reach/),
  withTensors('Q4_0 of 33', [tensor('x', [33], 2, 0)], /tensor x: .*33 must be a multiple of 32/),
  withTensors('Q4_K of 32', [tensor('x', [32, 8], 12, 0)], /tensor x: .*32 must be a multiple of 256/),
  withTensors('NVFP4 of 96', [tensor('x', [96], 40, 0)], /tensor x: .*96 must be a multiple of 64/),
  withTensors('Q8_0 of 1', [tensor('x', [1], 8, 0)], /tensor x: .*1 must be a multiple of 32/),
];

const types: HostileCase[] = [
  ...(
    [
      [4, 'Q4_2'],
      [9, 'Q8_1'],
      [15, 'Q8_K'],
      [31, 'Q4_0_4_4'],
      [38, 'IQ4_NL_8_8'],
    ] as const
  ).map(([type, name]) =>
    withTensors(
      `type ${name}`,
      [tensor('x', [256], type, 0)],
      new RegExp(`tensor x: its type is ${name} .*id ${type}`),
    ),
  ),
  withTensors('type 99', [tensor('x', [256], 99, 0)], /tensor x: .*id 99/),
  withTensors('type 2^32 - 1', [tensor('x', [256], 2 ** 32 - 1, 0)], /tensor x: .*id 4294967295/),
];

const places: HostileCase[] = [
  withTensors('empty name', [tensor('', [4], 0, 0)], /tensor 1 of 1: its name is empty/),
  withTensors(
    'name of no UTF-8',
    [[...u64(1), 0xfe, ...u32(1), ...u64(4), ...u32(0), ...u64(0)]],
    /tensor 1 of 1: .*UTF-8/,
  ),
  withTensors(
    'name of 2^62 bytes',
    [[...u64(2n ** 62n), ...new Array(40).fill(97)]],
    /tensor 1 of 1: the length of its name/,
  ),
  withTensors('name given twice', [goodTensors[0]!, tensor('a', [4], 0, 32)], /tensor a: .*twice/),
  withTensors('offset 1', [tensor('x', [4], 0, 1)], /tensor x: its offset 1 /),
  withTensors('offset 16', [tensor('x', [4], 0, 16)], /tensor x: its offset 16 /),
  withTensors('offset at the end', [tensor('x', [4], 0, 64)], /tensor x: its data reach/, 64),
  withTensors('one byte short', [tensor('x', [4], 0, 0)], /tensor x: its data reach/, 15),
  withTensors('offset 2^40', [tensor('x', [4], 0, 2 ** 40)], /tensor x: its data reach/),
  withTensors('offset 2^53 - 32', [tensor('x', [4], 0, 2 ** 53 - 32)], /tensor x: its data reach/),
  withTensors('offset 2^63', [tensor('x', [4], 0, 2n ** 63n)], /tensor x: its offset 9223372036854775808/),
  withTensors(
    'offset that wraps 2^64',
    [tensor('x', [4], 0, 2n ** 64n - 32n)],
    /tensor x: its offset 18446744073709551584/,
  ),
  withTensors('two in one place', [tensor('x', [4], 0, 0), tensor('y', [4], 0, 0)], /tensor y: .*overlap those of x/),
  withTensors('one in the midst of another', [tensor('x', [16], 0, 0), tensor('y', [4], 0, 32)], /tensor y: .*overlap/),
  withTensors(
    'one around another',
    [tensor('x', [4], 0, 32), tensor('y', [16], 0, 0)],
    /tensor x: .*overlap those of y/,
  ),
  withTensors('no data at all', goodTensors, /tensor a: its data reach/, 0),
];

const splitEntries = (no: number, count: number, total: number): Bytes[] => [
  entry('split.no', id.u16, u16(no)),
  entry('split.count', id.u16, u16(count)),
  entry('split.tensors.count', id.i32, u32(total)),
];
/** Part `no`, counted from 0, with one tensor. */
const part = (no: number, name: string, count = 2, total = 2): Uint8Array =>
  craft({ entries: splitEntries(no, count, total), tensors: [tensor(name, [4], 0, 0)], data: 32 });
const first = 'm-00001-of-00002.gguf';
const second = 'm-00002-of-00002.gguf';
const split = (name: string, files: Record<string, Uint8Array>, error: RegExp): HostileCase => ({ name, files, error });

const splits: HostileCase[] = [
  split('part 2 is missing', { [first]: part(0, 'a') }, /m-00002-of-00002.gguf: part 2 of .*: does not exist/),
  split('part 1 is missing', { [second]: part(1, 'b') }, /m-00001-of-00002.gguf: part 1 of .*: does not exist/),
  split('a part under another name', { 'm.gguf': part(0, 'a') }, /split.count is 2: .*keep its name/),
  split('the name says 3 parts', { 'm-00001-of-00003.gguf': part(0, 'a') }, /split.count is 2, but its name says 3/),
  split('a whole file with a part’s name', { [first]: craft() }, /split.count is missing, but its name says 2/),
  split('parts swapped', { [first]: part(1, 'b'), [second]: part(0, 'a') }, /split.no is 1, but part 1 .* has 0/),
  split(
    'part 1 twice',
    { [first]: part(0, 'a'), [second]: part(0, 'a') },
    /00002-of.*split.no is 0, but part 2 .* has 1/,
  ),
  split(
    'no split.no',
    { [first]: craft({ entries: splitEntries(0, 2, 2).slice(1) }), [second]: part(1, 'b') },
    /split.no is missing/,
  ),
  split(
    'parts of two splits',
    { [first]: part(0, 'a'), [second]: part(1, 'b', 3) },
    /00002-of.*split.count is 3, but 2 in/,
  ),
  split(
    'totals disagree',
    { [first]: part(0, 'a'), [second]: part(1, 'b', 2, 5) },
    /split.tensors.count is 5, but 2 in/,
  ),
  split(
    'a tensor too few',
    { [first]: part(0, 'a', 2, 3), [second]: part(1, 'b', 2, 3) },
    /split.tensors.count is 3, .* 2 tensors/,
  ),
  split(
    'a tensor in two parts',
    { [first]: part(0, 'a'), [second]: part(1, 'a') },
    /tensor a: .*00001-of-00002.gguf has it too/,
  ),
  split(
    'part 2 is damaged',
    { [first]: part(0, 'a'), [second]: part(1, 'b').slice(0, 70) },
    /00002-of.*part 2 of .*: metadata/,
  ),
  split(
    'part 2 is no GGUF',
    { [first]: part(0, 'a'), [second]: Uint8Array.from(raw('<html>')) },
    /00002-of.*magic: .*web page/,
  ),
  split('split.count 0', { [first]: part(0, 'a', 0) }, /split.count is 0/),
  split(
    'split.count 65535 under the name of 2',
    { [first]: part(0, 'a', 65535) },
    /split.count is 65535, but its name says 2/,
  ),
  split(
    'split.count as text',
    { [first]: craft({ entries: [entry('split.count', id.string, text('2'))] }) },
    /split.count is of type/,
  ),
  split('part 3 of 2', { 'm-00003-of-00002.gguf': part(2, 'a') }, /name says part 3 of 2/),
  split(
    'split.count of part 2 as text',
    { [first]: part(0, 'a'), [second]: craft({ entries: [entry('split.count', id.string, text('2'))] }) },
    /00002-of.*split.count is of type string/,
  ),
  split('part 0 of 2', { 'm-00000-of-00002.gguf': part(0, 'a') }, /name says part 0 of 2/),
];

export const hostileCases: readonly HostileCase[] = [
  ...truncations(),
  ...beginnings,
  ...counts,
  ...keys,
  ...values,
  ...alignments,
  ...shapes,
  ...types,
  ...places,
  ...splits,
];
