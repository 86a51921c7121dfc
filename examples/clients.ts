// The clients that applications have already, against `maverick serve`.
// node examples/clients.ts http://127.0.0.1:8080 model-id
import Anthropic from '@anthropic-ai/sdk';
import { generateText } from 'ai';
import { createOpenMaverick } from 'open-maverick/ai-sdk';
import OpenAI from 'openai';

const [baseURL = 'http://127.0.0.1:8080', model = 'smollm2'] = process.argv.slice(2);
const apiKey = process.env.MAVERICK_API_KEY ?? 'none';
const messages = [{ role: 'user' as const, content: 'Say hello.' }];

const openai = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey });
const completion = await openai.chat.completions.create({ model, messages, max_completion_tokens: 20, seed: 1 });
console.log('openai:', JSON.stringify(completion.choices[0]?.message.content));

const anthropic = new Anthropic({ baseURL, apiKey });
const message = await anthropic.messages.create({ model, messages, max_tokens: 20 });
console.log('anthropic:', JSON.stringify(message.content));

const maverick = createOpenMaverick({ baseURL, apiKey });
const { text } = await generateText({ model: maverick(model), messages, maxOutputTokens: 20, seed: 1 });
console.log('ai:', JSON.stringify(text));
