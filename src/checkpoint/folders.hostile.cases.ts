// Everything that can be wrong with a model's folder: for each the error that must say so.
import {
  bytesOf,
  type Entry,
  type Files,
  huggingFaceFiles,
  integer,
  metaFiles,
  metaTensors,
  opcode,
  pickledDictionary,
  pickledTensor,
  safetensorsFile,
  safetensorsOf,
  smallest,
  smallParams,
  smallTensors,
  storedZip,
  torchFile,
  unicode,
} from './crafted-folders.cases.ts';
import { makeTiny, tinyConfig } from './tiny-llama4.cases.ts';

export interface HostileFolder {
  readonly name: string;
  readonly files: Files;
  readonly error: RegExp;
}

const config = tinyConfig(smallest);
const { header, data } = safetensorsOf(smallTensors());
const single = 'model.safetensors';
const indexName = 'model.safetensors.index.json';

const huggingFace = (name: string, error: RegExp, changed: Files): HostileFolder => ({
  name,
  error,
  files: { ...huggingFaceFiles(), ...changed },
});
/** The file of tensors has these bytes. */
const file = (name: string, error: RegExp, bytes: Uint8Array): HostileFolder =>
  huggingFace(name, error, { [single]: bytes });
/** One entry of the header is changed. */
const entry = (
  name: string,
  error: RegExp,
  change: Partial<Entry> | ((e: Entry) => unknown),
  of = 'lm_head.weight',
): HostileFolder => {
  const changed = typeof change === 'function' ? change(header[of]!) : { ...header[of]!, ...change };
  return file(name, error, safetensorsFile({ ...header, [of]: changed }, data));
};
const configured = (name: string, error: RegExp, change: Record<string, unknown>): HostileFolder =>
  huggingFace(name, error, { 'config.json': JSON.stringify({ ...config, ...change }) });
const tensors = (
  name: string,
  error: RegExp,
  change: (list: ReturnType<typeof smallTensors>) => ReturnType<typeof smallTensors>,
) => {
  const made = safetensorsOf(change(smallTensors()));
  return file(name, error, safetensorsFile(made.header, made.data));
};
const indexed = (name: string, error: RegExp, weightMap: unknown, more: Files = {}): HostileFolder => {
  const map = Object.fromEntries(Object.keys(header).map(key => [key, 'model-00001-of-00001.safetensors']));
  const index = typeof weightMap === 'function' ? weightMap(map) : weightMap;
  return huggingFace(name, error, {
    'model-00001-of-00001.safetensors': safetensorsFile(header, data),
    [indexName]: typeof index === 'string' ? index : JSON.stringify(index),
    ...more,
  });
};

const safetensors: HostileFolder[] = [
  file('an empty file', /this is no safetensors file: the file is empty/, new Uint8Array()),
  file('seven bytes', /this is no safetensors file/, new Uint8Array(7)),
  file('a length and nothing', /no safetensors file/, new Uint8Array(8)),
  file('a GGUF file', /no safetensors file/, bytesOf('GGUF\u0003\0\0\0and so on and on')),
  file('a web page', /looks like a web page/, bytesOf('<!DOCTYPE html><html></html>')),
  file('a Git LFS pointer', /Git LFS pointer/, bytesOf('version https://git-lfs.github.com/spec/v1\noid sha256:00')),
  file(
    'a length of 2^64 − 1',
    /its length is 18446744073709551615 bytes; at most/,
    safetensorsFile('{}', 0, 2n ** 64n - 1n),
  ),
  file('a length of 2^63', /its length is 9223372036854775808 bytes/, safetensorsFile('{}', 0, 2n ** 63n)),
  file('a length of 17 MiB', /at most 16777216 are read/, safetensorsFile('{}', 0, 17n << 20n)),
  file('a length past the end', /its length is 1000 bytes, but the file ends at/, safetensorsFile('{}', 0, 1000n)),
  file('a length too short', /this is no JSON/, safetensorsFile(header, data, 40n)),
  file('a header cut off', /its length is .* but the file ends/, safetensorsFile(header, data).subarray(0, 100)),
  file('a header that is a list', /no safetensors file/, safetensorsFile('[1, 2, 3]', 0)),
  file('a header that is no JSON', /this is no JSON/, safetensorsFile('{"a": nonsense}', 0)),
  file(
    'a header that is no UTF-8',
    /this is no JSON/,
    safetensorsFile(`{"a": 1}`, 0).map((b, i) => (i === 10 ? 0xff : b)),
  ),
  file(
    'a name twice',
    /names a key twice/,
    safetensorsFile(
      '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
      4,
    ),
  ),
  file(
    'a field twice',
    /names a key twice/,
    safetensorsFile('{"a": {"dtype": "F32", "dtype": "F16", "shape": [1], "data_offsets": [0, 4]}}', 4),
  ),
  file('values 40 deep', /more than 32 deep/, safetensorsFile(`{"a": ${'['.repeat(40)}${']'.repeat(40)}}`, 0)),
  file('a million open brackets', /more than 32 deep/, safetensorsFile(`{"a": ${'['.repeat(1e6)}`, 0)),
  file(
    '200,000 tensors',
    /tensors, more than the 131072 supported/,
    safetensorsFile(Object.fromEntries(Array.from({ length: 140_000 }, (_, i) => [i, 0])), 0),
  ),
  file('an entry that is a number', /tensor a: got 7, wanted an object/, safetensorsFile({ a: 7 }, 0)),
  file('an entry that is null', /tensor a: got null, wanted an object/, safetensorsFile({ a: null }, 0)),
  file('no tensors, but bytes', /its tensors end at .*, but the file at/, safetensorsFile({}, 64)),
  file(
    'a tensor without a name',
    /its name must have 1 to 1000/,
    safetensorsFile({ '': { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, 4),
  ),
  file(
    'a name of 2,000 characters',
    /its name must have 1 to 1000/,
    safetensorsFile({ ['n'.repeat(2000)]: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, 4),
  ),
  file(
    'bytes behind the last tensor',
    /its tensors end at/,
    safetensorsFile(header, Buffer.concat([data, new Uint8Array(9)])),
  ),
  file(
    'its end cut off',
    /it is truncated, fetch it again/,
    safetensorsFile(header, data.subarray(0, data.length - 5)),
  ),
  entry('a dtype of no kind', /lm_head\.weight: its dtype is "F12"; known are/, { dtype: 'F12' }),
  entry('a dtype that is a list', /its dtype is \["F32"\]/, { dtype: ['F32'] }),
  entry('a dtype of Object', /its dtype is "constructor"/, { dtype: 'constructor' }),
  entry('a dtype in small letters', /its dtype is "bf16"/, { dtype: 'bf16' }),
  entry('another dtype', /data_offsets .* hold .* bytes, but F32 .* takes/, { dtype: 'F32' }),
  entry('integers for weights', /numbers of type I16/, { dtype: 'I16' }),
  entry('no shape', /it has no shape/, ({ dtype, data_offsets }) => ({ dtype, data_offsets })),
  entry('a shape that is a text', /shape: got "16, 8", wanted a list of integers/, { shape: '16, 8' }),
  entry('a negative size', /shape: got \[-16,-8\], wanted/, { shape: [-16, -8] }),
  entry('half a row', /shape: got \[16,8\.5\]/, { shape: [16, 8.5] }),
  entry('a size beyond doubles', /takes more bytes than a file can hold|wanted a list of integers/, {
    shape: [2 ** 53, 2 ** 53],
  }),
  entry('sizes whose product overflows', /takes more bytes than a file can hold/, { shape: [2 ** 32, 2 ** 32] }),
  entry('nine dimensions', /has 9 dimensions; at most 8/, { shape: [16, 8, 1, 1, 1, 1, 1, 1, 1] }),
  entry('another shape of the same size', /got shape \[8, 16\], wanted one of shape \[16, 8\]/, { shape: [8, 16] }),
  entry('a vector for a matrix', /got shape \[128\], wanted one of shape \[16, 8\]/, { shape: [128] }),
  entry('a size of zero', /hold 256 bytes, but BF16 \[0, 8\] takes 0/, { shape: [0, 8] }),
  entry('no data_offsets', /its data_offsets are nothing/, ({ dtype, shape }) => ({ dtype, shape })),
  entry('one offset', /its data_offsets are \[0\]/, { data_offsets: [0] }),
  entry('offsets the wrong way round', /hold -256 bytes/, e => ({
    ...e,
    data_offsets: [...(e.data_offsets as number[])].reverse(),
  })),
  entry('negative offsets', /data_offsets: got \[-256,0\]/, { data_offsets: [-256, 0] }),
  entry('offsets beyond the file', /but the file ends at|reach to/, { data_offsets: [2 ** 40, 2 ** 40 + 256] }),
  entry('offsets over another tensor', /overlap those of another tensor|leave a gap/, { data_offsets: [0, 256] }),
  entry('a field of its own', /has a field "?quantization"?, which safetensors does not/, { quantization: 'mine' }),
  file(
    'a gap between two tensors',
    /leave a gap of 4 bytes/,
    safetensorsFile(
      { a: { dtype: 'F32', shape: [1], data_offsets: [0, 4] }, b: { dtype: 'F32', shape: [1], data_offsets: [8, 12] } },
      12,
    ),
  ),
  tensors('a tensor missing', /tensor model\.layers\.1\.self_attn\.q_proj\.weight: got no such tensor/, list =>
    list.filter(t => !t.name.includes('1.self_attn.q_proj')),
  ),
  tensors('the output missing', /lm_head\.weight: got no such tensor/, list =>
    list.filter(t => t.name !== 'lm_head.weight'),
  ),
  tensors('the experts missing', /experts\.0\.gate_proj\.weight: got no such tensor/, list =>
    list.filter(t => !t.name.includes('gate_up_proj')),
  ),
  tensors('a layer too many', /layers\.7\.input_layernorm\.weight: the model .* has no place for it/, list => [
    ...list,
    { ...list[1]!, name: 'model.layers.7.input_layernorm.weight' },
  ]),
  tensors('a bias', /q_proj\.bias: the model .* has no place for it/, list => [
    ...list,
    { ...list[1]!, name: 'model.layers.0.self_attn.q_proj.bias' },
  ]),
  tensors('an adapter', /lora_A\.weight: the model .* has no place/, list => [
    ...list,
    { ...list[1]!, name: 'model.layers.0.self_attn.q_proj.lora_A.weight' },
  ]),
  tensors(
    'packed experts unpacked wrongly',
    /gate_up_proj: got shape \[16, 8\], wanted one of shape \[2, 8, 8\]/,
    list => list.map(t => (t.name.includes('gate_up_proj') ? { ...t, shape: [16, 8] } : t)),
  ),
  tensors('FP8 without its scale', /its numbers are FP8, but there is no tensor .*q_proj\.weight_scale/, list =>
    list.map(t => (t.name.includes('0.self_attn.q_proj') ? { ...t, type: 'F8_E4M3', data: new Uint8Array(64) } : t)),
  ),
  tensors(
    'FP8 with a scale of another size',
    /weight_scale: got shape \[3\], wanted one number, or one for each of 8/,
    list =>
      list.flatMap(t =>
        t.name.includes('0.self_attn.q_proj')
          ? [
              { ...t, type: 'F8_E4M3' as const, data: new Uint8Array(64) },
              { name: `${t.name}_scale`, type: 'F32' as const, shape: [3], data: new Uint8Array(12) },
            ]
          : [t],
      ),
  ),
  tensors('FP8 with an integer scale', /weight_scale: got I32, wanted a scale in F32/, list =>
    list.flatMap(t =>
      t.name.includes('0.self_attn.q_proj')
        ? [
            { ...t, type: 'F8_E4M3' as const, data: new Uint8Array(64) },
            { name: `${t.name}_scale`, type: 'I32' as const, shape: [8], data: new Uint8Array(32) },
          ]
        : [t],
    ),
  ),
];

const indices: HostileFolder[] = [
  indexed('an index that is a list', /the file: got \[\], wanted an object/, []),
  indexed('an index that is empty', /this is no JSON/, ''),
  indexed('an index without a map', /weight_map: got nothing, wanted an object/, {}),
  indexed('an empty map', /weight_map: got \{\}, wanted/, { weight_map: {} }),
  indexed('a map of numbers', /weight_map\..*: got 7, wanted a text/, { weight_map: { a: 7 } }),
  indexed('a shard in another folder', /wanted the name of a \.safetensors file in this folder/, {
    weight_map: { a: '../secret.safetensors' },
  }),
  indexed('a shard at a path', /wanted the name of a \.safetensors file/, { weight_map: { a: '/etc/passwd' } }),
  indexed('a shard behind a backslash', /wanted the name of a \.safetensors file/, {
    weight_map: { a: '..\\x.safetensors' },
  }),
  indexed('a shard with a zero in its name', /wanted the name of a \.safetensors file/, {
    weight_map: { a: 'x\0.safetensors' },
  }),
  indexed('a shard that is hidden', /wanted the name of a \.safetensors file/, { weight_map: { a: '.x.safetensors' } }),
  indexed('a shard of another kind', /wanted the name of a \.safetensors file/, {
    weight_map: { a: 'pytorch_model.bin' },
  }),
  indexed(
    'a shard that is missing',
    /model-2\.safetensors is missing, which model\.safetensors\.index\.json names \(2 files in all\)/,
    (map: object) => ({ weight_map: { ...map, more: 'model-2.safetensors' } }),
  ),
  indexed(
    'a tensor its shard lacks',
    /tensor more: model\.safetensors\.index\.json says it is in .*, which lacks it/,
    (map: object) => ({ weight_map: { ...map, more: 'model-00001-of-00001.safetensors' } }),
  ),
  indexed(
    'a tensor in two shards',
    /has it too; one file is wrong/,
    (map: object) => ({ weight_map: { ...map, 'model.norm.weight': 'b.safetensors' } }),
    {
      'b.safetensors': safetensorsFile(
        { 'model.norm.weight': { dtype: 'BF16', shape: [8], data_offsets: [0, 16] } },
        16,
      ),
    },
  ),
  indexed('2,000 shards', /names 2000 files, more than 1000/, {
    weight_map: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`t${i}`, `m${i}.safetensors`])),
  }),
];

const configs: HostileFolder[] = [
  huggingFace('a config that is no JSON', /config\.json: this is no JSON/, { 'config.json': '{' }),
  huggingFace('a config that is text', /config\.json: the file: got "x", wanted an object/, { 'config.json': '"x"' }),
  huggingFace('a config of two megabytes', /it has 2000000 bytes; at most 1048576/, { 'config.json': ' '.repeat(2e6) }),
  configured('another architecture', /model_type: got "qwen3", wanted "llama4"/, { model_type: 'qwen3' }),
  configured('no architecture', /model_type: got nothing, wanted a text/, { model_type: undefined }),
  configured('no text_config', /text_config: got nothing, wanted an object/, { model_type: 'llama4' }),
  configured('a text_config that is a list', /text_config: got \[\], wanted an object/, {
    model_type: 'llama4',
    text_config: [],
  }),
  configured('no width', /hidden_size: got nothing, wanted an integer/, { hidden_size: undefined }),
  configured('a width of text', /hidden_size: got "8"/, { hidden_size: '8' }),
  configured('a width of 10^30', /hidden_size: got 1e\+30/, { hidden_size: 1e30 }),
  configured('a billion layers', /num_hidden_layers: got 1000000000, wanted an integer from 1 to 4096/, {
    num_hidden_layers: 1e9,
  }),
  configured('half a layer', /num_hidden_layers: got 1\.5/, { num_hidden_layers: 1.5 }),
  configured('no heads', /num_attention_heads: got 0/, { num_attention_heads: 0 }),
  configured('another activation', /hidden_act: got "gelu", wanted "silu"/, { hidden_act: 'gelu' }),
  configured('biases', /attention_bias: got true, wanted false/, { attention_bias: true }),
  configured('an epsilon of zero', /rms_norm_eps: got 0, wanted a number between 0 and 1/, { rms_norm_eps: 0 }),
  configured('a scaling of another kind', /got type "yarn", wanted "llama3"/, {
    rope_scaling: { rope_type: 'yarn', factor: 4 },
  }),
  configured('a scaling without factor', /rope_scaling\.factor: got nothing/, {
    rope_scaling: { rope_type: 'llama3' },
  }),
  configured('a list of layers too short', /no_rope_layers: got \[1\], wanted one number for each of the 2 layers/, {
    no_rope_layers: [1],
  }),
  configured('a list of layers with a 2', /no_rope_layers: got \[1,2\]/, { no_rope_layers: [1, 2] }),
  configured('experts in a layer that is none', /moe_layers: got \[9\], wanted a list of integers from 0 to 1/, {
    moe_layers: [9],
  }),
  configured('layer types that do not fit', /layer_types: got .*, wanted "chunked_attention" for layers with RoPE/, {
    layer_types: ['sliding_attention', 'full_attention'],
  }),
  configured('a chunk of zero', /attention_chunk_size: got 0/, { attention_chunk_size: 0 }),
  configured('tuning that is text', /attn_temperature_tuning: got "yes"/, { attn_temperature_tuning: 'yes' }),
  configured('4-bit weights', /quantization_config\.quant_method: got "gptq", wanted .*FP8/, {
    quantization_config: { quant_method: 'gptq' },
  }),
  configured('packed weights', /quantization_config\.format: got "pack-quantized"/, {
    quantization_config: { quant_method: 'compressed-tensors', format: 'pack-quantized' },
  }),
  configured('another number of experts', /got shape \[2, 8\], wanted one of shape \[3, 8\]/, { num_local_experts: 3 }),
];

const tokenizers: HostileFolder[] = [
  huggingFace('a tokenizer that is no JSON', /tokenizer\.json: this is no JSON/, { 'tokenizer.json': 'merges' }),
  huggingFace('a tokenizer without a model', /tokenizer\.json: model: got nothing/, { 'tokenizer.json': '{}' }),
  huggingFace('SentencePiece', /byte_fallback: got true/, {
    'tokenizer.json': '{"model": {"byte_fallback": true, "vocab": {}, "merges": []}}',
  }),
  huggingFace('a token of number 10^9', /vocab\.a: got 1000000000, wanted an integer/, {
    'tokenizer.json': '{"model": {"vocab": {"a": 1000000000}, "merges": []}}',
  }),
  huggingFace('merges of numbers', /merges\[0\]: got 5, wanted "left right"/, {
    'tokenizer.json': '{"model": {"vocab": {"a": 0}, "merges": [5]}}',
  }),
  huggingFace('an added token without an id', /added_tokens\[0\]\.id: got nothing/, {
    'tokenizer.json': '{"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": [{"content": "x"}]}',
  }),
  huggingFace('an end that is no token', /eos_token_id: got 99, wanted an integer from 0 to 15/, {
    'generation_config.json': '{"eos_token_id": 99}',
  }),
  huggingFace('ends that are no tokens', /eos_token_id: got \[1,99\], wanted a list/, {
    'generation_config.json': '{"eos_token_id": [1, 99]}',
  }),
];

const pth = 'consolidated.00.pth';
const good = metaTensors(smallest, makeTiny(smallest));
const meta = (name: string, error: RegExp, changed: Files): HostileFolder => ({
  name,
  error,
  files: { ...metaFiles(), ...changed },
});
const archive = (name: string, error: RegExp, bytes: Uint8Array): HostileFolder => meta(name, error, { [pth]: bytes });
const pickled = (name: string, error: RegExp, pickle: Uint8Array): HostileFolder =>
  archive(name, error, storedZip({ 'c/data.pkl': pickle, 'c/data/0': new Uint8Array(256) }));
const params = (name: string, error: RegExp, change: Record<string, unknown>): HostileFolder =>
  meta(name, error, { 'params.json': JSON.stringify({ ...smallParams, ...change }) });
const shards = (name: string, error: RegExp, change: (list: typeof good) => typeof good): HostileFolder =>
  archive(name, error, torchFile(change(good)));
const zip = torchFile(good);
const patched = (at: number, ...bytes: number[]): Uint8Array => {
  const copy = Uint8Array.from(zip);
  copy.set(bytes, at < 0 ? copy.length + at : at);
  return copy;
};
const directoryAt = Buffer.from(zip).readUInt32LE(zip.length - 6);

/** A good file, but some of its tensors in FP8. */
function float8File(which = 'experts'): Uint8Array {
  return torchFile(
    good.map(t =>
      t.name.includes(which)
        ? { ...t, type: 'F8_E4M3', data: (t.data as Uint8Array).subarray(0, t.data.length / 2) }
        : t,
    ),
  );
}

const metas: HostileFolder[] = [
  archive('an empty shard', /no file of torch\.save: the file is empty/, new Uint8Array()),
  archive('a shard that is safetensors', /no file of torch\.save: it looks like safetensors/, safetensorsFile({}, 0)),
  archive('a shard from before zip', /no file of torch\.save: it looks like a Python pickle/, opcode('\x80\x02}.')),
  archive('an archive without an end', /it has no end/, zip.subarray(0, zip.length - 30)),
  archive('an archive cut in the middle', /it has no end|reaches/, zip.subarray(0, 500)),
  archive('a directory past the end', /its directory is said to be at/, patched(-6, 0xff, 0xff, 0xff, 0x7f)),
  archive('a directory of 4 GiB', /its directory is said to be at|entries in/, patched(-10, 0xff, 0xff, 0xff, 0x7f)),
  archive('60,000 entries', /entry \d+ of 60000 is none/, patched(-12, 0x60, 0xea)),
  archive('an entry that is none', /entry 1 of \d+ is none/, patched(directoryAt, 0)),
  archive('an entry that is compressed', /is compressed; wanted one stored as it is/, patched(directoryAt + 10, 8)),
  archive('an entry larger than unpacked', /is compressed; wanted one stored/, patched(directoryAt + 24, 1, 2, 3)),
  archive(
    'an entry past the end',
    /entry consolidated\.00\/data\.pkl is said to be at/,
    patched(directoryAt + 42, 0xfe, 0xff, 0xff, 0x7f),
  ),
  archive('an entry without its header', /has no header at/, patched(directoryAt + 42, 3)),
  archive(
    'an entry over the directory',
    /into the directory|is said to be at/,
    patched(directoryAt + 20, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0),
  ),
  archive(
    'an entry with half of its 64 bits',
    /lacks its 64-bit sizes/,
    patched(directoryAt + 20, 0xff, 0xff, 0xff, 0xff),
  ),
  archive('no pickle', /the archive has no data\.pkl/, storedZip({ 'c/data/0': 'x' })),
  archive(
    'big-endian numbers',
    /its numbers are big-endian/,
    storedZip({ 'c/data.pkl': pickledDictionary([]), 'c/byteorder': 'big' }),
  ),
  pickled(
    'os.system',
    /it names "posix\.system", which Python would call/,
    opcode('\x80\x02cposix\nsystem\n', unicode('true'), opcode('\x85R.')),
  ),
  pickled(
    'builtins.eval among tensors',
    /it names "builtins\.eval"/,
    pickledDictionary([['a', opcode('cbuiltins\neval\n', unicode('1'), opcode('\x85R'))]]),
  ),
  pickled(
    'a name put together',
    /it names "os\.system"/,
    opcode('\x80\x04', unicode('os'), unicode('system'), opcode('\x93.')),
  ),
  pickled('torch.load in torch', /it names "torch\.load"/, opcode('\x80\x02ctorch\nload\n.')),
  pickled('nothing', /it ends at byte 0/, new Uint8Array()),
  pickled('no end', /it ends at byte/, opcode('\x80\x02}')),
  pickled('a text longer than the file', /it ends at byte/, opcode('\x80\x02X\xff\xff\xff\x7fab')),
  pickled('a list for a dictionary', /it holds no dictionary/, opcode('\x80\x02].')),
  pickled('a dictionary of numbers', /a key is number/, opcode('\x80\x02}(', integer(1), integer(2), opcode('u.'))),
  pickled('protocol 9', /protocol 9 is not known/, opcode('\x80\x09}.')),
  pickled('an opcode that is none', /opcode 0x21 at byte 2 is none/, opcode('\x80\x02!.')),
  pickled(
    'an opcode that makes instances',
    /opcode 0x69 .* is none that files of tensors have/,
    opcode('\x80\x02(ios\nsystem\n.'),
  ),
  pickled(
    'an empty stack',
    /a value is missing before/,
    opcode('\x80\x020.').map(b => (b === 0x30 ? 0x62 : b)),
  ),
  pickled('no mark', /a mark is missing/, opcode('\x80\x02}u.')),
  pickled('a memo that is not made', /memo 7 is asked for/, opcode('\x80\x02h\x07.')),
  pickled(
    'a number of 255 bytes',
    /a number of 255 bytes .* is too large/,
    opcode(`\x80\x02\x8a\xff${'\x7f'.repeat(255)}.`),
  ),
  pickled('a name without end', /a name at byte 3 has no end/, opcode(`\x80\x02c${'x'.repeat(300)}`)),
  pickled('a call of a text', /something that has no name is called/, opcode('\x80\x02', unicode('x'), opcode(')R.'))),
  pickled('a reference to nothing', /is none to a storage/, opcode('\x80\x02', unicode('x'), opcode('Q.'))),
  pickled('a tensor without a storage', /lacks its storage/, opcode('\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.')),
  pickled('a million marks', /a value is missing|values are open/, opcode(`\x80\x02${'('.repeat(1_200_000)}.`)),
  pickled(
    'a storage that is missing',
    /no entry .?data\/7/,
    pickledDictionary([['a', pickledTensor('FloatStorage', '7', [4])]]),
  ),
  pickled(
    'a storage of another kind',
    /its storage is ComplexFloatStorage; known are/,
    pickledDictionary([['a', pickledTensor('ComplexFloatStorage', '0', [4])]]),
  ),
  pickled(
    'a tensor larger than its storage',
    /takes more than the 256 bytes/,
    pickledDictionary([['a', pickledTensor('FloatStorage', '0', [65])]]),
  ),
  pickled(
    'sizes whose product overflows',
    /takes more than the 256 bytes/,
    pickledDictionary([['a', pickledTensor('FloatStorage', '0', [2 ** 30, 2 ** 30, 2 ** 30])]]),
  ),
  pickled(
    'a tensor in other strides',
    /its strides are \[1, 8\] for \[8, 8\]/,
    pickledDictionary([['a', pickledTensor('FloatStorage', '0', [8, 8], [1, 8])]]),
  ),
  params('params without a width', /params\.json: dim: got nothing/, { dim: undefined }),
  params('params of another kind', /n_layers: got "two"/, { n_layers: 'two' }),
  params('int4 weights', /quantization_args: got .*, wanted none/, {
    quantization_args: { scheme: 'int4_weight_int8_dynamic_activation' },
  }),
  params('another number of heads', /got shape .*, wanted|rows in all, wanted/, { n_heads: 4, head_dim: 4 }),
  params('another number of experts', /router_DE: got shape \[8, 2\], wanted \[8, 3\]/, {
    moe_args: { num_experts: 3, interleave_moe_layer_step: 2 },
  }),
  shards('a tensor missing', /layers\.1\.attention\.wo\.weight: got no such tensor/, list =>
    list.filter(t => t.name !== 'layers.1.attention.wo.weight'),
  ),
  shards('a tensor too many', /layers\.1\.attention\.wq\.bias: the model .* has no place/, list => [
    ...list,
    { ...list[1]!, name: 'layers.1.attention.wq.bias' },
  ]),
  shards('experts of another width', /moe_w_swiglu_eD_F: got 8 outputs, wanted 4/, list =>
    list.map(t => (t.name.includes('swiglu_eD') ? { ...t, shape: [16, 8], data: new Uint8Array(256) } : t)),
  ),
  meta('FP8 experts without scales', /got FP8 without .*experts\.w1.* in fp8_scales_0\.pt, wanted a scale/, {
    [pth]: float8File(),
  }),
  meta('FP8 experts with scales of another shape', /experts\.w1.*: got F32 \[3\], wanted F32 \[2, 4\]/, {
    [pth]: float8File(),
    'fp8_scales_0.pt': torchFile([
      { name: 'layers.1.feed_forward.experts.w1', type: 'F32', shape: [3], data: new Uint8Array(12) },
    ]),
  }),
  meta('attention in FP8', /attention\.wo\.weight.*: got numbers of type F8_E4M3/, {
    [pth]: float8File('attention.wo'),
  }),
  meta('a shard missing', /there are 2 shards, but none of number 1/, { 'consolidated.02.pth': zip }),
  meta('shards of two models', /shard 0 has it, shard 1 has not|rows in all/, {
    'consolidated.01.pth': torchFile(good.slice(3)),
  }),
  meta('a tokenizer of another kind', /tokenizer\.model: line 1 is .*, wanted a token's bytes in base64/, {
    'tokenizer.model': '\n\u0001<unk>',
  }),
  meta('a tokenizer with a line twice', /line 2: its token is there already/, {
    'tokenizer.model': 'YQ== 0\nYQ== 1\n',
  }),
];

export const hostileFolders: readonly HostileFolder[] = [
  ...safetensors,
  ...indices,
  ...configs,
  ...tokenizers,
  ...metas.map(hostile => ({ ...hostile, name: `Meta: ${hostile.name}` })),
];
