// Tokenizer speed: ours against the npm package tiktoken, on Llama 4's vocabulary and prompt_format.md, in turns in one run.
// `node bench/tokenizer.ts [--json]`
import { existsSync, readFileSync } from 'node:fs';
import { Tiktoken } from 'tiktoken';
import { byteText } from '../src/tokenizer/byte-unicode.ts';
import { tokenizerFromGguf } from '../src/tokenizer/from-gguf.ts';
import { tokenizerFromTiktoken } from '../src/tokenizer/from-tiktoken.ts';

const modelFile = new URL('../../shared/llama4/tokenizer.model', import.meta.url);
const textFile = new URL('../../shared/llama4/prompt_format.md', import.meta.url);
for (const file of [modelFile, textFile])
  if (!existsSync(file)) {
    console.error(
      `bench/tokenizer: ${file.pathname} is not there. This measurement needs Meta's tokenizer.model and prompt_format.md.`,
    );
    process.exit(1);
  }

/** Meta's models/llama4/tokenizer.py. */
const pattern = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const file = readFileSync(modelFile);
const text = readFileSync(textFile, 'utf8');

const seconds = (work: () => unknown): number => {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1e3;
};
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
const megaPerSecond = (time: number, characters = text.length): number => characters / time / 1e6;

const loadTimes = Array.from({ length: 5 }, () => seconds(() => tokenizerFromTiktoken(file)));
const ours = tokenizerFromTiktoken(file);
let oracle!: Tiktoken;
const peerLoad = seconds(() => {
  oracle = new Tiktoken(file.toString('latin1'), {}, pattern);
});

// First pass of a new tokenizer: nothing cached, nothing compiled.
const coldOurs = seconds(() => ours.encode(text));
const coldPeer = seconds(() => oracle.encode_ordinary(text));
const ids = ours.encode(text);

const rounds = 15;
const steadyOurs: number[] = [];
const steadyPeer: number[] = [];
for (let i = 0; i < 400; i++) ours.encode(text);
for (let round = 0; round < rounds; round++) {
  steadyOurs.push(seconds(() => Array.from({ length: 20 }, () => ours.encode(text).length)) / 20);
  steadyPeer.push(seconds(() => oracle.encode_ordinary(text)));
}

// Text of which no piece has been seen: a warm program, a cold cache.
const freshTokenizer = tokenizerFromTiktoken(file);
const freshOurs = seconds(() => freshTokenizer.encode(text));
const decodeTimes = Array.from({ length: 50 }, () => seconds(() => ours.decode(ids)));

const result = {
  characters: text.length,
  tokens: ids.length,
  steady: {
    ours: megaPerSecond(median(steadyOurs)),
    tiktoken: megaPerSecond(median(steadyPeer)),
    ratio: median(steadyPeer) / median(steadyOurs),
  },
  firstPass: { ours: megaPerSecond(coldOurs), tiktoken: megaPerSecond(coldPeer), ratio: coldPeer / coldOurs },
  emptyCache: { ours: megaPerSecond(freshOurs), ratio: median(steadyPeer) / freshOurs },
  decode: { ours: megaPerSecond(median(decodeTimes)) },
  loadMs: { tokenizerModel: median(loadTimes) * 1e3, gguf: ggufLoad() * 1e3, tiktoken: peerLoad * 1e3 },
};
if (process.argv.includes('--json')) console.log(JSON.stringify(result));
else {
  const number = (value: number): string => value.toFixed(1);
  const { steady, firstPass, emptyCache, decode, loadMs } = result;
  console.log(
    `prompt_format.md: ${result.characters} characters, ${result.tokens} tokens; million characters a second`,
  );
  console.log(
    `steady       ours ${number(steady.ours)}, tiktoken ${number(steady.tiktoken)}: ${number(steady.ratio)} × (bar 10)`,
  );
  console.log(
    `first pass   ours ${number(firstPass.ours)}, tiktoken ${number(firstPass.tiktoken)}: ${number(firstPass.ratio)} ×`,
  );
  console.log(`empty cache  ours ${number(emptyCache.ours)}: ${number(emptyCache.ratio)} × steady tiktoken`);
  console.log(`decode       ours ${number(decode.ours)}`);
  console.log(
    `load         tokenizer.model ${number(loadMs.tokenizerModel)} ms, as GGUF ${number(loadMs.gguf)} ms (bar 300), tiktoken ${number(loadMs.tiktoken)} ms`,
  );
}

/** The same vocabulary as GGUF metadata, with all merges a converter would list. */
function ggufLoad(): number {
  const texts = Array.from({ length: 200_000 }, (_, id) => byteText(ours.bytes(id)));
  const known = new Set(texts);
  const merges = texts.flatMap(t =>
    Array.from({ length: t.length - 1 }, (_, i) => [t.slice(0, i + 1), t.slice(i + 1)] as const)
      .filter(([left, right]) => known.has(left) && known.has(right))
      .map(([left, right]) => `${left} ${right}`),
  );
  const metadata = new Map<string, unknown>([
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'llama4'],
    ['tokenizer.ggml.tokens', [...texts, ...ours.specialTokens.keys()]],
    ['tokenizer.ggml.token_type', [...texts.map(() => 1), ...[...ours.specialTokens].map(() => 3)]],
    ['tokenizer.ggml.merges', merges],
    ['tokenizer.ggml.bos_token_id', 200_000],
    ['tokenizer.ggml.eos_token_id', 200_008],
  ]);
  return median([0, 1, 2].map(() => seconds(() => tokenizerFromGguf(metadata))));
}
