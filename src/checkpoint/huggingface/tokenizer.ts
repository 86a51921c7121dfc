// The tokenizer files of a Hugging Face folder become the metadata that a GGUF of the model has (`tokenizer.ggml.*`).
// Sources: ggml docs/gguf.md; llama.cpp convert_hf_to_gguf.py (which pre-tokenizer a pattern is called by).
import { CheckpointError, type MetadataValue } from '../checkpoint.ts';
import { type Folder, readSmallFile } from '../folder.ts';
import { Fields, type Json, parseJson, shownJson } from '../json.ts';

/** Llama 4's tokenizer.json takes 27 MB. */
const maxTokenizerBytes = 96 * 2 ** 20;
const maxSmallBytes = 4 * 2 ** 20;
const maxTokens = 2 ** 20;
/** `tokenizer.ggml.token_type`. */
const [NORMAL, CONTROL, USER_DEFINED, UNUSED] = [1, 3, 4, 5];

const contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const cl100k = String.raw`[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const upper = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const lower = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;

/** What files split texts by before bytes are merged, and llama.cpp's name for it. */
const preTokenizers: readonly (readonly [steps: string, name: string])[] = [
  [
    String.raw`Split ${upper}*${lower}+${contraction}?|${upper}+${lower}*${contraction}?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    'llama4',
  ],
  [`Split ${contraction}|${cl100k}`, 'llama-bpe'],
  [`Split ${contraction}|${cl100k.replace('{1,3}', '')}`, 'qwen2'],
  ['ByteLevel', 'gpt-2'],
  ['Digits, ByteLevel', 'smollm'],
];

/**
 * Reads tokenizer.json, tokenizer_config.json, chat_template.* and generation_config.json, as far as they are there.
 * @param config the fields of config.json: ids of the tokens that begin and end a text
 * @param vocab rows of the table of embeddings; the list of tokens is filled up to it
 * @throws CheckpointError naming the file and the field that is wrong
 */
export async function readTokenizer(
  folder: Folder,
  config: Fields,
  vocab: number,
): Promise<Map<string, MetadataValue>> {
  const metadata = new Map<string, MetadataValue>();
  const generation = await fieldsOf(folder, 'generation_config.json', maxSmallBytes);
  const settings = await fieldsOf(folder, 'tokenizer_config.json', maxSmallBytes);
  const file = await fieldsOf(folder, 'tokenizer.json', maxTokenizerBytes);
  const ids = new Map<string, number>();
  if (file) readVocabulary(file, vocab, ids, metadata);
  readEnds(metadata, { generation, settings, config, ids, vocab });
  const template = await readTemplate(folder, settings);
  if (template !== null) metadata.set('tokenizer.chat_template', template);
  for (const [key, name] of sampling) {
    const value = generation?.get(name) ?? null;
    if (typeof value === 'number' && generation?.get('do_sample') !== false)
      metadata.set(`general.sampling.${key}`, value);
  }
  return metadata;
}

/** What generation_config.json suggests, under llama.cpp's names. */
const sampling = [
  ['temp', 'temperature'],
  ['top_p', 'top_p'],
  ['top_k', 'top_k'],
  ['min_p', 'min_p'],
  ['penalty_repeat', 'repetition_penalty'],
] as const;

async function fieldsOf(folder: Folder, name: string, most: number): Promise<Fields | null> {
  if (!folder.names.has(name)) return null;
  const path = `${folder.path}/${name}`;
  return new Fields(path, parseJson(path, await readSmallFile(folder, name, most)));
}

/** Tokens, their types, merges, and how texts are split. Fills `ids` with the special tokens. */
function readVocabulary(
  file: Fields,
  vocab: number,
  ids: Map<string, number>,
  metadata: Map<string, MetadataValue>,
): void {
  const model = file.inner('model') ?? file.fail('model', 'an object');
  if (model.text('type', 'BPE') !== 'BPE') model.fail('type', '"BPE"');
  if (model.get('byte_fallback') === true)
    model.fail(
      'byte_fallback',
      'false: byte-level BPE, as Llama 3 and 4 use; SentencePiece vocabularies are not supported',
    );
  if ((file.get('normalizer') ?? null) !== null) file.fail('normalizer', 'null: normalizers are not supported');
  const tokens: string[] = [];
  const types: number[] = [];
  const place = (fields: Fields, key: string, text: string, type: number): void => {
    const id = fields.integer(key, 0, maxTokens - 1);
    tokens[id] = text;
    types[id] = type;
  };
  const vocabulary = model.inner('vocab') ?? model.fail('vocab', 'an object of token: id');
  for (const text of vocabulary.keys()) place(vocabulary, text, text, NORMAL);
  const added = file.get('added_tokens') ?? [];
  if (!Array.isArray(added)) file.fail('added_tokens', 'a list');
  for (const [i, entry] of (added as readonly Json[]).entries()) {
    const token = new Fields(file.path, entry, `added_tokens[${i}].`);
    const text = token.text('content');
    place(token, 'id', text, token.get('special') === true ? CONTROL : USER_DEFINED);
    ids.set(text, token.integer('id', 0, maxTokens - 1));
  }
  for (let id = 0; id < Math.max(vocab, tokens.length); id++) {
    if (tokens[id] !== undefined) continue;
    tokens[id] = `[PAD${id}]`;
    types[id] = UNUSED;
  }
  metadata.set('tokenizer.ggml.model', 'gpt2');
  const pre = preTokenizerName(file);
  if (pre !== null) metadata.set('tokenizer.ggml.pre', pre);
  // Unknown to llama.cpp, but a pattern all the same.
  else metadata.set('tokenizer.huggingface.pre_tokenizer', JSON.stringify(file.get('pre_tokenizer') ?? null));
  metadata.set('tokenizer.ggml.tokens', tokens);
  metadata.set('tokenizer.ggml.token_type', types);
  metadata.set('tokenizer.ggml.merges', mergesOf(model));
  const first = firstOfTexts(file.get('post_processor'));
  const bos = first === null ? undefined : ids.get(first);
  metadata.set('tokenizer.ggml.add_bos_token', bos !== undefined);
  if (bos !== undefined) metadata.set('tokenizer.ggml.bos_token_id', bos);
}

/** "left right", whether a file has them so or as pairs. */
function mergesOf(model: Fields): string[] {
  const merges = model.get('merges');
  if (!Array.isArray(merges)) return model.fail('merges', 'a list of "left right"');
  return (merges as readonly Json[]).map((merge, i) => {
    if (typeof merge === 'string') return merge;
    if (Array.isArray(merge) && merge.length === 2 && merge.every(part => typeof part === 'string'))
      return merge.join(' ');
    throw new CheckpointError(
      model.path,
      `model.merges[${i}]: got ${shownJson(merge)}, wanted "left right" or ["left", "right"].`,
    );
  });
}

/** llama.cpp's name for how a file splits texts, or null where it is none of those known. */
function preTokenizerName(file: Fields): string | null {
  const value = file.get('pre_tokenizer') as { type?: Json; pretokenizers?: readonly Json[] } | null | undefined;
  const steps =
    value?.type === 'Sequence' && Array.isArray(value.pretokenizers) ? value.pretokenizers : [value ?? null];
  const described = (steps as readonly Json[]).map(step => {
    const { type, pattern, individual_digits, use_regex, add_prefix_space, behavior } = (step ?? {}) as Record<
      string,
      Json
    >;
    if (type === 'Split' && behavior === 'Isolated')
      return `Split ${(pattern as { Regex?: string } | undefined)?.Regex}`;
    if (type === 'Digits' && individual_digits === true) return 'Digits';
    if (type === 'ByteLevel' && add_prefix_space !== true) return use_regex === false ? '' : 'ByteLevel';
    return 'unknown';
  });
  const text = described.filter(step => step !== '').join(', ');
  return preTokenizers.find(([known]) => known === text)?.[1] ?? null;
}

/** The text of the special token that the post-processor puts in front, or null. */
function firstOfTexts(value: Json | undefined): string | null {
  const outer = value as { processors?: readonly Json[] } | null | undefined;
  for (const processor of outer?.processors ?? [outer]) {
    const { type, single } = (processor ?? {}) as Record<string, Json>;
    const first =
      type === 'TemplateProcessing' && Array.isArray(single) ? (single[0] as Record<string, Json> | null) : null;
    const special = first?.SpecialToken as { id?: Json } | undefined;
    if (typeof special?.id === 'string') return special.id;
  }
  return null;
}

interface Ends {
  readonly generation: Fields | null;
  readonly settings: Fields | null;
  readonly config: Fields;
  readonly ids: ReadonlyMap<string, number>;
  readonly vocab: number;
}

/** The tokens that begin, fill up and end texts. Which ones end a generation, generation_config.json knows best. */
function readEnds(metadata: Map<string, MetadataValue>, { generation, settings, config, ids, vocab }: Ends): void {
  const named = (key: string): number | undefined => {
    const value = settings?.get(key) ?? null;
    const text = typeof value === 'string' ? value : (value as { content?: Json } | null)?.content;
    return typeof text === 'string' ? ids.get(text) : undefined;
  };
  const inFile = (key: string): number[] => {
    for (const fields of [generation, config]) {
      const value = fields?.get(key) ?? null;
      if (fields && typeof value === 'number') return [fields.integer(key, 0, vocab - 1)];
      const list = value === null ? null : fields?.integers(key, 0, vocab - 1);
      if (list) return list;
    }
    return [];
  };
  const set = (key: string, value: number | undefined): void => {
    if (value !== undefined) metadata.set(`tokenizer.ggml.${key}_token_id`, value);
  };
  if (!metadata.has('tokenizer.ggml.bos_token_id')) set('bos', named('bos_token') ?? inFile('bos_token_id')[0]);
  const ends = inFile('eos_token_id');
  set('eos', named('eos_token') ?? ends.at(-1));
  set('padding', named('pad_token') ?? inFile('pad_token_id')[0]);
  if (ends.length > 1) metadata.set('tokenizer.ggml.eos_token_ids', ends);
}

/** chat_template.jinja, chat_template.json or the field of tokenizer_config.json: what newer versions write goes first. */
async function readTemplate(folder: Folder, settings: Fields | null): Promise<string | null> {
  if (folder.names.has('chat_template.jinja'))
    return new TextDecoder().decode(await readSmallFile(folder, 'chat_template.jinja', maxSmallBytes));
  const value =
    (await fieldsOf(folder, 'chat_template.json', maxSmallBytes))?.get('chat_template') ??
    settings?.get('chat_template');
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return null;
  const templates = value as readonly { name?: Json; template?: Json }[];
  const template = templates.find(entry => entry?.name === 'default')?.template;
  return typeof template === 'string' ? template : null;
}
