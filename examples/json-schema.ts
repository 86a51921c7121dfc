// An answer that is valid JSON of a schema, whatever the model is.
// node examples/json-schema.ts model.gguf
import { openChat } from 'open-maverick';
import { z } from 'zod';

const Person = z.object({
  name: z.string().max(20),
  age: z.int().min(0).max(150),
  languages: z.array(z.enum(['de', 'en', 'fr'])).max(3),
});

await using chat = await openChat(process.argv[2] ?? 'model.gguf');
const question = [{ role: 'user', content: 'Invent a person.' }] as const;
const responseFormat = { type: 'json_schema', schema: z.toJSONSchema(Person) } as const;

let text = '';
for await (const event of chat.chat(question, { responseFormat, temperature: 1, seed: 1 }))
  if (event.type === 'text') text += event.text;
console.log(Person.parse(JSON.parse(text)));
