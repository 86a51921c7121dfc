// For tests: Llama 4 once more, by itself: plain loops over decoded weights in doubles, no backend, no cache. It notes all that it sees.
import { dequantize } from '../backends/reference/dequantize.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { planModel } from './config.ts';

type Row = number[];

export interface Seen {
  /** What each weight was multiplied with, row by row in the order of tokens; of experts also whose row it is. */
  readonly inputs: ReadonlyMap<string, readonly { readonly row: Row; readonly expert: number }[]>;
  /** [layer][position], the residual stream after each layer. */
  readonly outputs: readonly (readonly Row[])[];
}

/** The pass over `tokens` from position 0. Llama 4 without scaled RoPE, its contexts below the temperature's floor. */
export async function plainPass(checkpoint: Checkpoint, tokens: readonly number[]): Promise<Seen> {
  const { config, layers, ropeTheta } = planModel(checkpoint);
  const { dim, heads, kvHeads, headDim, normEps } = config;
  const inputs = new Map<string, { row: Row; expert: number }[]>();
  const decoded = new Map<string, Float32Array>();
  const weight = async (name: string): Promise<Float32Array> => {
    const known = decoded.get(name);
    if (known) return known;
    const tensor = checkpoint.tensors.get(`${name}.weight`)!;
    const bytes = new Uint8Array(tensor.byteLength);
    await checkpoint.read(tensor, 0, bytes);
    const count = tensor.shape.reduce((a, b) => a * b, 1);
    const values = tensor.dtype === 'F32' ? new Float32Array(bytes.buffer) : dequantize(tensor.dtype, bytes, count);
    decoded.set(name, values);
    return values;
  };
  const multiply = async (name: string, row: Row, outs: number, expert = -1): Promise<Row> => {
    const key = `${name}.weight`;
    inputs.set(key, [...(inputs.get(key) ?? []), { row, expert }]);
    const w = await weight(name);
    const first = Math.max(0, expert) * outs * row.length;
    return Array.from({ length: outs }, (_, o) =>
      row.reduce((sum, x, i) => sum + x * w[first + o * row.length + i]!, 0),
    );
  };
  const norm = (row: Row, scale: Float32Array | null): Row => {
    const mean = row.reduce((sum, x) => sum + x * x, 0) / row.length;
    return row.map((x, i) => (x / Math.sqrt(mean + normEps)) * (scale?.[i] ?? 1));
  };
  const silu = (x: number): number => x / (1 + Math.exp(-x));
  const mlp = async (block: string, suffix: string, ff: number, row: Row, expert = -1): Promise<Row> => {
    const gate = await multiply(`${block}.ffn_gate${suffix}`, row, ff, expert);
    const up = await multiply(`${block}.ffn_up${suffix}`, row, ff, expert);
    return multiply(
      `${block}.ffn_down${suffix}`,
      gate.map((g, i) => silu(g) * up[i]!),
      dim,
      expert,
    );
  };
  const headsOf = (row: Row): Row[] =>
    Array.from({ length: row.length / headDim }, (_, h) => row.slice(h * headDim, (h + 1) * headDim));
  const rotate = (row: Row, position: number): Row =>
    row.map((x, i) => {
      const angle = position * ropeTheta ** (-(i - (i % 2)) / headDim);
      const other = row[i ^ 1]!;
      return x * Math.cos(angle) + (i % 2 === 0 ? -other : other) * Math.sin(angle);
    });

  const table = await weight('token_embd');
  let h: Row[] = tokens.map(token => [...table.subarray(token * dim, (token + 1) * dim)]);
  const outputs: Row[][] = [];
  for (const { index, rope, chunk, qkNorm, moe, ff } of layers) {
    const block = `blk.${index}`;
    const keys: Row[][] = [];
    const values: Row[][] = [];
    const attended: Row[] = [];
    for (const [t, row] of h.entries()) {
      const x = norm(row, await weight(`${block}.attn_norm`));
      const turn = (part: Row): Row => (rope ? rotate(part, t) : part);
      const even = (part: Row): Row => (qkNorm ? norm(part, null) : part);
      const q = headsOf(await multiply(`${block}.attn_q`, x, heads * headDim)).map(part => even(turn(part)));
      keys.push(headsOf(await multiply(`${block}.attn_k`, x, kvHeads * headDim)).map(part => even(turn(part))));
      values.push(headsOf(await multiply(`${block}.attn_v`, x, kvHeads * headDim)));
      const first = chunk === null ? 0 : t - (t % chunk);
      const out = q.flatMap((query, head) => {
        const group = Math.floor(head / (heads / kvHeads));
        const scores = keys
          .slice(first)
          .map(key => Math.exp(query.reduce((sum, a, i) => sum + a * key[group]![i]!, 0) / Math.sqrt(headDim)));
        const total = scores.reduce((a, b) => a + b, 0);
        return query.map((_, i) =>
          scores.reduce((sum, score, j) => sum + (score / total) * values[first + j]![group]![i]!, 0),
        );
      });
      attended.push(out);
    }
    const next: Row[] = [];
    for (const [t, row] of h.entries()) {
      const projected = await multiply(`${block}.attn_output`, attended[t]!, dim);
      const middle = row.map((x, i) => x + projected[i]!);
      const x = norm(middle, await weight(`${block}.ffn_norm`));
      const added = await mlp(block, moe ? '_shexp' : '', ff, x);
      if (moe) {
        const logits = await multiply(`${block}.ffn_gate_inp`, x, config.experts);
        const expert = logits.indexOf(Math.max(...logits));
        const score = 1 / (1 + Math.exp(-logits[expert]!));
        const routed = await mlp(
          block,
          '_exps',
          ff,
          x.map(value => value * score),
          expert,
        );
        for (const [i, value] of routed.entries()) added[i]! += value;
      }
      next.push(middle.map((value, i) => value + added[i]!));
    }
    h = next;
    outputs.push(h);
  }
  return { inputs, outputs };
}
