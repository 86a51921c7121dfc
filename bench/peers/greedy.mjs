// Greedy continuations by node-llama-cpp: node greedy.mjs MODEL.gguf PROMPTS.json OUT.json [tokens 64] [threads 2]
import fs from 'node:fs';
import { getLlama } from 'node-llama-cpp';

const [file, promptsFile, out, count = '64', threads = '2'] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
const model = await llama.loadModel({ modelPath: file });
const results = [];
for (const prompt of JSON.parse(fs.readFileSync(promptsFile, 'utf8'))) {
  const context = await model.createContext({
    contextSize: 1024,
    batchSize: 512,
    threads: Number(threads),
    flashAttention: false,
  });
  const sequence = context.getSequence();
  const tokens = model.tokenize(prompt, true);
  const generated = [];
  for await (const token of sequence.evaluate(tokens, { temperature: 0 })) {
    if (model.isEogToken(token)) break;
    generated.push(token);
    if (generated.length === Number(count)) break;
  }
  results.push({ prompt, tokens, generated, text: model.detokenize(generated, true) });
  await context.dispose();
}
fs.writeFileSync(out, `${JSON.stringify(results)}\n`);
process.exit(0);
