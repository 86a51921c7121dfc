// What every cache of keys and values demands and promises, wherever its numbers lie.
import { type Batch, type CacheShape, cacheTypes, type SavedLayer } from './backend.ts';

/** @throws RangeError naming what of the shape is no cache's. */
export function checkCacheShape(shape: CacheShape): void {
  for (const name of ['layers', 'kvHeads', 'headDim', 'maxTokens', 'maxSequences', 'maxBatch'] as const)
    if (!Number.isSafeInteger(shape[name]) || shape[name] < 1)
      throw new RangeError(`The cache's ${name} must be a whole number from 1 on; got ${shape[name]}.`);
  if (shape.type !== undefined && !cacheTypes.includes(shape.type))
    throw new RangeError(`The cache's type must be ${cacheTypes.join(' or ')}; got ${shape.type}.`);
  if (shape.chunks.length !== shape.layers)
    throw new RangeError(
      `The cache has ${shape.layers} layers, but chunks for ${shape.chunks.length}; give one for each.`,
    );
  for (const chunk of shape.chunks)
    if (chunk !== null && (!Number.isSafeInteger(chunk) || chunk < 1))
      throw new RangeError(`A chunk length must be null or a whole number from 1 on; got ${chunk}.`);
}

/** Bytes of one position's keys and values in one layer of a compiled backend's cache. */
export function positionBytes({ kvHeads, headDim, type = 'F16' }: CacheShape): number {
  const ofHead = { F16: 2 * headDim, F32: 4 * headDim, Q8_0: headDim + 2 * Math.ceil(headDim / 32) };
  return 2 * kvHeads * ofHead[type];
}

/**
 * Where each of the batch's sequences ends in a layer once the batch is appended; `endOf` tells where it ends now.
 * @throws RangeError when the batch does not go on where its sequences end, or exceeds what the cache was made for.
 */
export function endsAfter(
  { maxTokens, maxBatch }: CacheShape,
  layer: number,
  batch: Batch,
  endOf: (sequence: number) => number,
): Map<number, number> {
  const tokens = batch.positions.length;
  if (tokens > maxBatch)
    throw new RangeError(
      `A batch of ${tokens} tokens exceeds the cache's ${maxBatch}; cut it, or make the cache for more.`,
    );
  const ends = new Map<number, number>();
  for (let t = 0; t < tokens; t++) {
    const sequence = batch.sequences[t]!;
    const position = batch.positions[t]!;
    const next = ends.get(sequence) ?? endOf(sequence);
    if (position !== next)
      throw new RangeError(
        `Sequence ${sequence} goes on at position ${next} in layer ${layer}; the batch brings position ${position}. Append in order, or truncate first.`,
      );
    if (position >= maxTokens)
      throw new RangeError(
        `Position ${position} of sequence ${sequence} exceeds the cache's ${maxTokens} tokens; truncate it, or make the cache for more.`,
      );
    ends.set(sequence, position + 1);
  }
  return ends;
}

/** @throws RangeError when the sequence that is to be filled holds something. */
export function checkEmpty(sequence: number, length: number): void {
  if (length > 0)
    throw new RangeError(
      `Sequence ${sequence} holds ${length} positions; free it with truncate(${sequence}, 0) first.`,
    );
}

/** @param bytesOf what a layer's positions [start, end) take. @throws RangeError when saved layers are not of such a cache. */
export function checkSaved(
  { layers, chunks, maxTokens, maxBatch }: CacheShape,
  saved: readonly SavedLayer[],
  bytesOf: (start: number, end: number) => number,
): void {
  if (saved.length !== layers)
    throw new RangeError(
      `${saved.length} layers were saved; this cache has ${layers}. Restore into a cache of the same model.`,
    );
  for (const [layer, { start, end, bytes }] of saved.entries()) {
    const chunk = chunks[layer]!;
    const whole = Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end;
    // What a layer needs: all from the start of the chunk of the next position on, and no more than it has room for.
    const needed = chunk === null ? 0 : end - (end % chunk);
    const room = chunk === null ? maxTokens : Math.min(maxTokens, chunk + maxBatch);
    if (!whole || end > maxTokens || end !== saved[0]!.end || end - start > room || start > needed)
      throw new RangeError(
        `Layer ${layer} was saved with positions ${start} to ${end}; this cache needs ${needed} to ${saved[0]!.end}, at most ${room} of at most ${maxTokens}.`,
      );
    if (bytes.byteLength !== bytesOf(start, end))
      throw new RangeError(`Layer ${layer} was saved in ${bytes.byteLength} bytes; wanted ${bytesOf(start, end)}.`);
  }
}

/** Positions [start, end) of one sequence that a layer holds. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * The length that a sequence has after it is rewound to `length`: less where a chunked layer no longer holds the keys before it.
 * @param spans what each layer holds of the sequence.
 * @throws RangeError when the sequence has no such length.
 */
export function lengthKept({ chunks }: CacheShape, sequence: number, length: number, spans: readonly Span[]): number {
  const now = Math.max(...spans.map(({ end }) => end));
  if (!Number.isSafeInteger(length) || length < 0 || length > now)
    throw new RangeError(`Sequence ${sequence} has ${now} positions; it cannot be rewound to ${length}.`);
  // Chunks of different lengths: the start of one layer's chunk may lie within an older chunk of another layer.
  let kept = length;
  for (let before = -1; before !== kept; ) {
    before = kept;
    for (const [layer, chunk] of chunks.entries())
      if (chunk !== null && spans[layer]!.start > kept - (kept % chunk)) kept -= kept % chunk;
  }
  return kept;
}
