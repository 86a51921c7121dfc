// The peer's time to the first token: node first-token.mjs MODEL.gguf TOKEN,TOKEN,… [threads 2] → one line of JSON.
import { getLlama } from 'node-llama-cpp';

const [file, tokens, threads = '2'] = process.argv.slice(2);
const prompt = tokens.split(',').map(Number);
const start = performance.now();
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: Number(threads) });
const model = await llama.loadModel({ modelPath: file, useMmap: true, ignoreMemorySafetyChecks: true });
const context = await model.createContext({
  contextSize: 8192,
  batchSize: 512,
  threads: Number(threads),
  ignoreMemorySafetyChecks: true,
});
const first = await context.getSequence().evaluate(prompt, { temperature: 0 }).next();
if (first.done) throw new Error('No token was generated.');
const loading = (performance.now() - start) / 1e3;
console.log(JSON.stringify({ loading, peakMemory: process.resourceUsage().maxRSS * 1024 }));
process.exit(0);
