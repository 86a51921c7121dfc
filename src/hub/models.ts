// The models that have a short name here. Sizes are as published, or computed from the parameters and then marked approximate.
import type { HubReference } from './reference.ts';

export interface NamedQuantization {
  readonly name: string;
  readonly bytes: number;
  /** False: parameters × the format's usual bits per weight; the hub says the true size before a download. */
  readonly exact: boolean;
}

export interface NamedModel {
  readonly name: string;
  readonly title: string;
  /** Where its GGUF files are; the first that answers is taken. */
  readonly repos: readonly [string, ...string[]];
  readonly parameters: number;
  /** Parameters a token uses. */
  readonly activeParameters: number;
  readonly licence: string;
  readonly licenceLink: string;
  readonly quantization: string;
  readonly quantizations: readonly NamedQuantization[];
}

/** Bits per weight of llama.cpp's mixes on a large model. Source: tools/quantize/README.md, ggml-org/llama.cpp. */
const bitsPerWeight = {
  Q2_K: 2.92,
  Q3_K_S: 3.5,
  Q3_K_M: 3.9,
  Q4_0: 4.55,
  Q4_K_S: 4.6,
  Q4_K_M: 4.85,
  Q5_K_M: 5.7,
  Q6_K: 6.57,
  Q8_0: 8.5,
  BF16: 16,
} as const;

const approximate = (parameters: number, names: readonly (keyof typeof bitsPerWeight)[]): NamedQuantization[] =>
  names.map(name => ({ name, bytes: Math.round((parameters * bitsPerWeight[name]) / 8), exact: false }));

const llama4Licence = {
  licence: 'Llama 4 Community License',
  licenceLink: 'https://www.llama.com/llama4/license/',
};
const large = ['Q2_K', 'Q3_K_S', 'Q3_K_M', 'Q4_0', 'Q4_K_S', 'Q4_K_M', 'Q5_K_M', 'Q6_K', 'Q8_0', 'BF16'] as const;

export const namedModels: readonly NamedModel[] = [
  {
    name: 'smollm2',
    title: 'SmolLM2 135M Instruct',
    repos: ['bartowski/SmolLM2-135M-Instruct-GGUF', 'unsloth/SmolLM2-135M-Instruct-GGUF'],
    parameters: 134_515_008,
    activeParameters: 134_515_008,
    licence: 'Apache 2.0',
    licenceLink: 'https://www.apache.org/licenses/LICENSE-2.0',
    quantization: 'Q4_K_M',
    quantizations: [
      { name: 'Q4_0', bytes: 91_727_200, exact: false },
      { name: 'Q4_K_M', bytes: 105_454_432, exact: true },
      { name: 'Q8_0', bytes: 144_811_360, exact: false },
      { name: 'F16', bytes: 270_888_000, exact: false },
    ],
  },
  {
    name: 'llama4-scout',
    title: 'Llama 4 Scout 17B 16E Instruct',
    repos: ['unsloth/Llama-4-Scout-17B-16E-Instruct-GGUF'],
    parameters: 107_769_861_120,
    activeParameters: 17_172_894_720,
    ...llama4Licence,
    quantization: 'Q4_K_M',
    quantizations: approximate(107_769_861_120, large),
  },
  {
    name: 'llama4-maverick',
    title: 'Llama 4 Maverick 17B 128E Instruct',
    repos: ['unsloth/Llama-4-Maverick-17B-128E-Instruct-GGUF'],
    parameters: 400_711_848_960,
    activeParameters: 17_184_691_200,
    ...llama4Licence,
    quantization: 'Q4_K_M',
    quantizations: approximate(400_711_848_960, large),
  },
];

/** `smollm2` or `smollm2:Q8_0`; null where the name is not ours. */
export function namedModel(
  text: string,
): { model: NamedModel; quantization: string; references: HubReference[] } | null {
  const colon = text.indexOf(':');
  const name = (colon < 0 ? text : text.slice(0, colon)).toLowerCase();
  const model = namedModels.find(candidate => candidate.name === name);
  if (!model) return null;
  const quantization = colon < 0 ? model.quantization : text.slice(colon + 1);
  return { model, quantization, references: model.repos.map(repo => ({ repo, revision: 'main', file: quantization })) };
}
