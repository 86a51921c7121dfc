// The AI SDK over a checkpoint in this process. Against `maverick serve`, createOpenMaverick({ baseURL }) is all that changes.
// node examples/ai-sdk.ts model.gguf
import { generateText, Output, streamText } from 'ai';
import { openChat } from 'open-maverick';
import { createLocalOpenMaverick } from 'open-maverick/ai-sdk';
import { z } from 'zod';

await using chat = await openChat(process.argv[2] ?? 'model.gguf');
const maverick = createLocalOpenMaverick(chat);

const { textStream } = streamText({
  model: maverick('local'),
  prompt: 'Write a line about the sea.',
  maxOutputTokens: 40,
  seed: 1,
});
for await (const text of textStream) process.stdout.write(text);

const { output } = await generateText({
  model: maverick('local'),
  prompt: 'Choose a colour.',
  output: Output.object({ schema: z.object({ colour: z.enum(['red', 'green', 'blue']) }) }),
  seed: 1,
});
console.log('\ncolour:', output.colour);
