// The metadata of a quantized file: the source's, in the types that readers insist on, and what was done.
import type { Checkpoint, MetadataValue } from '../checkpoint/checkpoint.ts';
import { type TypedValue, typed, type WritableValue } from '../checkpoint/gguf-writer.ts';
import { QuantizeError } from './errors.ts';
import type { RuledModel } from './mixes.ts';

/** Keys that are reals even where their value is whole. */
const reals =
  /\.(rope\.freq_base(_swa)?|rope\.scaling\.(factor|attn_factor|yarn_[a-z_]+)|attention\.layer_norm(_rms)?_epsilon|attention\.scale|attention\.[a-z_]*clamp[a-z_]*|logit_scale|embedding_scale|residual_scale|attention\.temperature_scale|[a-z_.]*softcapping|expert_weights_scale|vision\.image_(mean|std)|vision\.[a-z_.]*epsilon|vision\.rope\.freq_base)$|^tokenizer\.ggml\.scores$|^general\.sampling\.(temp|top_p|min_p|penalty_repeat|[a-z_]*penalty)$/;

/** Keys about this one file's making and parts, which do not pass on. */
const own = /^split\.|^general\.alignment$|^general\.file_type$|^general\.quantization_version$|^quantize\./;

/**
 * Metadata to be written.
 * @param made keys about what was done, added at the end
 * @throws QuantizeError where a value cannot be written
 */
export function metadataFor(source: Checkpoint, made: ReadonlyMap<string, WritableValue>): Map<string, WritableValue> {
  const metadata = new Map<string, WritableValue>();
  for (const [key, value] of source.metadata)
    if (!own.test(key) && !made.has(key)) metadata.set(key, typedValue(source, key, value));
  for (const [key, value] of made) metadata.set(key, value);
  return metadata;
}

function typedValue(source: Checkpoint, key: string, value: MetadataValue): WritableValue {
  const type = source.metadataTypes?.get(key);
  if (type === 'array' || (Array.isArray(value) && value.some(Array.isArray)))
    throw new QuantizeError(
      `${source.path}: metadata ${key} is an array of arrays, which cannot be written; remove it.`,
    );
  const content = value as TypedValue['value'];
  if (type) return typed(type, content);
  if (reals.test(key)) return typed('f32', content);
  if (Array.isArray(value) && value.length === 0) return typed('string', []);
  return content;
}

/** What the rules of mixes ask of the model. @throws QuantizeError where the metadata do not say */
export function ruledModel(source: Checkpoint, importance: boolean): RuledModel {
  const architecture = source.metadata.get('general.architecture');
  if (typeof architecture !== 'string')
    throw new QuantizeError(`${source.path}: metadata general.architecture is missing; this is no model's file.`);
  const whole = (key: string, fallback: number): number => {
    const value = source.metadata.get(`${architecture}.${key}`);
    const first = Array.isArray(value) ? value[0] : value;
    return typeof first === 'number' && Number.isInteger(first) && first >= 0 ? first : fallback;
  };
  const heads = whole('attention.head_count', 1);
  return {
    architecture,
    layers: whole('block_count', 0),
    experts: whole('expert_count', 0),
    heads,
    kvHeads: whole('attention.head_count_kv', heads) || heads || 1,
    importance,
  };
}
