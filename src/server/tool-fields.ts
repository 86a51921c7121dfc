// Tools as requests describe them, and which of them an answer may or must call.
import { z } from 'zod';
import type { ResponseFormat, ToolChoice } from '../engine/chat-types.ts';
import type { Tool } from '../tokenizer/tokenizer.ts';
import { list, wrongValue } from './parameters.ts';

export type { ResponseFormat, ToolChoice };

export const MAX_TOOLS = 128;

export interface ToolUse {
  readonly tools?: readonly Tool[];
  readonly toolChoice?: ToolChoice;
  readonly parallelToolCalls?: boolean;
}

export const toolName = z
  .string({ error: 'a name' })
  .regex(/^[a-zA-Z0-9_.-]{1,64}$/, { error: 'a name of 1 to 64 letters, digits, underscores, dots and dashes' });
export const schemaObject = z.record(z.string(), z.unknown(), { error: 'an object that is a JSON Schema' });
export const description = z.string({ error: 'a string' }).nullish();

const formatName = z.string({ error: 'a name' });
export const jsonSchemaFormat = { name: formatName, description, schema: schemaObject, strict: z.boolean().nullish() };

export const toolList = <T extends z.ZodType>(tool: T) =>
  list(tool, 0, MAX_TOOLS, `an array of up to ${MAX_TOOLS} tools`).nullish();

/**
 * Checks tools against each other and against the choice.
 * @param names of the parameters, as the client's API spells them
 * @throws ApiError 400 naming the parameter: two tools of one name, or a choice that names none of them.
 */
export function toolUse(
  tools: readonly Tool[],
  choice: ToolChoice | undefined,
  parallel: boolean | undefined,
  names: { readonly choice: string; name(index: number): string },
): ToolUse {
  const known = new Set<string>();
  tools.forEach(({ name }, index) => {
    if (known.has(name)) throw wrongValue(names.name(index), name, 'a name that no other tool has');
    known.add(name);
  });
  if (typeof choice === 'object' && !known.has(choice.name))
    throw wrongValue(names.choice, choice.name, "a choice of one of the 'tools'");
  if (choice === 'required' && known.size === 0)
    throw wrongValue(names.choice, choice, "'auto' or 'none' without 'tools'");
  if (known.size === 0) return {};
  return { tools, toolChoice: choice ?? 'auto', parallelToolCalls: parallel ?? true };
}
