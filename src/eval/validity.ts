// Whether answers have the form that was asked for. Greedy, and without a grammar: what the model does by itself is what is measured.
import type { ChatModel } from '../engine/chat-types.ts';
import { type Form, type Task, tasks } from './tasks.ts';

/** What is wrong with an answer; null where nothing is. */
export interface Verdict {
  readonly id: string;
  readonly kind: 'tools' | 'json';
  readonly fault: string | null;
}

/** Tokens of one answer at most: what is not said by then is not said. */
const MOST_TOKENS = 256;

/** Asks a model all tasks. @param onTask called before each */
export async function judge(
  model: ChatModel,
  options: { readonly signal?: AbortSignal; readonly onTask?: (done: number, total: number) => void } = {},
): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const [index, task] of tasks.entries()) {
    options.onTask?.(index, tasks.length);
    const fault = await faultOfAnswer(model, task, options.signal).catch((error: unknown) => {
      if (error instanceof RangeError) return `not asked: ${error.message}`; // the question is longer than the context
      throw error;
    });
    verdicts.push({ id: task.id, kind: task.tools ? 'tools' : 'json', fault });
  }
  return verdicts;
}

async function faultOfAnswer(model: ChatModel, task: Task, signal: AbortSignal | undefined): Promise<string | null> {
  let text = '';
  const calls: { name: string; arguments: string; complete: boolean }[] = [];
  const events = model.chat(task.messages, {
    temperature: 0,
    maxTokens: MOST_TOKENS,
    ...(task.tools && { tools: task.tools }),
    ...(signal && { signal }),
  });
  for await (const event of events) {
    if (event.type === 'text') text += event.text;
    else if (event.type === 'call-start') calls[event.index] = { name: event.name, arguments: '', complete: false };
    else if (event.type === 'call-arguments') calls[event.index]!.arguments += event.delta;
    else if (event.type === 'call-end') calls[event.index]!.complete = event.complete;
  }
  signal?.throwIfAborted();
  return task.tools ? faultOfCalls(task.tools, calls) : faultOfText(task.form!, text);
}

/** At least one call, and each of them of a tool that there is, with arguments of its form. */
export function faultOfCalls(
  tools: NonNullable<Task['tools']>,
  calls: readonly { readonly name: string; readonly arguments: string; readonly complete: boolean }[],
): string | null {
  if (calls.length === 0) return 'no call';
  for (const call of calls) {
    const tool = tools.find(({ name }) => name === call.name);
    if (!tool) return `a call of ${call.name}, which is no tool`;
    if (!call.complete) return `the call of ${call.name} breaks off`;
    const fault = faultOfText(tool.parameters, call.arguments);
    if (fault !== null) return `${call.name}: ${fault}`;
  }
  return null;
}

/** The text is one JSON value of this form, alone or in one block of code. */
export function faultOfText(form: Form, text: string): string | null {
  const inside = /^\s*```(?:json)?\s*\n([\s\S]*?)\n?\s*```\s*$/i.exec(text)?.[1] ?? text;
  let value: unknown;
  try {
    value = JSON.parse(inside);
  } catch {
    return 'no JSON';
  }
  return faultOfValue(form, value, '');
}

function faultOfValue(form: Form, value: unknown, at: string): string | null {
  const place = at === '' ? 'the value' : at;
  const is = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
  const wanted = form.type === 'integer' ? 'number' : form.type;
  if (is !== wanted || (form.type === 'integer' && !Number.isInteger(value))) return `${place} is no ${form.type}`;
  if (form.enum && !form.enum.includes(value as string)) return `${place} is none of ${form.enum.join(', ')}`;
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) {
      const fault = form.items ? faultOfValue(form.items, item, `${at}[${i}]`) : null;
      if (fault !== null) return fault;
    }
  } else if (form.type === 'object') {
    const object = value as Record<string, unknown>;
    const missing = form.required?.find(name => !Object.hasOwn(object, name));
    if (missing !== undefined) return `${at}${at ? '.' : ''}${missing} is missing`;
    for (const [name, property] of Object.entries(form.properties ?? {})) {
      if (!Object.hasOwn(object, name)) continue;
      const fault = faultOfValue(property, object[name], `${at}${at ? '.' : ''}${name}`);
      if (fault !== null) return fault;
    }
  }
  return null;
}
