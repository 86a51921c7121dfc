// Tools with types: zod (or any library of Standard Schema) describes and checks the arguments, and the loop runs the calls.
// node examples/typed-tools.ts model.gguf
import { defineTool, openChat, runTools } from 'open-maverick';
import { z } from 'zod';

const weather = defineTool({
  name: 'get_weather',
  description: 'The weather in a city now.',
  parameters: z.object({ city: z.enum(['Oslo', 'Bern', 'Quito']), unit: z.enum(['celsius', 'fahrenheit']) }),
  run: ({ city, unit }) => ({ city, degrees: unit === 'celsius' ? 7 : 45, sky: 'clear' }),
});

await using chat = await openChat(process.argv[2] ?? 'model.gguf');
const question = [{ role: 'user', content: 'What is the weather in Oslo?' }] as const;
const options = {
  tools: [weather],
  toolChoice: 'required',
  parallelToolCalls: false,
  maxAnswers: 2,
  maxTokens: 200,
  seed: 1,
} as const;

for await (const event of runTools(chat, question, options)) {
  if (event.type === 'text') process.stdout.write(event.text);
  if (event.type === 'call-start') process.stdout.write(`calls ${event.name} `);
  if (event.type === 'call-arguments') process.stdout.write(event.delta);
  if (event.type === 'tool-result') console.log(` → ${event.content}`);
}
console.log();
