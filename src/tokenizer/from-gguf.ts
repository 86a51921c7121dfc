// A tokenizer from the metadata of a GGUF file (keys `tokenizer.ggml.*`, ggml/docs/gguf.md).
import { ByteLevelTokenizer } from './byte-level.ts';
import { tokenBytes, writeBytes } from './byte-unicode.ts';
import { preTokenizerFromJson } from './from-json.ts';
import { MergeReader } from './merges.ts';
import { type PreTokenizer, preTokenizers } from './patterns.ts';
import { findStopTokens } from './stop-tokens.ts';
import { TokenizerError } from './tokenizer-error.ts';
import { ADDED, CONTROL, MAXIMUM_TOKENS, NORMAL, UNUSED, VocabularyBuilder } from './vocabulary.ts';

/** Metadata by key, as a checkpoint gives it. */
export type Metadata = ReadonlyMap<string, unknown>;

/** Values of `tokenizer.ggml.token_type`, 0 (undefined) to 6 (byte), as kinds of vocabulary.ts. */
const kinds = [NORMAL, NORMAL, CONTROL, CONTROL, ADDED, UNUSED, NORMAL];

/**
 * Byte-level BPE only (`tokenizer.ggml.model` = gpt2), which Llama 3, Llama 4 and SmolLM2 use.
 * @throws TokenizerError naming the key, what it holds and what it should
 */
export function tokenizerFromGguf(metadata: Metadata): ByteLevelTokenizer {
  const model = text(metadata, 'model');
  if (model === null)
    throw new TokenizerError(
      'tokenizer.ggml.model is missing: this file has no tokenizer; give one by tokenizer.model or tokenizer.json',
    );
  if (model !== 'gpt2')
    throw new TokenizerError(
      `tokenizer.ggml.model is ${JSON.stringify(model)}, expected "gpt2" (byte-level BPE, as Llama 3 and 4 use)${model === 'llama' ? '; SentencePiece vocabularies (Llama 1 and 2) are not supported' : ''}`,
    );
  const preTokenizer = preTokenizerFrom(metadata);

  const tokens = array(metadata, 'tokens');
  if (tokens === null || tokens.length === 0)
    throw new TokenizerError('tokenizer.ggml.tokens is missing or empty; expected the list of tokens');
  const types = array(metadata, 'token_type');
  if (types !== null && types.length !== tokens.length)
    throw new TokenizerError(`tokenizer.ggml.token_type has ${types.length} entries for ${tokens.length} tokens`);
  const builder = new VocabularyBuilder(tokens.length);
  const encoder = new TextEncoder();
  const specialTokens = new Map<string, number>();
  const controls = new Map<string, number>();
  for (let id = 0; id < tokens.length; id++) {
    const token = tokens[id];
    if (typeof token !== 'string')
      throw new TokenizerError(`tokenizer.ggml.tokens[${id}] is ${describe(token)}, expected a string`);
    const type = types === null ? 1 : Number(types[id]);
    const kind = kinds[type];
    if (kind === undefined)
      throw new TokenizerError(`tokenizer.ggml.token_type[${id}] is ${describe(types?.[id])}, expected 0 … 6`);
    const bytes = kind === NORMAL ? tokenBytes(token) : encoder.encode(token);
    builder.add(bytes, bytes.length, kind);
    // Files repeat placeholders like <|reserved|>; the first of a name keeps it.
    if ((kind === CONTROL || kind === ADDED) && !specialTokens.has(token)) specialTokens.set(token, id);
    if (kind === CONTROL && !controls.has(token)) controls.set(token, id);
  }
  const vocabulary = builder.build();

  const merges = array(metadata, 'merges');
  if (merges === null)
    throw new TokenizerError('tokenizer.ggml.merges is missing; expected the list of merges, "left right"');
  if (merges.length > MAXIMUM_TOKENS)
    throw new TokenizerError(
      `tokenizer.ggml.merges has ${merges.length} entries; at most ${MAXIMUM_TOKENS} are supported`,
    );
  const reader = new MergeReader(vocabulary, merges.length);
  let bytes = new Uint8Array(1024);
  for (let i = 0; i < merges.length; i++) {
    const merge = merges[i];
    if (typeof merge !== 'string')
      throw new TokenizerError(`tokenizer.ggml.merges[${i}] is ${describe(merge)}, expected a string`);
    const space = merge.indexOf(' ', 1);
    if (merge.length > bytes.length) bytes = new Uint8Array(merge.length * 2);
    const split = space < 0 ? -1 : writeBytes(merge, 0, space, bytes, 0);
    const length = split < 0 ? -1 : writeBytes(merge, space + 1, merge.length, bytes, split);
    if (length <= split)
      throw new TokenizerError(`tokenizer.ggml.merges[${i}] is ${describe(merge)}, expected "left right"`);
    const missing = reader.add(bytes, split, length);
    if (missing !== null)
      throw new TokenizerError(
        `tokenizer.ggml.merges[${i}] is ${describe(merge)}, whose ${missing} is not in tokenizer.ggml.tokens`,
      );
  }

  const bosToken = tokenId(metadata, 'bos_token_id', tokens.length);
  const addBos = metadata.get('tokenizer.ggml.add_bos_token') ?? preTokenizer.addBos;
  if (typeof addBos !== 'boolean')
    throw new TokenizerError(`tokenizer.ggml.add_bos_token is ${describe(addBos)}, expected true or false`);
  const named = ['eos_token_id', 'eot_token_id', 'eom_token_id'].map(key => tokenId(metadata, key, tokens.length));
  // A list of our own, from the eos_token_id of Hugging Face's generation_config.json.
  for (const id of array(metadata, 'eos_token_ids') ?? []) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= tokens.length)
      throw new TokenizerError(
        `tokenizer.ggml.eos_token_ids has ${describe(id)}, expected token ids, 0 … ${tokens.length - 1}`,
      );
    named.push(id);
  }
  return new ByteLevelTokenizer({
    vocabulary,
    preTokenizer,
    merges: reader.table,
    bos: addBos ? bosToken : null,
    stopTokens: findStopTokens(controls, named),
    specialTokens,
  });
}

/** By its name in `tokenizer.ggml.pre`, or by the description that a Hugging Face folder gave of one without a name. */
function preTokenizerFrom(metadata: Metadata): PreTokenizer {
  const description = metadata.get('tokenizer.huggingface.pre_tokenizer');
  if (typeof description === 'string') return preTokenizerFromJson(description);
  const pre = text(metadata, 'pre') ?? 'default';
  const known = preTokenizers.get(pre);
  if (known !== undefined) return known;
  throw new TokenizerError(
    `tokenizer.ggml.pre is ${JSON.stringify(pre.slice(0, 80))}, which is not known; known are ${[...preTokenizers.keys()].join(', ')}`,
  );
}

/** What the metadata says about conversations: the template, and the texts of the tokens templates call by name. */
export interface TemplateMetadata {
  readonly template: string | null;
  readonly architecture: string | null;
  readonly bosText: string;
  readonly eosText: string;
}

/** @throws TokenizerError when a key holds what it must not */
export function templateFromGguf(metadata: Metadata): TemplateMetadata {
  const tokens = array(metadata, 'tokens') ?? [];
  const named = (key: string): string => {
    const id = tokenId(metadata, key, tokens.length);
    const token = id === null ? '' : tokens[id];
    return typeof token === 'string' ? token : '';
  };
  const template = metadata.get('tokenizer.chat_template') ?? null;
  if (template !== null && typeof template !== 'string')
    throw new TokenizerError(`tokenizer.chat_template is ${describe(template)}, expected a string`);
  const architecture = metadata.get('general.architecture');
  return {
    template,
    architecture: typeof architecture === 'string' ? architecture : null,
    bosText: named('bos_token_id'),
    eosText: named('eos_token_id'),
  };
}

function text(metadata: Metadata, key: string): string | null {
  const value = metadata.get(`tokenizer.ggml.${key}`);
  if (value === undefined) return null;
  if (typeof value !== 'string')
    throw new TokenizerError(`tokenizer.ggml.${key} is ${describe(value)}, expected a string`);
  return value;
}

function array(metadata: Metadata, key: string): readonly unknown[] | null {
  const value = metadata.get(`tokenizer.ggml.${key}`);
  if (value === undefined) return null;
  if (!Array.isArray(value)) throw new TokenizerError(`tokenizer.ggml.${key} is ${describe(value)}, expected an array`);
  return value;
}

function tokenId(metadata: Metadata, key: string, tokens: number): number | null {
  const value = metadata.get(`tokenizer.ggml.${key}`);
  if (value === undefined) return null;
  const id = Number(value);
  // Some converters write 2³² − 1 for "none".
  if (id === 0xffffffff) return null;
  if ((typeof value !== 'number' && typeof value !== 'bigint') || !Number.isInteger(id) || id < 0 || id >= tokens)
    throw new TokenizerError(`tokenizer.ggml.${key} is ${describe(value)}, expected a token id, 0 … ${tokens - 1}`);
  return id;
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
