// Runs a model's forward pass by hand, sequence by sequence or ragged, and compares rows of log-probabilities.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Backend, CacheType, KVCache, Tensor } from '../../src/backends/backend.ts';
import type { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { openCheckpoint } from '../../src/checkpoint/open.ts';
import { logSoftmax } from '../../src/engine/log-softmax.ts';
import { cacheShape, planModel } from '../../src/model/config.ts';
import { expertReader } from '../../src/model/expert-reader.ts';
import { alikeLayers, ExpertStream } from '../../src/model/expert-stream.ts';
import { type ExpertStore, forward, type Llama4, type Llama4Config } from '../../src/model/llama4.ts';
import { type BoundModel, bindWeights, expertLayers, loadWeights } from '../../src/model/weights.ts';

export const golden = (name: string): string => fileURLToPath(new URL(`../fixtures/golden/${name}`, import.meta.url));

export interface GoldenModel {
  readonly model: string;
  readonly tokens: readonly number[];
  readonly logprobs: string;
  readonly shape: readonly [rows: number, vocab: number];
  /** Positions of the stored rows; all where absent. */
  readonly rows?: readonly number[];
  readonly llama_cpp_mean_kl?: number;
}

export const manifest = (): GoldenModel[] => JSON.parse(readFileSync(golden('manifest.json'), 'utf8'));

export const longModel = (name: string): GoldenModel => JSON.parse(readFileSync(golden(`${name}.long.json`), 'utf8'));

/** The stored rows of log-probabilities, one after the other. */
export function expectedRows({ logprobs, shape }: GoldenModel): Float32Array {
  const bytes = readFileSync(golden(logprobs));
  const rows = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  if (rows.length !== shape[0] * shape[1]) throw new Error(`${logprobs}: ${rows.length} numbers, wanted ${shape}`);
  return rows;
}

/** So many tokens of a sequence, all their logits wanted or only some. */
export interface Stretch {
  readonly sequence: number;
  readonly tokens: readonly number[];
  /** Indices into `tokens`; all where absent. */
  readonly rows?: readonly number[];
}

export interface Runner extends AsyncDisposable {
  readonly config: Llama4Config;
  readonly model: Llama4;
  readonly cache: KVCache;
  readonly stream: ExpertStream | undefined;
  /** One forward pass over the stretches, each going on where its sequence ends: log-probabilities, one row after the other. */
  step(...stretches: readonly Stretch[]): Promise<Float32Array>;
}

export interface Limits {
  readonly maxTokens?: number;
  readonly maxSequences?: number;
  readonly maxBatch?: number;
  /** How keys and values are kept. */
  readonly type?: CacheType;
  /** Stream the experts through so many places in memory. Default: all are resident. */
  readonly slots?: number;
  /** Whether a further place may be taken. */
  readonly mayGrow?: () => boolean;
  /** Puts something around the checkpoint. */
  readonly around?: (checkpoint: Checkpoint) => Checkpoint;
}

/** Experts chosen, by pass and layer with experts: one for each token of the batch. */
export type Routes = number[][];

/** What to do with the routing of passes to come: keep a record, and if wanted follow another's in place of the model's own. */
export interface Routing {
  record: Routes;
  follow?: Routes;
}

function routed(store: ExpertStore, backend: Backend, routing: Routing): ExpertStore {
  return {
    async *load(ids, h) {
      const { record, follow } = routing;
      const call = record.length;
      record.push([...(await backend.read(ids))]);
      const forced = follow?.[call];
      const slots = forced ? await upload(backend, Int32Array.from(forced), ids) : ids;
      for await (const wave of store.load(ids, h)) yield { ...wave, slots };
    },
  };
}

function upload(backend: Backend, numbers: Int32Array<ArrayBuffer>, like: Tensor): Promise<Tensor> {
  const bytes = new Uint8Array(numbers.buffer);
  return backend.upload('I32', like.shape, async (into, offset) => {
    into.set(bytes.subarray(offset, offset + into.length));
  });
}

/** Loads a model onto a backend, which it then owns. */
export async function load(path: string, backend: Backend, limits: Limits = {}, routing?: Routing): Promise<Runner> {
  await using opened = new AsyncDisposableStack();
  opened.use(backend);
  const { slots, mayGrow, around = (checkpoint: Checkpoint) => checkpoint, ...cacheLimits } = limits;
  const checkpoint = opened.use(around(await openCheckpoint(path)));
  const plan = planModel(checkpoint);
  const bound = bindWeights(checkpoint, plan);
  const stream = slots === undefined ? undefined : streamed(bound, backend, slots, mayGrow);
  const loaded = await loadWeights(bound, backend, { stream });
  const model: Llama4 = !routing
    ? loaded
    : {
        ...loaded,
        layers: loaded.layers.map(layer => ({
          ...layer,
          moe: layer.moe && { ...layer.moe, experts: routed(layer.moe.experts, backend, routing) },
        })),
      };
  const cache = backend.createCache(cacheShape(plan, { maxTokens: 64, maxSequences: 4, maxBatch: 64, ...cacheLimits }));
  opened.defer(() => cache[Symbol.dispose]());
  if (stream) opened.defer(() => stream.close());
  const all = opened.move();
  const { vocab } = plan.config;
  return {
    config: plan.config,
    model,
    cache,
    async step(...stretches) {
      const tokens: number[] = [];
      const positions: number[] = [];
      const sequences: number[] = [];
      const logitRows: number[] = [];
      for (const stretch of stretches) {
        const first = cache.length(stretch.sequence);
        for (const row of stretch.rows ?? stretch.tokens.keys()) logitRows.push(tokens.length + row);
        stretch.tokens.forEach((token, i) => {
          tokens.push(token);
          positions.push(first + i);
          sequences.push(stretch.sequence);
        });
      }
      const batch = {
        tokens: Int32Array.from(tokens),
        positions: Int32Array.from(positions),
        sequences: Int32Array.from(sequences),
        logitRows: Int32Array.from(logitRows),
      };
      const out = await backend.step(async () => {
        const logits = await forward(backend, model, batch, cache);
        return logitRows.length > 0 ? backend.read(logits) : new Float32Array(0);
      });
      for (let row = 0; row < logitRows.length; row++) logSoftmax(out.subarray(row * vocab, (row + 1) * vocab));
      return out;
    },
    stream,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** So many places for experts of each shape and format. */
function streamed(bound: BoundModel, backend: Backend, slots: number, mayGrow?: () => boolean): ExpertStream {
  const layers = expertLayers(bound);
  return ExpertStream.create({
    backend,
    path: bound.checkpoint.path,
    layers,
    slots: alikeLayers(layers).map(() => slots),
    ...(mayGrow && { mayGrow }),
    read: expertReader(backend, bound.checkpoint),
  });
}

export interface Agreement {
  readonly maxDifference: number;
  /** Mean over the rows of KL(expected ‖ got), nats. */
  readonly meanKl: number;
  /** Median of the same: one row that went to another expert does not show. */
  readonly medianKl: number;
  /** Share of the rows whose most likely token agrees. */
  readonly top1: number;
}

export function compare(got: Float32Array, expected: Float32Array, vocab: number): Agreement {
  if (got.length !== expected.length) throw new Error(`got ${got.length} numbers, expected ${expected.length}`);
  let maxDifference = 0;
  const kls: number[] = [];
  let same = 0;
  const rows = expected.length / vocab;
  for (let row = 0; row < rows; row++) {
    let [gotBest, expectedBest, kl] = [0, 0, 0];
    for (let i = 0; i < vocab; i++) {
      const g = got[row * vocab + i]!;
      const e = expected[row * vocab + i]!;
      const difference = Math.abs(g - e);
      // NaN must not pass for agreement.
      if (!(difference <= maxDifference)) maxDifference = Number.isNaN(difference) ? Infinity : difference;
      kl += Math.exp(e) * (e - g);
      if (g > got[row * vocab + gotBest]!) gotBest = i;
      if (e > expected[row * vocab + expectedBest]!) expectedBest = i;
    }
    if (gotBest === expectedBest) same++;
    kls.push(kl);
  }
  const meanKl = kls.reduce((a, b) => a + b, 0) / rows;
  return { maxDifference, meanKl, medianKl: kls.sort((a, b) => a - b)[rows >> 1]!, top1: same / rows };
}
