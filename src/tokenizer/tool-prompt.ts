// How a model is told of tools: a part of the system message, in the words of Llama 4's own chat template.
import type { Message, Tool } from './tokenizer.ts';

/**
 * The conversation with its tools described at the end of the system message, one of its own if there is none. Calls are asked for
 * as JSON, which leaves no doubt about types; they are understood in every form.
 */
export function withTools(messages: readonly Message[], tools: readonly Tool[]): readonly Message[] {
  if (tools.length === 0) return messages;
  const described = tools
    .map(({ name, description, parameters }) => JSON.stringify({ name, description, parameters }, null, 4))
    .join('\n\n');
  const text =
    'Given the following functions, please respond with a JSON for a function call with its proper arguments that best answers the given prompt. ' +
    'If no function is needed, answer in plain text.\n\n' +
    'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}. ' +
    `Do not use variables. For several calls, respond with a list of them.\n\n${described}`;
  const [first, ...rest] = messages;
  if (first?.role !== 'system') return [{ role: 'system', content: text }, ...messages];
  return [{ ...first, content: first.content === '' ? text : `${first.content}\n\n${text}` }, ...rest];
}
