// The built-in questions whose answers have a form: a tool to call, or JSON to write. Every answer can be judged by a program.
import type { Message, Tool } from '../tokenizer/tokenizer.ts';

/** The part of JSON Schema in which forms are stated here. */
export type Form = {
  readonly type: 'object' | 'array' | 'string' | 'number' | 'integer' | 'boolean';
  readonly properties?: Readonly<Record<string, Form>>;
  readonly required?: readonly string[];
  readonly items?: Form;
  readonly enum?: readonly string[];
};

export interface Task {
  readonly id: string;
  readonly messages: readonly Message[];
  /** The answer must be a call of one of these, with arguments of its form … */
  readonly tools?: readonly (Tool & { readonly parameters: Form })[];
  /** … or without tools JSON of this form. */
  readonly form?: Form;
}

const text: Form = { type: 'string' };
const object = (properties: Record<string, Form>, required = Object.keys(properties)): Form => ({
  type: 'object',
  properties,
  required,
});
const tool = (name: string, description: string, parameters: Form): Tool & { parameters: Form } => ({
  name,
  description,
  parameters,
});

const weather = tool(
  'get_weather',
  'The weather at a place now',
  object({ city: text, unit: { type: 'string', enum: ['celsius', 'fahrenheit'] } }, ['city']),
);
const search = tool('search_web', 'Searches the web', object({ query: text, count: { type: 'integer' } }, ['query']));
const mail = tool(
  'send_mail',
  'Sends a message',
  object({ to: { type: 'array', items: text }, subject: text, body: text }),
);
const event = tool(
  'create_event',
  'Puts an event into the calendar',
  object({ title: text, start: text, minutes: { type: 'integer' }, online: { type: 'boolean' } }, ['title', 'start']),
);
const convert = tool(
  'convert_currency',
  'Converts an amount of money',
  object({ amount: { type: 'number' }, from: text, to: text }),
);
const query = tool('run_sql', 'Runs a query against the shop database', object({ sql: text }));

const calls = (id: string, tools: Task['tools'], content: string): Task => ({
  id: `a call: ${id}`,
  tools,
  messages: [{ role: 'user', content }],
});
const json = (id: string, form: Form, content: string): Task => ({
  id: `JSON: ${id}`,
  form,
  messages: [
    { role: 'system', content: 'Answer with JSON only: no words before it or after it.' },
    { role: 'user', content: `${content}\nThe JSON must match this schema: ${JSON.stringify(form)}` },
  ],
});

export const tasks: readonly Task[] = [
  calls('one argument', [weather], 'What is the weather in Paris right now?'),
  calls('an enumeration', [weather], 'Tell me the temperature in Chicago in fahrenheit.'),
  calls('a choice of tools', [weather, search, mail], 'Search the web for three articles about heat pumps.'),
  calls(
    'a list',
    [mail],
    'Write to ana@example.org and bo@example.org that the meeting moves to 3 pm, subject "Moved".',
  ),
  calls(
    'optional arguments',
    [event, mail],
    'Put an online call named "Review" into my calendar for 2026-03-02T10:00, 45 minutes.',
  ),
  calls('a decimal number', [convert, search], 'How much is 12.50 euros in Japanese yen?'),
  calls('quotes in an argument', [query], `Count the customers whose name is O'Brien or "Bo".`),
  calls('another script', [search], '最近の東京の地震についてウェブで検索してください。'),
  json('an object', object({ name: text, age: { type: 'integer' } }), 'Ada Lovelace is 36 years old.'),
  json('a list', { type: 'array', items: text }, 'Name the four seasons.'),
  json(
    'nested',
    object({
      order: object({
        id: { type: 'integer' },
        items: { type: 'array', items: object({ sku: text, quantity: { type: 'integer' } }) },
      }),
    }),
    'Order 17 has two of sku A-1 and five of sku B-9.',
  ),
  json(
    'an enumeration',
    object({ sentiment: { type: 'string', enum: ['positive', 'negative', 'neutral'] } }),
    'Classify: "I love this lamp."',
  ),
  json('true and false', object({ prime: { type: 'boolean' }, value: { type: 'integer' } }), 'Is 91 a prime number?'),
  json('quotes and line breaks', object({ poem: text, title: text }), 'Write a poem of two lines titled The "Sea".'),
  json('numbers', { type: 'array', items: { type: 'number' } }, 'The square roots of 4, 2.25 and 0.01.'),
  json(
    'objects in a list',
    { type: 'array', items: object({ city: text, country: text, capital: { type: 'boolean' } }) },
    'Paris, Lyon and Rome.',
  ),
];
