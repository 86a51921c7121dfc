// Tools with types: described and checked by any schema library that speaks Standard Schema, and called by a loop until the model
// has its answer. Source: standardschema.dev, its schema and its JSON Schema interfaces.
import type { Message, Tool } from '../tokenizer/tokenizer.ts';
import type { ChatModel, ChatOptions } from './chat-types.ts';
import type { ChatEvent } from './types.ts';

interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[];
}

/** What zod, valibot, arktype and others make: a check that knows its type and its JSON Schema. */
export interface StandardSchema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly types?: { readonly input: unknown; readonly output: Output };
    readonly validate: (
      value: unknown,
    ) =>
      | { readonly value: Output; readonly issues?: undefined }
      | { readonly issues: readonly Issue[] }
      | Promise<{ readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly Issue[] }>;
    /** Libraries that lack it need `jsonSchema` beside the schema. */
    readonly jsonSchema?: {
      readonly input: (options: { readonly target: 'draft-2020-12' }) => Record<string, unknown>;
    };
  };
}

export interface ToolContext {
  readonly signal: AbortSignal | undefined;
}

/** A tool that can be called: `chat` takes it as it is, and `runTools` runs it. */
export interface RunnableTool extends Tool {
  /** Checks the arguments and runs; what it returns goes to the model, as text or as JSON. */
  call(given: unknown, context: ToolContext): Promise<unknown>;
}

export interface ToolDescription<Input> {
  readonly name: string;
  readonly description?: string;
  readonly parameters: StandardSchema<Input>;
  /** Default: what the schema says of itself. */
  readonly jsonSchema?: Readonly<Record<string, unknown>>;
  /** Called with arguments that the schema has checked and typed. */
  run(input: Input, context: ToolContext): unknown;
}

/** @throws TypeError when the schema cannot say its JSON Schema and none is given */
export function defineTool<Input>({
  name,
  description,
  parameters,
  jsonSchema,
  run,
}: ToolDescription<Input>): RunnableTool {
  return {
    name,
    ...(description !== undefined && { description }),
    parameters: jsonSchemaOf(parameters, `tool '${name}'`, jsonSchema),
    call: async (given, context) => run(await validated(parameters, given), context),
  };
}

/**
 * The JSON Schema of what a schema reads.
 * @param who names whose schema it is, in errors
 * @param given in place of what it says of itself
 * @throws TypeError when it says nothing and nothing is given
 */
export function jsonSchemaOf(
  schema: StandardSchema,
  who: string,
  given: Readonly<Record<string, unknown>> | undefined,
): Readonly<Record<string, unknown>> {
  const { vendor, jsonSchema: own } = schema['~standard'];
  const written = given ?? own?.input({ target: 'draft-2020-12' });
  if (written) return written;
  throw new TypeError(
    `${who}: the schema, of ${vendor}, does not say its JSON Schema. Give it as 'jsonSchema', or use a version of ${vendor} with Standard JSON Schema.`,
  );
}

/** A value as a schema types it. @throws TypeError with what the schema has against it */
export async function validated<Output>(schema: StandardSchema<Output>, value: unknown): Promise<Output> {
  const result = await schema['~standard'].validate(value);
  if (result.issues) throw new TypeError(result.issues.map(said).join('; '));
  return result.value;
}

function said({ message, path = [] }: Issue): string {
  const at = path.map(step => String(typeof step === 'object' ? step.key : step)).join('.');
  return at === '' ? message : `${at}: ${message}`;
}

export interface ToolResultEvent {
  readonly type: 'tool-result';
  /** Of the call in its answer. */
  readonly index: number;
  readonly name: string;
  /** As the model will read it. */
  readonly content: string;
  readonly isError: boolean;
}

export interface RunToolsOptions extends Omit<ChatOptions, 'tools'> {
  readonly tools: readonly RunnableTool[];
  /** Answers of the model at most; the last may not call any more. Default 8. */
  readonly maxAnswers?: number;
}

/**
 * Answers a conversation, runs the tools that the model calls and gives it their results, until it calls none. A tool that fails, or
 * arguments that are wrong, are told to the model, which may try again. A choice that demands a call holds for the first answer.
 * @returns the whole conversation, with all calls, results and the answer
 */
export async function* runTools(
  chat: ChatModel,
  messages: readonly Message[],
  { tools, maxAnswers = 8, ...options }: RunToolsOptions,
): AsyncGenerator<ChatEvent | ToolResultEvent, Message[]> {
  if (!Number.isInteger(maxAnswers) || maxAnswers < 1)
    throw new RangeError(`maxAnswers: got ${maxAnswers}, wanted a whole number of at least 1.`);
  const conversation = [...messages];
  for (let answer = 1; ; answer++) {
    const toolChoice = answer === maxAnswers ? 'none' : answer === 1 ? options.toolChoice : 'auto';
    let content = '';
    let finished = false;
    const calls: { name: string; written: string }[] = [];
    for await (const event of chat.chat(conversation, { ...options, tools, toolChoice })) {
      if (event.type === 'text') content += event.text;
      else if (event.type === 'call-start') calls.push({ name: event.name, written: '' });
      else if (event.type === 'call-arguments') calls.at(-1)!.written += event.delta;
      else if (event.type === 'end') finished = event.reason === 'stop';
      yield event;
    }
    const toolCalls = calls.map(({ name, written }) => ({ name, arguments: parsed(written) ?? {} }));
    conversation.push({ role: 'assistant', content, ...(toolCalls.length > 0 && { toolCalls }) });
    if (calls.length === 0 || !finished) return conversation;
    for (const [index, { name, written }] of calls.entries()) {
      options.signal?.throwIfAborted();
      const result = await run(tools, name, written, options.signal);
      conversation.push({ role: 'tool', content: result.content });
      yield { type: 'tool-result', index, name, ...result };
    }
  }
}

function parsed(written: string): unknown {
  try {
    return JSON.parse(written) as unknown;
  } catch {
    return undefined;
  }
}

async function run(
  tools: readonly RunnableTool[],
  name: string,
  written: string,
  signal: AbortSignal | undefined,
): Promise<{ content: string; isError: boolean }> {
  try {
    const tool = tools.find(tool => tool.name === name);
    if (!tool) throw new Error(`There is no tool '${name}'.`);
    const given = parsed(written);
    if (given === undefined) throw new Error(`The arguments are no JSON: ${written.slice(0, 200)}`);
    const value = await tool.call(given, { signal });
    return { content: typeof value === 'string' ? value : (JSON.stringify(value) ?? ''), isError: false };
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    return {
      content: JSON.stringify({ error: error instanceof Error ? error.message : String(error) }),
      isError: true,
    };
  }
}
