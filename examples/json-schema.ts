// An answer that is a value of a schema, checked and typed, whatever the model is: of zod, or of any library of Standard Schema.
// node examples/json-schema.ts model.gguf
import { chatObject, openChat } from 'open-maverick';
import { z } from 'zod';

const Person = z.object({
  name: z.string().max(20),
  age: z.int().min(0).max(150),
  languages: z.array(z.enum(['de', 'en', 'fr'])).max(3),
});

await using chat = await openChat(process.argv[2] ?? 'model.gguf');
const question = [{ role: 'user', content: 'Invent a person.' }] as const;
const { value } = await chatObject(chat, question, Person, { temperature: 1, seed: 1 });
console.log(value);
