// A tokenizer from Hugging Face's tokenizer.json: byte-level BPE, vocabulary, merges, added tokens and the pre-tokenizer's patterns.
import { ByteLevelTokenizer } from './byte-level.ts';
import { tokenBytes, writeBytes } from './byte-unicode.ts';
import { MergeReader } from './merges.ts';
import { type PreTokenizer, patterns, preTokenizers, regexScanner } from './patterns.ts';
import { findStopTokens } from './stop-tokens.ts';
import { TokenizerError } from './tokenizer-error.ts';
import { ADDED, CONTROL, MAXIMUM_TOKENS, NORMAL, UNUSED, type Vocabulary, VocabularyBuilder } from './vocabulary.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * @param json the text of the file
 * @param name what error messages call it
 * @throws TokenizerError naming the field, what it holds and what it should
 */
export function tokenizerFromJson(json: string, name = 'tokenizer.json'): ByteLevelTokenizer {
  const fail: Fail = message => {
    throw new TokenizerError(`${name}: ${message}`);
  };
  const file = parse(json, fail);
  const model = fields(file.model) ?? fail('model is missing; expected an object');
  if (model.type !== undefined && model.type !== 'BPE')
    fail(`model.type is ${JSON.stringify(model.type)}, expected "BPE"`);
  if (model.byte_fallback === true)
    fail('model.byte_fallback is true (SentencePiece); only byte-level BPE is supported');
  if (model.continuing_subword_prefix || model.end_of_word_suffix)
    fail('model.continuing_subword_prefix or end_of_word_suffix is set; only byte-level BPE is supported');
  if (file.normalizer !== null && file.normalizer !== undefined)
    fail(
      `normalizer is ${JSON.stringify(fields(file.normalizer)?.type ?? file.normalizer)}, expected null: normalizers are not supported`,
    );
  const vocab = fields(model.vocab) ?? fail('model.vocab is missing; expected an object of token: id');
  const added = file.added_tokens ?? [];
  if (!Array.isArray(added)) return fail('added_tokens is no array');

  const texts: { text: string; kind: number }[] = [];
  const place = (text: string, id: unknown, kind: number, where: string): void => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MAXIMUM_TOKENS)
      fail(`${where} has id ${JSON.stringify(id)}, expected 0 … ${MAXIMUM_TOKENS - 1}`);
    if (kind === NORMAL && texts[id] !== undefined) fail(`${where} has id ${id}, which another token has`);
    texts[id] = { text, kind };
  };
  for (const [text, id] of Object.entries(vocab)) place(text, id, NORMAL, `model.vocab[${JSON.stringify(text)}]`);
  for (const [i, entry] of added.entries()) {
    const token = fields(entry);
    if (token === null || typeof token.content !== 'string')
      return fail(`added_tokens[${i}].content is missing; expected a string`);
    place(token.content, token.id, token.special === true ? CONTROL : ADDED, `added_tokens[${i}]`);
  }
  if (texts.length === 0) fail('model.vocab is empty');

  const builder = new VocabularyBuilder(texts.length);
  const encoder = new TextEncoder();
  const specialTokens = new Map<string, number>();
  const controls = new Map<string, number>();
  for (let id = 0; id < texts.length; id++) {
    const { text, kind } = texts[id] ?? { text: '', kind: UNUSED };
    const bytes = kind === NORMAL ? tokenBytes(text) : encoder.encode(text);
    builder.add(bytes, bytes.length, kind);
    if (kind === CONTROL || kind === ADDED) specialTokens.set(text, id);
    if (kind === CONTROL) controls.set(text, id);
  }
  const vocabulary = builder.build();
  const unknown =
    typeof model.unk_token === 'string' ? (vocab[model.unk_token] ?? specialTokens.get(model.unk_token)) : null;
  return new ByteLevelTokenizer({
    vocabulary,
    preTokenizer: preTokenizerOf(file.pre_tokenizer, specialTokens.has('<|header_start|>'), fail),
    merges: mergesOf(model.merges, vocabulary, fail),
    wholePieces: model.ignore_merges === true,
    bos: bosOf(file.post_processor, specialTokens),
    stopTokens: findStopTokens(controls, []),
    specialTokens,
    unknown: typeof unknown === 'number' ? unknown : null,
  });
}

type Fail = (message: string) => never;

function parse(json: string, fail: Fail): Fields {
  let file: unknown;
  try {
    file = JSON.parse(json);
  } catch (error) {
    return fail(`no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  return fields(file) ?? fail('expected an object with model, pre_tokenizer and added_tokens');
}

function fields(value: unknown): Fields | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

/** Merges come as "left right" or, where tokens hold spaces, as pairs. */
function mergesOf(merges: unknown, vocabulary: Vocabulary, fail: Fail): MergeReader['table'] {
  if (!Array.isArray(merges)) return fail('model.merges is missing; expected an array');
  if (merges.length > MAXIMUM_TOKENS)
    fail(`model.merges has ${merges.length} entries; at most ${MAXIMUM_TOKENS} are supported`);
  const reader = new MergeReader(vocabulary, merges.length);
  let bytes = new Uint8Array(1024);
  for (let i = 0; i < merges.length; i++) {
    const merge: unknown = merges[i];
    const pair: readonly unknown[] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : [];
    const [left, right] = pair;
    if (pair.length !== 2 || typeof left !== 'string' || typeof right !== 'string')
      return fail(
        `model.merges[${i}] is ${JSON.stringify(merge)?.slice(0, 80)}, expected "left right" or ["left", "right"]`,
      );
    if (left.length + right.length > bytes.length) bytes = new Uint8Array((left.length + right.length) * 2);
    const split = writeBytes(left, 0, left.length, bytes, 0);
    const length = split < 0 ? -1 : writeBytes(right, 0, right.length, bytes, split);
    const missing = length < 0 ? 'spelling' : reader.add(bytes, split, length);
    if (missing !== null)
      fail(`model.merges[${i}] is ${JSON.stringify(merge).slice(0, 80)}, whose ${missing} is not in model.vocab`);
  }
  return reader.table;
}

const asWritten = (source: string): string =>
  source.replaceAll('\\p{White_Space}', '\\s').replaceAll('\\P{White_Space}', '\\S');

/** Known patterns, as files write them, and the pre-tokenizer that has a scanner for each. */
const known = new Map<string, PreTokenizer>([
  [asWritten(patterns.llama4), preTokenizers.get('gpt-4o')!],
  [asWritten(patterns.llama3), preTokenizers.get('llama3')!],
  [asWritten(patterns.qwen2), preTokenizers.get('qwen2')!],
  [asWritten(patterns.gpt2), preTokenizers.get('gpt-2')!],
  [`\\p{N} then ${asWritten(patterns.gpt2)}`, preTokenizers.get('smollm')!],
]);

/** The pre-tokenizer that the `pre_tokenizer` of a tokenizer.json describes. @throws TokenizerError for one that is not supported */
export function preTokenizerFromJson(json: string): PreTokenizer {
  const fail: Fail = message => {
    throw new TokenizerError(`tokenizer.huggingface.pre_tokenizer: ${message}`);
  };
  return preTokenizerOf(parse(json, fail), false, fail);
}

function preTokenizerOf(value: unknown, isLlama4: boolean, fail: Fail): PreTokenizer {
  const steps: string[] = [];
  let byteLevel = false;
  for (const step of flatten(value)) {
    if (step.type === 'ByteLevel') {
      byteLevel = true;
      if (step.add_prefix_space === true) fail('pre_tokenizer ByteLevel has add_prefix_space, which is not supported');
      if (step.use_regex !== false) steps.push(asWritten(patterns.gpt2));
    } else if (step.type === 'Digits') steps.push(step.individual_digits === true ? '\\p{N}' : '\\p{N}+');
    else if (step.type === 'Split') {
      const pattern = fields(step.pattern);
      if (step.behavior !== 'Isolated' || step.invert === true)
        fail(`pre_tokenizer Split has behavior ${JSON.stringify(step.behavior)}; only "Isolated" is supported`);
      if (typeof pattern?.Regex === 'string') steps.push(pattern.Regex);
      else if (typeof pattern?.String === 'string') steps.push(RegExp.escape(pattern.String));
      else fail('pre_tokenizer Split has no pattern.Regex and no pattern.String');
    } else
      fail(
        `pre_tokenizer type ${JSON.stringify(step.type)} is not supported; known are Sequence, Split, Digits, ByteLevel`,
      );
  }
  if (!byteLevel) fail('pre_tokenizer has no ByteLevel step; only byte-level BPE is supported');
  const found = known.get(steps.join(' then '));
  if (found !== undefined) return found.name === 'gpt-4o' && isLlama4 ? preTokenizers.get('llama4')! : found;
  try {
    const sources = steps.map(s => s.replaceAll('\\s', '\\p{White_Space}').replaceAll('\\S', '\\P{White_Space}'));
    return { ...preTokenizers.get('gpt-2')!, name: 'tokenizer.json', scan: regexScanner(sources) };
  } catch (error) {
    return fail(`pre_tokenizer pattern cannot be used: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The steps of a pre-tokenizer, Sequences opened (one level is all that files have). */
function flatten(value: unknown): Fields[] {
  const step = fields(value);
  if (step === null) return [];
  if (step.type !== 'Sequence' || !Array.isArray(step.pretokenizers)) return [step];
  return step.pretokenizers.map(fields).filter(s => s !== null);
}

/** The special token that the post-processor's template puts in front of a text. */
function bosOf(value: unknown, specialTokens: ReadonlyMap<string, number>): number | null {
  const processor = fields(value);
  const processors = Array.isArray(processor?.processors) ? processor.processors.map(fields) : [processor];
  for (const entry of processors) {
    if (entry?.type !== 'TemplateProcessing' || !Array.isArray(entry.single)) continue;
    const special = fields(fields(entry.single[0])?.SpecialToken);
    if (typeof special?.id === 'string') return specialTokens.get(special.id) ?? null;
  }
  return null;
}
