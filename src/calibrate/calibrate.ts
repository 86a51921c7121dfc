// Runs a text through a model and sums up what each matrix is multiplied with: an importance matrix, and what it does not know.
import { createHash } from 'node:crypto';
import { openCheckpoint } from '../checkpoint/open.ts';
import { modelDigest } from '../engine/cache-file.ts';
import { openLocalEngine } from '../engine/local-engine.ts';
import type { EngineOptions } from '../engine/types.ts';
import { type Observer, observed } from '../model/observe.ts';
import { type Imatrix, writeImatrix, writeImatrixDat } from './imatrix.ts';
import { Sums } from './sums.ts';
import { clearUnfinished, type Purpose, readUnfinished, saveUnfinished } from './unfinished.ts';

export interface CalibrateOptions {
  readonly engine?: Pick<EngineOptions, 'backend' | 'threads' | 'memory'>;
  /** Tokens computed together, from the beginning of a context. Default 512. */
  readonly chunkSize?: number;
  /** Chunks computed at most. Default: all. */
  readonly chunks?: number;
  /** What the text is called in the file. */
  readonly dataset?: string;
  /** Least time between two saves of what is done so far, ms. Default 30,000. */
  readonly saveMs?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (phase: 'loading' | 'computing', done: number, total: number) => void;
  /** Goes on from what an earlier run saved. */
  readonly onResume?: (doneChunks: number) => void;
}

/** The routed experts of one layer: how many tokens each has seen. */
export interface ExpertCoverage {
  readonly layer: number;
  readonly counts: readonly number[];
  /** Experts that saw none. */
  readonly unseen: readonly number[];
}

export interface Calibration {
  readonly imatrix: Imatrix;
  readonly tokens: number;
  readonly experts: readonly ExpertCoverage[];
}

/**
 * Cuts tokens into chunks as llama.cpp's llama-imatrix does: the text begins with BOS, what is left after the last whole chunk is not
 * used, and each chunk's first token gives way to BOS. A text shorter than one chunk is one.
 */
export function chunksOf(tokens: readonly number[], size: number, bos: number | null): number[][] {
  const all = bos === null ? tokens : [bos, ...tokens];
  const count = Math.max(1, Math.floor(all.length / size));
  return Array.from({ length: count }, (_, i) => {
    const chunk = all.slice(i * size, (i + 1) * size);
    if (bos !== null) chunk[0] = bos;
    return chunk;
  });
}

/**
 * Computes the importance matrix of a checkpoint over tokens and writes it to `out`: in the GGUF form, or in the .dat form where the
 * name ends so. Until it is whole it is not there; a run that was broken off goes on where it last saved, to the same bytes.
 * @throws CheckpointError when the model cannot be used; RangeError naming an option
 */
export async function calibrate(
  path: string,
  tokens: readonly number[],
  bos: number | null,
  out: string,
  options: CalibrateOptions = {},
): Promise<Calibration> {
  const { chunkSize = 512, saveMs = 30_000, signal, onProgress } = options;
  const chunks = chunksOf(tokens, chunkSize, bos).slice(0, options.chunks);
  if (!chunks[0] || chunks[0].length < 2)
    throw new RangeError(`The text has ${tokens.length} tokens; wanted at least 2.`);
  const digest = await digestOf(path);
  const observer: { -readonly [key in keyof Observer]: Observer[key] } = {};
  await using engine = await openLocalEngine(path, {
    ...options.engine,
    ...(signal && { signal }),
    maxSequences: 1,
    cacheBytes: 0, // what is found in the cache is not computed, and so not seen
    passMs: Number.POSITIVE_INFINITY,
    around: (backend, model) => observed(backend, model, observer),
    onProgress: (done, total) => onProgress?.('loading', done, total),
  });
  const { info } = engine;
  if (chunkSize > info.contextTokens && chunks[0].length > info.contextTokens)
    throw new RangeError(`chunkSize: got ${chunkSize}, wanted at most ${info.contextTokens}, the context of ${path}.`);
  const purpose: Purpose = {
    model: digest,
    tokens: createHash('sha256').update(Int32Array.from(chunks.flat())).digest('hex'),
    chunkSize,
    chunks: chunks.length,
    backend: `${info.backend} ${info.variant ?? ''}`.trim(), // others round otherwise
  };
  const before = await readUnfinished(out, purpose);
  if (before) options.onResume?.(before.done);
  const { experts } = info.config;
  const sums = before ? Sums.restore(experts, before.sums) : new Sums(experts);
  observer.input = (weights, x, columns, rows) => sums.add(weights, x, columns, rows);
  let saved = performance.now();
  for (let done = before?.done ?? 0; done < chunks.length; ) {
    onProgress?.('computing', done, chunks.length);
    const chunk = chunks[done]!;
    const rows = [chunk.length - 1]; // one row of logits makes the whole chunk be computed
    for await (const _ of engine.logprobs(chunk, { rows, ...(signal && { signal }) }));
    done++;
    if (done < chunks.length && performance.now() - saved >= saveMs) {
      await saveUnfinished(out, { purpose, done, sums: sums.save() });
      saved = performance.now();
    }
  }
  onProgress?.('computing', chunks.length, chunks.length);
  const imatrix: Imatrix = {
    entries: sums.entries(),
    datasets: options.dataset === undefined ? [] : [options.dataset],
    chunks: chunks.length,
    chunkSize,
  };
  await (/\.dat$/i.test(out) ? writeImatrixDat : writeImatrix)(out, imatrix);
  await clearUnfinished(out);
  return { imatrix, tokens: chunks.reduce((sum, chunk) => sum + chunk.length, 0), experts: coverageOf(imatrix) };
}

/** Layers with routed experts, and what these saw. */
export function coverageOf({ entries }: Imatrix): ExpertCoverage[] {
  const layers: ExpertCoverage[] = [];
  for (const [name, { counts }] of entries) {
    const layer = /^blk\.(\d+)\.ffn_down_exps\.weight$/.exec(name)?.[1];
    if (layer === undefined) continue;
    const all = [...counts];
    layers.push({
      layer: Number(layer),
      counts: all,
      unseen: all.flatMap((count, expert) => (count === 0 ? [expert] : [])),
    });
  }
  return layers.sort((a, b) => a.layer - b.layer);
}

async function digestOf(path: string): Promise<string> {
  await using checkpoint = await openCheckpoint(path);
  return await modelDigest(checkpoint);
}
