// What of a model is in memory: all of it, or with all but the routed experts as many of these as there is room for.
import type { CacheShape } from '../backends/backend.ts';
import { positionBytes } from '../backends/cache-rules.ts';
import type { ModelPlan } from '../model/config.ts';
import { alikeLayers, expertBytes, type StreamedLayer, shareSlots } from '../model/expert-stream.ts';
import { type BoundModel, expertLayers, routedBytes } from '../model/weights.ts';
import { NotEnoughMemory } from './errors.ts';

/** Bytes of the program, the kernels and the buffers of reads, measured. */
const RUNTIME_BYTES = 200e6;
/** Positions that a cache may round up to. */
const PAGE = 64;
/** Of the free memory, what is left to others where nobody says how much may be taken. */
const LEFT_FREE = 0.04;
/** Tokens of one pass where experts are read from disk: the more, the fewer times each is read. */
const STREAMED_BATCH = 2048;
/** Of all memory, what activations of such a pass may take. */
const PASS_SHARE = 0.04;

/** Where the bytes go. */
export interface MemoryPlan {
  /** What all of this together may take; Infinity where nothing is limited because all of it fits. */
  readonly memoryBytes: number;
  /** Weights that every token uses, and all of a model whose experts are not streamed. */
  readonly residentBytes: number;
  readonly cacheBytes: number;
  readonly passBytes: number;
  readonly runtimeBytes: number;
  readonly maxBatch: number;
  /** Experts that are held at once, or null: all are resident. */
  readonly experts: {
    /** For each group of `alikeLayers`. */
    readonly slots: readonly number[];
    readonly held: number;
    readonly all: number;
    readonly heldBytes: number;
  } | null;
}

export interface MemoryOptions {
  /** What may be taken, bytes; undefined: what is free, but for a little. */
  readonly memory: number | undefined;
  /** What is free, bytes. */
  readonly available: number;
  /** Experts are read when they are wanted, also where all of them have room. */
  readonly onDemand?: boolean;
  readonly maxBatch: number | undefined;
  /** Shape of keys and values for a longest batch, and whether they are kept as floats. */
  readonly cacheShape: (maxBatch: number) => CacheShape;
  readonly cacheFloats: boolean;
}

/** Bytes of one sequence that fills the context, @param floats whatever the shape's type, as the reference keeps them */
export function fullCacheBytes(shape: CacheShape, floats: boolean): number {
  const { chunks, kvHeads, headDim, maxTokens, maxBatch } = shape;
  const positions = chunks.map(chunk => Math.min(maxTokens, chunk === null ? maxTokens : chunk + maxBatch) + PAGE);
  return positions.reduce((sum, n) => sum + n, 0) * (floats ? 8 * kvHeads * headDim : positionBytes(shape));
}

/** Activations of a pass of so many tokens: those of its widest layer, and logits. */
export function passBytesOf({ config, layers }: ModelPlan, tokens: number): number {
  const ff = Math.max(...layers.map(layer => layer.ff));
  return 4 * tokens * (3.5 * ff + 8 * config.dim) + 64 * 2 ** 20;
}

/**
 * Decides what is in memory. A model that fits is resident. One that does not is streamed, if it has experts: then its cache, its
 * activations and the program count too, and experts get what is left.
 * @throws NotEnoughMemory when not even one expert has room; it says how much is needed.
 */
export function planMemory(bound: BoundModel, options: MemoryOptions): MemoryPlan {
  const { memory, available, onDemand = false } = options;
  const layers: readonly StreamedLayer[] = expertLayers(bound);
  const given = memory ?? available * (1 - LEFT_FREE);
  const needs = (maxBatch: number) => {
    const shape = options.cacheShape(maxBatch);
    return {
      maxBatch,
      cacheBytes: (shape.longSequences ?? shape.maxSequences) * fullCacheBytes(shape, options.cacheFloats),
      passBytes: passBytesOf(bound.plan, maxBatch),
      runtimeBytes: RUNTIME_BYTES,
    };
  };
  const usual = needs(options.maxBatch ?? 512);
  const rest = usual.cacheBytes + usual.passBytes + usual.runtimeBytes;
  // Where nobody says how much may be taken, a cache that may never fill is no reason to read from disk.
  const all = bound.weightBytes + (memory === undefined ? 0 : rest);
  if (all <= (layers.length === 0 ? (memory ?? available) : given) && !(onDemand && layers.length > 0))
    return { memoryBytes: Infinity, residentBytes: bound.weightBytes, ...usual, experts: null };
  const { path } = bound.checkpoint;
  if (layers.length === 0) throw new NotEnoughMemory(path, tooLarge(all, memory, available));

  const large = needs(Math.min(STREAMED_BATCH, options.cacheShape(1).maxTokens));
  const chosen = options.maxBatch === undefined && large.passBytes <= given * PASS_SHARE ? large : usual;
  const residentBytes = bound.weightBytes - routedBytes(bound);
  const left = given - residentBytes - chosen.cacheBytes - chosen.passBytes - chosen.runtimeBytes;
  const slots = shareSlots(layers, Math.max(0, left));
  const heldBytes = slotsBytes(layers, slots);
  if (heldBytes > left) throw new NotEnoughMemory(path, noRoom(given - left + heldBytes, given, memory));
  const count = (numbers: readonly number[]): number => numbers.reduce((sum, n) => sum + n, 0);
  return {
    memoryBytes: given,
    residentBytes,
    ...chosen,
    experts: { slots, held: count(slots), all: count(layers.map(({ gate }) => gate.shape[0]!)), heldBytes },
  };
}

const slotsBytes = (layers: readonly StreamedLayer[], slots: readonly number[]): number =>
  alikeLayers(layers).reduce((sum, group, i) => sum + slots[i]! * expertBytes(layers[group[0]!]!), 0);

const tooLarge = (bytes: number, memory: number | undefined, available: number): string =>
  memory === undefined
    ? `its weights take ${gigabytes(bytes)} of memory, and ${gigabytes(available)} are free. Close other programs, or get a ` +
      'smaller quantization or a smaller model.'
    : `it takes ${gigabytes(bytes)} of memory with keys, values and activations, and --memory grants ${gigabytes(memory)}. Grant more, ` +
      'shorten the context, or get a smaller quantization or a smaller model: without experts all of it must be in memory.';

const noRoom = (bytes: number, given: number, memory: number | undefined): string =>
  `even with its experts on disk it takes ${gigabytes(bytes)} of memory, and ${gigabytes(given)} ${memory === undefined ? 'are free' : 'are granted (--memory)'}. ` +
  'Close other programs or grant more, shorten the context (--context), or get a smaller quantization.';

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 1)} GB`;
