// Small random models in a folder of their own, and ways to run an engine on them: what the engine's tests share.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type GgufContent, type WritableTensor, writeGguf } from '../checkpoint/gguf-writer.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { type Geometry, writeRandomModel } from '../hub/random-model.ts';
import { cacheShape, planModel } from '../model/config.ts';
import { bindWeights, routedBytes } from '../model/weights.ts';
import { planMemory } from './memory-plan.ts';
import type { Engine, GenerateOptions, GenerationEnd, TokenEvent } from './types.ts';

export const geometry: Geometry = {
  architecture: 'llama4',
  layers: 4,
  dim: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ff: 96,
  expertFf: 32,
  experts: 4,
  moeStep: 2,
  vocab: 300,
  contextLength: 64,
  chunk: 16,
};

export interface SmallModels extends Disposable {
  readonly folder: string;
  readonly llama4: string;
  /** The same, but the embedding of token 7 is NaN. */
  readonly poisoned: string;
}

export const POISON = 7;

export async function writeSmallModels(): Promise<SmallModels> {
  const folder = mkdtempSync(join(tmpdir(), 'maverick-engine-'));
  const llama4 = await writeRandomModel(join(folder, 'llama4.gguf'), geometry, { dtype: 'F16', seed: 5 });
  const poisoned = join(folder, 'poisoned.gguf');
  await using checkpoint = await openCheckpoint(llama4);
  const tensors: WritableTensor[] = [];
  for (const tensor of checkpoint.tensors.values()) {
    const data = new Uint8Array(tensor.byteLength);
    await checkpoint.read(tensor, 0, data);
    if (tensor.name === 'token_embd.weight')
      new Uint16Array(data.buffer).fill(0x7e00, POISON * geometry.dim, (POISON + 1) * geometry.dim);
    tensors.push({ name: tensor.name, dtype: tensor.dtype, shape: tensor.shape, data });
  }
  await writeGguf(poisoned, { metadata: checkpoint.metadata as GgufContent['metadata'], tensors });
  return { folder, llama4, poisoned, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

/** A budget under which so many of the eight experts of `path` have room, with a context of 64 and these sequences. */
export async function memoryFor(
  path: string,
  experts: number,
  cacheFloats: boolean,
  sequences: number,
): Promise<number> {
  await using checkpoint = await openCheckpoint(path);
  const bound = bindWeights(checkpoint, planModel(checkpoint));
  const { residentBytes, cacheBytes, passBytes, runtimeBytes } = planMemory(bound, {
    memory: 1e9,
    available: 1e9,
    maxBatch: undefined,
    cacheShape: maxBatch => cacheShape(bound.plan, { maxTokens: 64, maxSequences: sequences, maxBatch }),
    cacheFloats,
  });
  const rest = residentBytes - routedBytes(bound) + cacheBytes + passBytes + runtimeBytes;
  return Math.ceil(rest + (experts * routedBytes(bound)) / 8);
}

/** Tokens without the poisoned one. */
export const tokensOf = (seed: number, length: number): number[] =>
  Array.from({ length }, (_, i) => 8 + ((i * 7919 + seed * 1299709 + i * i * 31) % 240));

/** The whole of a generation. */
export async function collect(
  engine: Engine,
  prompt: readonly number[],
  options?: GenerateOptions,
): Promise<{ events: TokenEvent[]; tokens: number[]; end: GenerationEnd }> {
  const events: TokenEvent[] = [];
  const generation = engine.generate(prompt, options);
  for (;;) {
    const next = await generation.next();
    if (next.done) return { events, tokens: events.map(e => e.token), end: next.value };
    events.push(next.value);
  }
}
