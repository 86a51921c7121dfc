// Mixes decide for every tensor of real models as llama.cpp's quantizer did (test/fixtures/quantize/decisions.json); recipes are read.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { byteLengthOf, type DType } from '../checkpoint/dtype.ts';
import { ruledModel } from './metadata.ts';
import { chooseFormats, fitting, inRuledOrder, type MixName, mixes, mixNamed, wantsImportance } from './mixes.ts';
import { type ModelName, metadataOfModel, models, tensorsOfModel } from './model-shapes.cases.ts';
import { planQuantization } from './plan.ts';
import { parseRecipe } from './recipe.ts';

/** How many tensors became what, and a hash of the list; keys end in `+imatrix` where importance changes something. */
type Decisions = Record<ModelName, Record<string, Record<string, number> & { hash: string }>>;
const decisions = JSON.parse(
  readFileSync(new URL('../../test/fixtures/quantize/decisions.json', import.meta.url), 'utf8'),
) as Decisions;

/** A checkpoint of a model's shapes, which nobody reads. */
function shapesOf(name: ModelName): Checkpoint {
  const plain = [...metadataOfModel(name)].map(([key, value]) => [
    key,
    typeof value === 'object' && 'value' in value ? value.value : value,
  ]);
  const tensors = tensorsOfModel(name).map(tensor => {
    const elements = tensor.shape.reduce((a, b) => a * b, 1);
    return [tensor.name, { ...tensor, byteLength: byteLengthOf(tensor.dtype, elements) }] as const;
  });
  return {
    path: `${name}.gguf`,
    metadata: new Map(plain as [string, string | number][]),
    tensors: new Map(tensors),
    read: () => Promise.reject(new Error('nothing is read')),
    async [Symbol.asyncDispose]() {},
  };
}

describe.each(Object.keys(models) as ModelName[])('%s', name => {
  const source = shapesOf(name);
  const tensors = inRuledOrder(source.tensors.values());
  test.each(
    (Object.keys(mixes) as MixName[]).flatMap(
      mix =>
        [
          [mix, false],
          [mix, true],
        ] as const,
    ),
  )('%s, importance: %s', (mix, importance) => {
    const own = decisions[name][mix];
    const want = (importance ? decisions[name][`${mix}+imatrix`] : undefined) ?? own;
    if (!want) {
      // llama.cpp's quantizer has no such mix, or no fallback for it.
      expect([name, mix]).toEqual(mix === 'NVFP4' ? [name, mix] : ['smol', 'Q1_0']);
      return;
    }
    const chosen = chooseFormats(mix, tensors, ruledModel(source, importance));
    const counts: Record<string, number> = {};
    const lines = tensors.map(tensor => {
      const { dtype } = chosen.get(tensor.name)!;
      counts[dtype] = (counts[dtype] ?? 0) + 1;
      return `${tensor.name} ${dtype}`;
    });
    const { hash, ...wanted } = want;
    expect(counts).toEqual(wanted);
    expect(createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16)).toBe(hash);
  });
});

test('fallbacks fill the rows whatever their length', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5000 }),
      fc.constantFrom(...Object.values(mixes).map(mix => mix.dtype)),
      (columns, dtype) => {
        const choice = fitting(dtype, columns);
        expect(() => byteLengthOf(choice.dtype, columns)).not.toThrow();
        expect(choice.insteadOf === undefined).toBe(choice.dtype === dtype);
      },
    ),
  );
});

test('names of mixes are read in any case, with their short forms', () => {
  expect(mixNamed('q4_k_m')).toBe('Q4_K_M');
  expect(mixNamed('Q4_K')).toBe('Q4_K_M');
  expect(mixNamed('mxfp4')).toBe('MXFP4_MOE');
  expect(mixNamed('Q4_K_XL')).toBeUndefined();
  expect(mixNamed('toString')).toBeUndefined();
});

test('what means little without importance says so, but for embeddings', () => {
  expect(wantsImportance('blk.0.attn_q.weight', 'IQ2_XXS', 'IQ2_XXS')).toBe(true);
  expect(wantsImportance('token_embd.weight', 'IQ2_S', 'IQ2_S')).toBe(false);
  expect(wantsImportance('blk.0.ffn_up.weight', 'Q2_K', 'Q2_K_S')).toBe(true);
  expect(wantsImportance('blk.0.ffn_up.weight', 'Q2_K', 'Q2_K')).toBe(false);
  const source = shapesOf('llama-1b');
  expect(() => planQuantization(source, 'x.gguf', { type: 'IQ2_XXS' })).toThrow(/blk\.0\.attn_k\.weight.*--imatrix/);
});

describe('recipes', () => {
  const decided = (text: string, name: ModelName = 'scout'): Map<string, DType> => {
    const plan = planQuantization(shapesOf(name), 'x.gguf', { type: parseRecipe('r.recipe', text) });
    return new Map(plan.tensors.map(tensor => [tensor.name, tensor.dtype]));
  };

  test('the first line that matches decides; formats are formats, other names mixes', () => {
    const got = decided(`
      # experts small, what all tokens use better
      blk.*.ffn_{gate,up}_exps.weight  q4_0
      blk.?.ffn_down_exps.weight       Q6_K
      *_exps.weight                    Q4_K   # the format, not the mix
      *                                Q5_K_M
    `);
    expect(got.get('blk.3.ffn_up_exps.weight')).toBe('Q4_0');
    expect(got.get('blk.30.ffn_gate_exps.weight')).toBe('Q4_0');
    expect(got.get('blk.3.ffn_down_exps.weight')).toBe('Q6_K');
    expect(got.get('blk.30.ffn_down_exps.weight')).toBe('Q4_K');
    expect(got.get('output.weight')).toBe('Q6_K');
    expect(got.get('blk.3.ffn_gate_inp.weight')).toBe('F32');
    expect(got.get('blk.3.attn_norm.weight')).toBe('F32');
  });

  test('rows that blocks do not fill fall back', () => {
    const got = decided('* Q4_K\n', 'smol');
    expect(got.get('blk.0.attn_q.weight')).toBe('Q5_0');
    expect(got.get('blk.0.ffn_down.weight')).toBe('Q4_K');
  });

  test.each<[string, RegExp]>([
    ['', /holds no line/],
    ['# nothing\n\n', /holds no line/],
    ['blk.0.attn_q.weight', /line 1: got "blk\.0\.attn_q\.weight", wanted a glob and a type/],
    ['a Q4_K\n* Q4_K Q5_K', /line 2/],
    ['* Q9_K', /line 1: type "Q9_K" is unknown; known are .*Q4_K_M.*IQ1_S/],
    ['* I32', /unknown/],
    ['* __proto__', /unknown/],
  ])('%j is refused', (text, message) => {
    expect(() => parseRecipe('r.recipe', text)).toThrow(message);
  });

  test('a tensor of which the recipe says nothing is named', () => {
    expect(() => decided('blk.* Q4_K')).toThrow(/says nothing of tensor output\.weight/);
  });

  test('matching takes no longer than glob times name', () => {
    const [{ matches }] = parseRecipe('r', `${'a*'.repeat(400)}b  Q4_0`) as unknown as [
      { matches(name: string): boolean },
    ];
    const start = performance.now();
    expect(matches('a'.repeat(20_000))).toBe(false);
    expect(performance.now() - start).toBeLessThan(2_000);
    expect(() => parseRecipe('r', `${'{a,b}'.repeat(12)} Q4_0`)).toThrow(/256/);
  });

  test('no text makes reading crash, hang or match wrongly', () => {
    fc.assert(
      fc.property(fc.string(), text => {
        try {
          for (const { glob, matches } of parseRecipe('r', text))
            if (!/[*?{}]/.test(glob)) expect(matches(glob)).toBe(true);
        } catch (error) {
          expect((error as Error).name).toBe('QuantizeError');
        }
      }),
    );
  });
});
