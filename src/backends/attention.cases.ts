// Cases of attention and its cache: what a query sees, what a cache keeps, and that neither depends on how tokens are batched.
import {
  type Backend,
  type Batch,
  type CacheShape,
  type CacheType,
  cacheTypes,
  type KVCache,
  type SavedLayer,
} from './backend.ts';
import {
  type BackendCase,
  expectError,
  expectNear,
  expectSame,
  gaussians,
  type Precision,
  uploadFloats,
} from './comparison.cases.ts';
import { halfValues, toHalf } from './reference/half.ts';
import { seededRandom } from './reference/random.ts';

/** A token of a sequence: its query and what it leaves in the cache, the same in every layer. */
interface Token {
  readonly q: Float32Array; // [heads, headDim]
  readonly key: Float32Array; // [kvHeads, headDim]
  readonly value: Float32Array; // [kvHeads, headDim]
}

/** Tokens [from, to) of a sequence, as part of a batch. */
type Part = readonly [sequence: number, from: number, to: number];

const half = (value: number): number => halfValues[toHalf(value)]!;
const inHalves = (numbers: Float32Array): Float32Array => numbers.map(half);

/** Heads of `headDim` numbers as a Q8_0 cache holds them: in blocks of 32, whole numbers up to ±127 times a half. */
function inBytes(numbers: Float32Array, headDim: number): Float32Array {
  const held = new Float32Array(numbers.length);
  for (let head = 0; head < numbers.length; head += headDim)
    for (let from = head; from < head + headDim; from += 32) {
      const block = numbers.subarray(from, Math.min(from + 32, head + headDim));
      const scale = half(Math.max(...block.map(Math.abs)) / 127);
      block.forEach((x, i) => {
        held[from + i] = scale * Math.max(-127, Math.min(127, Math.round(x / scale)));
      });
    }
  return held;
}

/** A cache beside the plain lists of what it should hold. */
class Trial {
  readonly cache: KVCache;
  readonly tokens: Token[][] = [];
  private readonly k: Backend;
  private readonly heads: number;
  private readonly random: () => number;

  constructor(k: Backend, heads: number, shape: Partial<CacheShape> & { headDim: number; kvHeads: number }, seed = 1) {
    this.k = k;
    this.heads = heads;
    this.random = seededRandom(seed);
    const chunks = shape.chunks ?? [null];
    const sizes = { layers: chunks.length, chunks, maxTokens: 2048, maxSequences: 3, maxBatch: 512 };
    this.cache = k.createCache({ ...sizes, ...shape });
    for (let sequence = 0; sequence < this.cache.shape.maxSequences; sequence++) this.tokens.push([]);
  }

  /** Forgets all but the first tokens, and makes others up to `length`, whose keys and values are what the cache can hold. */
  write(sequence: number, kept: number, length: number): void {
    const { kvHeads, headDim, type } = this.cache.shape;
    const heldAs = {
      F16: inHalves,
      F32: (x: Float32Array) => x,
      Q8_0: (x: Float32Array) => inBytes(x, headDim),
    };
    const held = heldAs[type ?? 'F16'];
    const tokens = this.tokens[sequence]!;
    tokens.length = kept;
    while (tokens.length < length)
      tokens.push({
        q: gaussians(this.heads * headDim, this.random),
        key: held(gaussians(kvHeads * headDim, this.random)),
        value: held(gaussians(kvHeads * headDim, this.random)),
      });
  }

  batch(parts: readonly Part[]): Batch {
    const rows = parts.flatMap(([sequence, from, to]) =>
      Array.from({ length: to - from }, (_, i) => [sequence, from + i] as const),
    );
    return {
      tokens: new Int32Array(rows.length),
      positions: Int32Array.from(rows, ([, position]) => position),
      sequences: Int32Array.from(rows, ([sequence]) => sequence),
      logitRows: new Int32Array(0),
    };
  }

  /** Appends the parts to every layer and returns each layer's attention, [T, heads · headDim]. */
  async feed(...parts: readonly Part[]): Promise<Float32Array[]> {
    const { k, cache } = this;
    const { kvHeads, headDim, layers } = cache.shape;
    const batch = this.batch(parts);
    const rows = parts.flatMap(([sequence, from, to]) => this.tokens[sequence]!.slice(from, to));
    const stack = (pick: (token: Token) => Float32Array): Float32Array =>
      Float32Array.from(rows.flatMap(token => [...pick(token)]));
    const T = rows.length;
    const q = await uploadFloats(
      k,
      [T, this.heads, headDim],
      stack(token => token.q),
    );
    const keys = await uploadFloats(
      k,
      [T, kvHeads, headDim],
      stack(token => token.key),
    );
    const values = await uploadFloats(
      k,
      [T, kvHeads, headDim],
      stack(token => token.value),
    );
    return k.step(async () => {
      const results: Float32Array[] = [];
      for (let layer = 0; layer < layers; layer++) {
        cache.append(layer, keys, values, batch);
        results.push(await k.read(k.attention(q, cache, layer, batch)));
      }
      return results;
    });
  }

  /** Feeds the parts and compares with softmax over plain lists. */
  async check(...parts: readonly Part[]): Promise<Float32Array[]> {
    const results = await this.feed(...parts);
    const width = this.heads * this.cache.shape.headDim;
    results.forEach((actual, layer) => {
      let row = 0;
      for (const [sequence, from, to] of parts)
        for (let position = from; position < to; position++, row++)
          expectNear(
            actual.subarray(row * width, (row + 1) * width),
            this.expected(layer, sequence, position),
            2e-5,
            `layer ${layer} (chunk ${this.cache.shape.chunks[layer]}), sequence ${sequence}, position ${position}, batch ${parts.join(' | ')}`,
          );
    });
    return results;
  }

  private expected(layer: number, sequence: number, position: number): Float64Array {
    const { kvHeads, headDim, chunks } = this.cache.shape;
    const chunk = chunks[layer]!;
    const tokens = this.tokens[sequence]!;
    const start = chunk === null ? 0 : Math.floor(position / chunk) * chunk;
    const out = new Float64Array(this.heads * headDim);
    for (let head = 0; head < this.heads; head++) {
      const kv = Math.floor((head * kvHeads) / this.heads) * headDim;
      const scores: number[] = [];
      for (let j = start; j <= position; j++) {
        let score = 0;
        for (let d = 0; d < headDim; d++) score += tokens[position]!.q[head * headDim + d]! * tokens[j]!.key[kv + d]!;
        scores.push(score / Math.sqrt(headDim));
      }
      const largest = Math.max(...scores);
      const weights = scores.map(score => Math.exp(score - largest));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      weights.forEach((weight, i) => {
        const { value } = tokens[start + i]!;
        for (let d = 0; d < headDim; d++) out[head * headDim + d]! += (weight / total) * value[kv + d]!;
      });
    }
    return out;
  }

  [Symbol.dispose](): void {
    this.cache[Symbol.dispose]();
  }
}

const small = { headDim: 16, kvHeads: 2 };

const visibilityCases: readonly BackendCase[] = [
  {
    name: 'attention: groups of query heads share a key head; head sizes 16 to 128',
    run: async k => {
      for (const [heads, kvHeads, headDim] of [
        [1, 1, 16],
        [4, 2, 16],
        [3, 3, 32],
        [9, 3, 64],
        [5, 1, 128],
        [8, 2, 4],
      ] as const) {
        using trial = new Trial(k, heads, { headDim, kvHeads }, heads);
        trial.write(0, 0, 40);
        await trial.check([0, 0, 1]);
        await trial.check([0, 1, 38]);
        await trial.check([0, 38, 39]);
        await trial.check([0, 39, 40]);
      }
    },
  },
  {
    name: 'attention: a ragged batch of prefill and decode, sequences side by side',
    run: async k => {
      using trial = new Trial(k, 4, small);
      for (let sequence = 0; sequence < 3; sequence++) trial.write(sequence, 0, 60);
      await trial.check([0, 0, 7], [2, 0, 3]);
      await trial.check([2, 3, 4], [0, 7, 8], [1, 0, 20]);
      await trial.check([1, 20, 21], [0, 8, 30], [2, 4, 5]);
      await trial.check([0, 30, 31], [1, 21, 22], [2, 5, 6]);
    },
  },
  {
    name: 'attention: a chunk ends within a batch, and in decode',
    run: async k => {
      for (const chunk of [1, 5, 8]) {
        using trial = new Trial(k, 4, { ...small, chunks: [chunk, null], maxBatch: 32 });
        trial.write(0, 0, 70);
        await trial.check([0, 0, 21]);
        for (let position = 21; position < 36; position++) await trial.check([0, position, position + 1]);
        await trial.check([0, 36, 68]);
        await trial.check([0, 68, 70]);
      }
    },
  },
  {
    name: 'attention: borders around 64, 128 and 256 positions',
    run: async k => {
      for (const border of [64, 128, 256]) {
        using trial = new Trial(k, 2, { headDim: 16, kvHeads: 1, chunks: [null, border] }, border);
        trial.write(0, 0, border + 6);
        trial.write(1, 0, border + 3);
        await trial.check([0, 0, border - 2], [1, 0, border]);
        for (let position = border - 2; position < border + 3; position++)
          await trial.check([0, position, position + 1]);
        await trial.check([1, border, border + 3], [0, border + 3, border + 6]);
      }
    },
  },
  {
    name: 'attention: about a thousand positions, in batches and one by one',
    run: async k => {
      using trial = new Trial(k, 4, { ...small, chunks: [null, 256], maxBatch: 400 });
      trial.write(0, 0, 1010);
      await trial.feed([0, 0, 400]);
      await trial.feed([0, 400, 800]);
      await trial.check([0, 800, 1000]);
      for (let position = 1000; position < 1010; position++) await trial.check([0, position, position + 1]);
    },
  },
  {
    name: 'attention: one key far above all others, and large scores, stay finite',
    run: async k => {
      using trial = new Trial(k, 2, { headDim: 16, kvHeads: 1 });
      trial.write(0, 0, 130);
      for (const at of [3, 70]) trial.tokens[0]![at]!.key.fill(63.5);
      for (let i = 0; i < 130; i += 3) trial.tokens[0]![i]!.q.fill(i % 2 ? 30 : -30);
      await trial.check([0, 0, 128]);
      await trial.check([0, 128, 129]);
      await trial.check([0, 129, 130]);
    },
  },
];

const lawCases: readonly BackendCase[] = [
  {
    name: 'attention: full, incremental and batched are the same, bit for bit',
    run: async k => {
      const length = 150;
      const shape = { ...small, chunks: [null, 24], maxBatch: 256 };
      const run = async (plan: readonly (readonly Part[])[]): Promise<Float32Array[]> => {
        using trial = new Trial(k, 4, shape, 5);
        for (let sequence = 0; sequence < 3; sequence++) trial.write(sequence, 0, length);
        const layers: number[][] = [[], []];
        for (const parts of plan) {
          const results = await trial.feed(...parts);
          results.forEach((result, layer) => {
            let row = 0;
            for (const [sequence, from, to] of parts) {
              const width = result.length / parts.reduce((sum, [, a, b]) => sum + b - a, 0);
              if (sequence === 0) layers[layer]!.push(...result.subarray(row * width, (row + to - from) * width));
              row += to - from;
            }
          });
        }
        return layers.map(values => Float32Array.from(values));
      };
      const full = await run([[[0, 0, length]]]);
      const single = await run(Array.from({ length }, (_, p) => [[0, p, p + 1]]));
      const beside = await run([
        [
          [1, 0, 9],
          [0, 0, 40],
        ],
        [
          [0, 40, 41],
          [2, 0, 70],
          [1, 9, 10],
        ],
        [
          [2, 70, 100],
          [0, 41, 129],
        ],
        [[0, 129, 150]],
      ]);
      full.forEach((values, layer) => {
        expectSame(single[layer]!, values, `layer ${layer}, one by one`);
        expectSame(beside[layer]!, values, `layer ${layer}, beside others`);
      });
    },
  },
  {
    name: 'cache: a chunked layer goes round its ring and its memory stops growing',
    run: async k => {
      for (const [chunk, maxBatch] of [
        [16, 8],
        [64, 5],
        [100, 64],
      ] as const) {
        using trial = new Trial(k, 4, { ...small, chunks: [chunk], maxBatch, maxTokens: 4096 });
        const rounds = 2 * (chunk + maxBatch + 256);
        trial.write(0, 0, 2 * rounds);
        const sizes = [maxBatch, 1, Math.ceil(maxBatch / 2)];
        let position = 0;
        const advance = async (to: number): Promise<void> => {
          for (let i = 0; position < to; i++) {
            const size = Math.min(to - position, sizes[i % sizes.length]!);
            const part = [0, position, position + size] as const;
            // Every query is compared once a ring has been filled; most of the rest is only there to go round.
            if (i % 7 === 0 || (position + size) % chunk < size) await trial.check(part);
            else await trial.feed(part);
            position += size;
          }
        };
        await advance(rounds);
        const bytes = trial.cache.bytes;
        await advance(2 * rounds);
        expectSame(Float32Array.of(trial.cache.bytes), [bytes], `bytes after twice the tokens, chunk ${chunk}`);
      }
    },
  },
  {
    name: 'cache: truncate, then other tokens; a sequence does not see the one before it',
    run: async k => {
      using trial = new Trial(k, 4, small);
      trial.write(0, 0, 200);
      trial.write(1, 0, 90);
      const empty = trial.cache.bytes;
      await trial.feed([0, 0, 140], [1, 0, 80]);
      for (const length of [139, 129, 128, 127, 65, 64, 63, 1]) {
        expectSame(Float32Array.of(trial.cache.truncate(0, length)), [length], `truncate to ${length}`);
        expectSame(Float32Array.of(trial.cache.length(0)), [length], 'length');
        trial.write(0, length, 200);
        await trial.check([0, length, length + 3]);
        await trial.check([0, length + 3, length + 4], [1, trial.cache.length(1), trial.cache.length(1) + 1]);
      }
      const held = trial.cache.bytes;
      trial.cache.truncate(0, 0);
      if (trial.cache.bytes > held) throw new Error('Freeing a sequence made the cache larger.');
      trial.write(0, 0, 20);
      await trial.check([0, 0, 20]);
      trial.cache.truncate(0, 0);
      trial.cache.truncate(1, 0);
      expectSame(Float32Array.of(trial.cache.length(0), trial.cache.length(1)), [0, 0], 'lengths');
      if (trial.cache.bytes > empty)
        throw new Error(`An emptied cache holds ${trial.cache.bytes} bytes, a new one ${empty}.`);
    },
  },
  {
    name: 'cache: truncate gives memory back',
    run: async k => {
      using trial = new Trial(k, 2, { headDim: 64, kvHeads: 2 });
      trial.write(0, 0, 1000);
      await trial.feed([0, 0, 500]);
      const half = trial.cache.bytes;
      await trial.feed([0, 500, 1000]);
      if (!(trial.cache.bytes > half)) throw new Error(`1,000 positions hold ${trial.cache.bytes} bytes, 500 ${half}.`);
      trial.cache.truncate(0, 500);
      expectSame(Float32Array.of(trial.cache.bytes), [half], 'bytes after truncating to 500');
    },
  },
  {
    name: 'cache: truncate on chunked layers goes back to the chunk where its keys are gone',
    run: async k => {
      for (const [chunk, maxBatch] of [
        [16, 8],
        [7, 30],
        [64, 16],
      ] as const) {
        using trial = new Trial(k, 4, { ...small, chunks: [chunk, null], maxBatch, maxTokens: 1024 }, chunk);
        const now = 5 * chunk + 3 * maxBatch + 5;
        trial.write(0, 0, now + 10);
        for (let position = 0; position < now; position += maxBatch)
          await trial.feed([0, position, Math.min(now, position + maxBatch)]);
        let length = now;
        for (const back of [1, chunk - 2, Math.ceil(chunk / 2), chunk + 1, 2 * chunk + 3]) {
          const asked = Math.max(0, length - back);
          const chunkStart = Math.floor(asked / chunk) * chunk;
          const kept = trial.cache.truncate(0, asked);
          const surely = chunkStart >= now - chunk - maxBatch;
          if (kept !== asked && (surely || kept !== chunkStart))
            throw new Error(`Chunk ${chunk}, ${length} positions: truncate to ${asked} gave ${kept}.`);
          expectSame(Float32Array.of(trial.cache.length(0)), [kept], 'length');
          trial.write(0, kept, now + 10);
          await trial.check([0, kept, kept + 2]);
          length = kept + 2;
        }
      }
    },
  },
  {
    name: 'cache: two caches at once, one disposed',
    run: async k => {
      using first = new Trial(k, 4, small, 8);
      first.write(0, 0, 30);
      await first.feed([0, 0, 20]);
      const before = k.memoryBytes;
      {
        using second = new Trial(k, 4, small, 9);
        second.write(0, 0, 300);
        await second.feed([0, 0, 290]);
        await second.check([0, 290, 300]);
        await first.check([0, 20, 21]);
      }
      await first.check([0, 21, 30]);
      if (before <= 0) throw new Error(`memoryBytes is ${before}.`);
    },
  },
];

/** Chunked and whole layers, rings that have gone round and such that have not. */
const sharedShapes = [
  { ...small, chunks: [null] },
  { ...small, chunks: [24, null], maxBatch: 40, maxTokens: 400 },
  { ...small, chunks: [64, null, 7], maxBatch: 33, maxTokens: 260 },
] as const;

/** Gives `to` what `from` has, as far as the cache keeps it, and other tokens behind it. */
function fork(trial: Trial, from: number, to: number, length: number, total: number): number {
  const kept = trial.cache.fork(from, to, length);
  if (kept > length) throw new Error(`A fork of ${length} positions gave ${kept}.`);
  expectSame(Float32Array.of(trial.cache.length(to)), [kept], 'length of the fork');
  trial.tokens[to] = trial.tokens[from]!.slice(0, kept);
  trial.write(to, kept, total);
  return kept;
}

/** Feeds tokens up to a length, in batches that fit. */
async function feedUpTo(trial: Trial, sequence: number, end: number): Promise<void> {
  for (let at = trial.cache.length(sequence); at < end; at = trial.cache.length(sequence))
    await trial.feed([sequence, at, Math.min(end, at + trial.cache.shape.maxBatch)]);
}

const sharingCases: readonly BackendCase[] = [
  {
    name: 'cache: a fork goes on as its origin would; neither sees what the other becomes',
    run: async k => {
      for (const shape of sharedShapes) {
        using trial = new Trial(k, 4, { ...shape, maxSequences: 4 }, 3);
        const empty = trial.cache.bytes;
        trial.write(0, 0, 200);
        await feedUpTo(trial, 0, 130);
        for (const length of [0, 1, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 130]) {
          const kept = fork(trial, 0, 1, length, 200);
          if (length === 130 && kept !== 130) throw new Error(`A fork of all 130 positions gave ${kept}.`);
          const second = fork(trial, 1, 2, kept, 200);
          expectSame(Float32Array.of(second), [kept], 'a fork of a fork');
          // Three that share go different ways, in one batch and one by one.
          const origin = trial.cache.length(0);
          await trial.check([1, kept, kept + 5], [0, origin, origin + 1], [2, kept, kept + 3]);
          await trial.check([2, kept + 3, kept + 4]);
          await trial.check([1, kept + 5, kept + 6]);
          // The origin is rewound to where it shares, and goes on otherwise.
          const back = trial.cache.truncate(0, Math.max(0, 130 - (length % 40)));
          trial.write(0, back, 200);
          await trial.check([0, back, back + 2]);
          await trial.check([2, kept + 4, kept + 6], [1, kept + 6, kept + 7]);
          trial.cache.truncate(1, 0);
          await trial.check([2, kept + 6, kept + 7]);
          trial.cache.truncate(2, 0);
          await feedUpTo(trial, 0, 130);
          trial.cache.truncate(0, 130);
        }
        // Who is left keeps what was shared when the origin is gone.
        const kept = fork(trial, 0, 3, 130, 200);
        trial.cache.truncate(0, 0);
        trial.write(0, 0, 150);
        await feedUpTo(trial, 0, 140);
        await trial.check([3, kept, kept + 20], [0, 140, 141]);
        for (const sequence of [0, 3]) trial.cache.truncate(sequence, 0);
        expectSame(Float32Array.of(trial.cache.bytes), [empty], 'bytes when all are freed');
      }
    },
  },
  {
    name: 'cache: a fork goes round the ring of its chunked layers beside its origin',
    run: async k => {
      using trial = new Trial(k, 4, { ...small, chunks: [40, null], maxBatch: 16, maxTokens: 600 });
      trial.write(0, 0, 500);
      await feedUpTo(trial, 0, 75);
      for (const sequence of [1, 2]) fork(trial, 0, sequence, 75, 500);
      for (let round = 0; round < 14; round++) {
        const at = [0, 1, 2].map(sequence => trial.cache.length(sequence));
        await trial.check([0, at[0]!, at[0]! + 5], [2, at[2]!, at[2]! + 7]);
        await trial.check([1, at[1]!, at[1]! + 16]);
      }
      for (const sequence of [0, 1, 2]) trial.cache.truncate(sequence, 0);
      expectSame(Float32Array.of(trial.cache.bytes), [0], 'bytes when all are freed');
    },
  },
  {
    name: 'cache: what is saved and restored goes on bit for bit, in another cache too',
    run: async k => {
      for (const shape of sharedShapes)
        for (const length of [1, 31, 32, 64, 90, 150]) {
          using first = new Trial(k, 4, shape, 4);
          using second = new Trial(k, 4, { ...shape, maxSequences: 1 }, 4);
          first.write(0, 0, 170);
          await feedUpTo(first, 0, length);
          const saved = first.cache.save(0);
          const before = first.cache.bytes;
          first.cache.restore(2, saved);
          second.cache.restore(0, saved);
          if (first.cache.bytes <= before) throw new Error('A restored sequence takes no memory.');
          expectSame(Float32Array.of(first.cache.length(2), second.cache.length(0)), [length, length], 'lengths');
          first.tokens[2] = second.tokens[0] = first.tokens[0]!;
          const wanted = await first.check([0, length, length + 3]);
          const own = await first.feed([2, length, length + 3]);
          const other = await second.feed([0, length, length + 3]);
          wanted.forEach((values, layer) => {
            expectSame(own[layer]!, values, `layer ${layer}, same cache`);
            expectSame(other[layer]!, values, `layer ${layer}, another cache`);
          });
          second.cache.truncate(0, 0);
          expectSame(Float32Array.of(second.cache.bytes), [0], 'bytes when it is freed');
        }
    },
  },
  {
    name: 'cache: what does not fit is neither forked nor restored',
    run: async k => {
      using trial = new Trial(k, 4, { ...small, chunks: [24, null], maxBatch: 40, maxTokens: 100 });
      trial.write(0, 0, 100);
      await feedUpTo(trial, 0, 50);
      await feedUpTo(trial, 0, 70);
      trial.cache.fork(0, 1, 70);
      const saved = trial.cache.save(0);
      const [chunked, whole] = saved as [SavedLayer, SavedLayer];
      const restore = (layers: readonly SavedLayer[]) => () => trial.cache.restore(2, layers);
      await expectError(() => trial.cache.fork(0, 1, 5), /\b70\b/, 'a fork onto a sequence that holds something');
      await expectError(() => trial.cache.fork(0, 2, 71), /\b71\b/, 'a fork longer than its origin');
      await expectError(() => trial.cache.fork(9, 2, 1), /\b9\b/, 'a fork of a sequence the cache does not have');
      await expectError(() => trial.cache.fork(0, 9, 1), /\b9\b/, 'a fork onto a sequence the cache does not have');
      await expectError(() => trial.cache.restore(1, saved), /\b70\b/, 'restoring over something');
      await expectError(restore([whole]), /\b1 layers\b/, 'too few layers');
      await expectError(restore([chunked, { ...whole, bytes: whole.bytes.subarray(8) }]), /bytes/, 'bytes missing');
      await expectError(restore([chunked, { ...whole, end: 60 }]), /\b60\b/, 'layers of different lengths');
      await expectError(restore([{ ...chunked, start: 60 }, whole]), /\b60\b/, 'the beginning of the chunk missing');
      await expectError(restore([{ ...chunked, start: 0.5 }, whole]), /0\.5/, 'half a position');
      expectSame(Float32Array.of(trial.cache.length(2)), [0], 'nothing was restored');
      trial.cache.restore(2, saved);
      trial.tokens[2] = trial.tokens[0]!;
      await trial.check([2, 70, 75]);
    },
  },
];

const errorCases: readonly BackendCase[] = [
  {
    name: 'cache: errors name the sequence, the position or the size',
    run: async k => {
      using trial = new Trial(k, 2, { headDim: 16, kvHeads: 1, maxTokens: 50, maxSequences: 2, maxBatch: 20 });
      trial.write(0, 0, 60);
      trial.tokens[7] = trial.tokens[0]!;
      await expectError(() => trial.feed([0, 0, 21]), /\b21\b/, 'a batch larger than maxBatch');
      await expectError(() => trial.feed([7, 0, 1]), /\b7\b/, 'a sequence the cache does not have');
      await expectError(() => trial.feed([0, 3, 5]), /\b3\b/, 'a gap before position 3');
      await trial.check([0, 0, 20]);
      await expectError(() => trial.feed([0, 19, 20]), /\b19\b/, 'a position that is there');
      await trial.feed([0, 20, 40]);
      await expectError(() => trial.feed([0, 40, 51]), /\b50\b/, 'a position past maxTokens');
      expectSame(Float32Array.of(trial.cache.length(0)), [40], 'a refused batch leaves nothing');
      await trial.check([0, 40, 50]);
      await expectError(() => trial.cache.truncate(0, 51), /\b51\b/, 'truncate past the end');
      await expectError(() => trial.cache.truncate(0, -1), /-1/, 'truncate below 0');
      await expectError(() => trial.cache.truncate(2, 0), /\b2\b/, 'truncate of a sequence the cache does not have');
      await expectError(() => trial.cache.length(-1), /-1/, 'length of a sequence the cache does not have');
      expectSame(Float32Array.of(trial.cache.length(0), trial.cache.length(1)), [50, 0], 'lengths');
    },
  },
];

/** Caches of one type. */
const cachesOf = (k: Backend, type: CacheType): Backend =>
  Object.create(k, { createCache: { value: (shape: CacheShape) => k.createCache({ ...shape, type }) } });

const typeCases: readonly BackendCase[] = [
  {
    name: 'cache: Q8_0 keeps a byte for each number and a half for each 32, and rounds to the nearest',
    run: async k => {
      for (const headDim of [4, 16, 32, 80, 128]) {
        const shape = { headDim, kvHeads: 2, type: 'Q8_0' } as const;
        using rounded = new Trial(k, 4, shape, 7);
        using given = new Trial(k, 4, shape, 7);
        const random = seededRandom(headDim);
        given.write(0, 0, 50);
        given.tokens[0] = given.tokens[0]!.map(({ q }) => ({
          q,
          key: gaussians(2 * headDim, random),
          value: gaussians(2 * headDim, random),
        }));
        rounded.tokens[0] = given.tokens[0].map(({ q, key, value }) => ({
          q,
          key: inBytes(key, headDim),
          value: inBytes(value, headDim),
        }));
        const wanted = await rounded.check([0, 0, 50]);
        const got = await given.feed([0, 0, 50]);
        // A number that lies within a rounding error between two may become either.
        expectNear(got[0]!, wanted[0]!, 0.02, `heads of ${headDim}`);
      }
    },
  },
  {
    name: 'cache: types differ in layout, and neither restores what the other saved',
    run: async k => {
      using halves = new Trial(k, 4, { ...small, type: 'F16' });
      using bytes = new Trial(k, 4, { ...small, type: 'Q8_0' });
      if (halves.cache.layout === bytes.cache.layout) throw new Error(`Both layouts are ${bytes.cache.layout}.`);
      const unknown = { ...halves.cache.shape, type: 'Q4_0' as CacheType };
      await expectError(() => k.createCache(unknown), /Q4_0/, 'a type that there is not');
    },
  },
];

export const attentionCases: readonly BackendCase[] = [
  ...cacheTypes.flatMap(type =>
    [...visibilityCases, ...lawCases, ...sharingCases, ...errorCases].map(({ name, run }) => ({
      name: `${name} (${type})`,
      run: (k: Backend, precision: Precision) => run(cachesOf(k, type), precision),
    })),
  ),
  ...typeCases,
];
