// The peer's speed on random tokens: node speed.mjs MODEL.gguf [prompt 512] [generated 64] [threads 2] → one line of JSON.
import { getLlama } from 'node-llama-cpp';

const [file, promptTokens = '512', generated = '64', threads = '2'] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: Number(threads) });
let start = performance.now();
const model = await llama.loadModel({ modelPath: file, useMmap: true, ignoreMemorySafetyChecks: true });
const loadSeconds = (performance.now() - start) / 1e3;
const context = await model.createContext({
  contextSize: Math.max(512, Number(promptTokens) + Number(generated) + 16),
  batchSize: 512,
  threads: Number(threads),
  ignoreMemorySafetyChecks: true,
});
const sequence = context.getSequence();
let state = 12345;
const random = () => {
  state = (state * 1103515245 + 12345) & 0x7fffffff;
  return 300 + (state % 20000);
};
const prompt = Array.from({ length: Number(promptTokens) }, random);
start = performance.now();
await sequence.evaluateWithoutGeneratingNewTokens(prompt);
const prefill = prompt.length / ((performance.now() - start) / 1e3);
start = performance.now();
for (let i = 0; i < Number(generated); i++) await sequence.evaluateWithoutGeneratingNewTokens([random()]);
const decode = Number(generated) / ((performance.now() - start) / 1e3);
const peakMemory = process.resourceUsage().maxRSS * 1024;
console.log(JSON.stringify({ loadSeconds, prefill, decode, peakMemory }));
process.exit(0);
