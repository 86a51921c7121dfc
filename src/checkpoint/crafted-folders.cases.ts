// Folders in memory, put together byte by byte: good ones of a very small model, and whatever a test makes of them.

import { CheckpointError } from './checkpoint.ts';
import type { Folder } from './folder.ts';
import { numberBytes } from './numbers.ts';
import { elementsOf } from './raw-tensors.ts';
import type { WritableRaw } from './safetensors-writer.ts';
import { memorySource } from './sources.ts';
import {
  encode,
  huggingFaceTensors,
  isSparse,
  makeTiny,
  type Tiny,
  type TinyShape,
  tinyConfig,
  tinyShape,
  transpose,
} from './tiny-llama4.cases.ts';

export type Files = Record<string, Uint8Array | string>;

export const bytesOf = (content: Uint8Array | string): Uint8Array =>
  typeof content === 'string' ? new TextEncoder().encode(content) : content;

export function memoryFolder(path: string, files: Files): Folder {
  return {
    path,
    names: new Set(Object.keys(files)),
    async open(name) {
      const content = files[name];
      if (content === undefined) throw new CheckpointError(`${path}/${name}`, 'does not exist; check the path.');
      return memorySource(`${path}/${name}`, bytesOf(content));
    },
  };
}

export const smallest: TinyShape = {
  ...tinyShape,
  layers: 2,
  dim: 8,
  heads: 2,
  kvHeads: 1,
  headDim: 4,
  ff: 8,
  experts: 2,
  expertFf: 4,
  vocab: 16,
};

/** A header as text or as an object, its length before it, and `data` behind it. */
export function safetensorsFile(header: unknown, data: Uint8Array | number, length?: bigint): Uint8Array {
  const json = bytesOf(typeof header === 'string' ? header : JSON.stringify(header));
  const numbers = typeof data === 'number' ? new Uint8Array(data) : data;
  const file = new Uint8Array(8 + json.length + numbers.length);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  file.set(json, 8);
  file.set(numbers, 8 + json.length);
  return file;
}

export interface Entry {
  dtype: unknown;
  shape: unknown;
  data_offsets: unknown;
  [other: string]: unknown;
}

/** The header and the numbers of tensors, one after another. */
export function safetensorsOf(tensors: readonly WritableRaw[]): { header: Record<string, Entry>; data: Uint8Array } {
  const header: Record<string, Entry> = {};
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const { name, type, shape, data } of tensors) {
    const bytes = data as Uint8Array;
    header[name] = { dtype: type, shape, data_offsets: [at, at + bytes.length] };
    parts.push(bytes);
    at += bytes.length;
  }
  return { header, data: Buffer.concat(parts) };
}

export const smallTensors = (form = {}): WritableRaw[] => huggingFaceTensors(smallest, makeTiny(smallest), form);

export function huggingFaceFiles(form = {}): Files {
  const { header, data } = safetensorsOf(smallTensors(form));
  return { 'config.json': JSON.stringify(tinyConfig(smallest)), 'model.safetensors': safetensorsFile(header, data) };
}

/** A zip archive whose entries are stored as they are. @param spoil changes fields of an entry's place in the directory */
export function storedZip(entries: Record<string, Uint8Array | string>): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const [name, content] of Object.entries(entries)) {
    const bytes = bytesOf(content);
    const local = Buffer.alloc(30 + name.length);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt32LE(bytes.length, 18);
    local.writeUInt32LE(bytes.length, 22);
    local.writeUInt16LE(name.length, 26);
    local.write(name, 30, 'latin1');
    const central = Buffer.alloc(46 + name.length);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt32LE(bytes.length, 20);
    central.writeUInt32LE(bytes.length, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(at, 42);
    central.write(name, 46, 'latin1');
    parts.push(local, bytes);
    directory.push(central);
    at += local.length + bytes.length;
  }
  const end = Buffer.alloc(22);
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, ...directory, end]);
}

const u32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(n >>> 0);
  return bytes;
};
export const opcode = (text: string, ...rest: Uint8Array[]): Buffer =>
  Buffer.concat([Buffer.from(text, 'latin1'), ...rest]);
export const unicode = (text: string): Buffer => opcode('X', u32(Buffer.byteLength(text)), Buffer.from(text));
export const integer = (n: number): Buffer => opcode('J', u32(n));
export const tuple = (numbers: readonly number[]): Buffer => opcode('(', ...numbers.map(integer), Buffer.from('t'));

/** One tensor as torch pickles it: types without a storage of their own come with bytes and, at the end, the type. */
export function pickledTensor(
  storage: string,
  key: string,
  shape: readonly number[],
  strides?: readonly number[],
): Buffer {
  const dense = shape.map((_, i) => elementsOf(shape.slice(i + 1)));
  const bytes = storage.startsWith('float8');
  return opcode(
    `ctorch._utils\n_rebuild_tensor_${bytes ? 'v3' : 'v2'}\n((`,
    unicode('storage'),
    opcode(bytes ? 'ctorch.storage\nUntypedStorage\n' : `ctorch\n${storage}\n`),
    unicode(key),
    unicode('cpu'),
    integer(elementsOf(shape)),
    opcode('tQ'),
    integer(0),
    tuple(shape),
    tuple(strides ?? dense),
    opcode('\x89ccollections\nOrderedDict\n)R'),
    opcode(bytes ? `ctorch\n${storage}\ntR` : 'tR'),
  );
}

/** A dictionary of pickled values. */
export const pickledDictionary = (items: readonly (readonly [string, Uint8Array])[]): Buffer =>
  opcode('\x80\x02}(', ...items.flatMap(([name, value]) => [unicode(name), value]), opcode('u.'));

const storages = {
  BF16: 'BFloat16Storage',
  F32: 'FloatStorage',
  F16: 'HalfStorage',
  F8_E4M3: 'float8_e4m3fn',
} as const;

/** As torch.save writes tensors. */
export function torchFile(tensors: readonly WritableRaw[]): Uint8Array {
  const items = tensors.map(({ name, type, shape }, key): [string, Uint8Array] => [
    name,
    pickledTensor(storages[type as keyof typeof storages], String(key), shape),
  ]);
  const data = tensors.map((tensor, key): [string, Uint8Array] => {
    const bytes = tensor.data as Uint8Array;
    if (bytes.length !== elementsOf(tensor.shape) * numberBytes[tensor.type]) throw new Error(tensor.name);
    return [`consolidated.00/data/${key}`, bytes];
  });
  return storedZip({
    'consolidated.00/data.pkl': pickledDictionary(items),
    'consolidated.00/byteorder': 'little',
    ...Object.fromEntries(data),
  });
}

/** One rank that has everything, in unfused names. */
export function metaTensors(s: TinyShape, tiny: Tiny): WritableRaw[] {
  const result: WritableRaw[] = [];
  const add = (name: string, shape: readonly number[], numbers: Float32Array): void => {
    result.push({ name, type: 'BF16', shape, data: encode(numbers, 'BF16') });
  };
  const copy = (name: string, from: string): void => {
    const { shape, numbers } = tiny.get(`${from}.weight`)!;
    add(name, shape, numbers);
  };
  copy('tok_embeddings.weight', 'token_embd');
  copy('norm.weight', 'output_norm');
  copy('output.weight', 'output');
  for (let i = 0; i < s.layers; i++) {
    const [block, layer] = [`blk.${i}`, `layers.${i}`];
    for (const which of ['q', 'k', 'v']) copy(`${layer}.attention.w${which}.weight`, `${block}.attn_${which}`);
    copy(`${layer}.attention.wo.weight`, `${block}.attn_output`);
    copy(`${layer}.attention_norm.weight`, `${block}.attn_norm`);
    copy(`${layer}.ffn_norm.weight`, `${block}.ffn_norm`);
    const from = `${layer}.feed_forward`;
    if (!isSparse(s, i)) {
      for (const [w, which] of [
        ['w1', 'gate'],
        ['w2', 'down'],
        ['w3', 'up'],
      ])
        copy(`${from}.${w}.weight`, `${block}.ffn_${which}`);
      continue;
    }
    const { experts: E, dim: D, expertFf: F } = s;
    const numbers = (name: string): Float32Array => tiny.get(`${block}.${name}.weight`)!.numbers;
    add(`${from}.router_DE`, [D, E], transpose(numbers('ffn_gate_inp'), [1, E, D]));
    add(`${from}.experts.moe_w_in_eD_F`, [E * D, F], transpose(numbers('ffn_gate_exps'), [E, F, D]));
    add(`${from}.experts.moe_w_swiglu_eD_F`, [E * D, F], transpose(numbers('ffn_up_exps'), [E, F, D]));
    add(`${from}.experts.moe_w_out_eF_D`, [E * F, D], transpose(numbers('ffn_down_exps'), [E, D, F]));
    copy(`${from}.w_in_shared_FD.weight`, `${block}.ffn_gate_shexp`);
    copy(`${from}.w_swiglu_FD.weight`, `${block}.ffn_up_shexp`);
    copy(`${from}.w_out_shared_DF.weight`, `${block}.ffn_down_shexp`);
  }
  return result;
}

export const smallParams = {
  dim: smallest.dim,
  n_layers: smallest.layers,
  n_heads: smallest.heads,
  n_kv_heads: smallest.kvHeads,
  norm_eps: 1e-5,
  rope_theta: 500000,
  use_scaled_rope: false,
  use_qk_norm: true,
  nope_layer_interval: 4,
  attention_chunk_size: 16,
  moe_args: { num_experts: smallest.experts, top_k: 1, interleave_moe_layer_step: 2 },
};

export const metaFiles = (): Files => ({
  'params.json': JSON.stringify(smallParams),
  'consolidated.00.pth': torchFile(metaTensors(smallest, makeTiny(smallest))),
});
