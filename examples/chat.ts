// Talk to a checkpoint in this process, and see the answer as it comes.
// node examples/chat.ts model.gguf
import { openChat } from 'open-maverick';

await using chat = await openChat(process.argv[2] ?? 'model.gguf');
const messages = [
  { role: 'system', content: 'You are brief.' },
  { role: 'user', content: 'What is the capital of France?' },
] as const;

for await (const event of chat.chat(messages, { temperature: 0.7, maxTokens: 60, seed: 1 })) {
  if (event.type === 'text') process.stdout.write(event.text);
  if (event.type === 'end') {
    const { generatedTokens, decodeMs } = event.stats;
    console.log(`\n[${event.reason}: ${generatedTokens} tokens, ${Math.round(decodeMs)} ms]`);
  }
}
