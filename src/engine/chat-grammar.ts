// The grammar of an answer: what its format and its tools demand of it.
import type { Tool } from '../tokenizer/tokenizer.ts';
import type { ChatOptions, ResponseFormat, ToolChoice } from './chat-types.ts';
import { GrammarError } from './grammar-error.ts';
import { jsonObjectGrammar, jsonSchemaGrammar } from './grammar-json-schema.ts';
import { compileGrammar } from './grammar-program.ts';
import { regexGrammar } from './grammar-regex.ts';
import { checkSchemaSize } from './json-schema-size.ts';

const MOST_TOOLS = 128;
const MOST_CALLS = 16;
const NAME = /^[a-zA-Z0-9_.-]{1,64}$/;
/** Texts of grammars by what they were made of, the least recently used first. */
const known = new Map<string, string>();
const MOST_KNOWN = 64;

/**
 * The tools that an answer may call: none where the choice is none.
 * @throws RangeError naming what is wrong with the tools or the choice
 */
export function callableTools({ tools = [], toolChoice = 'auto' }: ChatOptions): readonly Tool[] {
  if (tools.length > MOST_TOOLS) throw new RangeError(`tools: got ${tools.length}, wanted at most ${MOST_TOOLS}.`);
  const names = new Set<string>();
  tools.forEach(({ name, parameters }, i) => {
    if (!NAME.test(name))
      throw new RangeError(
        `tools[${i}].name: got '${String(name).slice(0, 80)}', wanted 1 to 64 letters, digits, underscores, dots and dashes.`,
      );
    if (names.has(name)) throw new RangeError(`tools[${i}].name: got '${name}', which another tool has.`);
    if (parameters !== undefined && (typeof parameters !== 'object' || parameters === null))
      throw new RangeError(`tools[${i}].parameters: got ${String(parameters)}, wanted a JSON Schema.`);
    names.add(name);
  });
  if (typeof toolChoice === 'object' && !names.has(toolChoice.name))
    throw new RangeError(`toolChoice: got '${toolChoice.name}', wanted the name of one of the tools.`);
  if (toolChoice === 'required' && names.size === 0)
    throw new RangeError("toolChoice: got 'required', wanted 'auto' or 'none', for there are no tools.");
  return toolChoice === 'none' ? [] : tools;
}

/**
 * GBNF that the answer must follow, or undefined where anything goes.
 * @throws GrammarError naming the place in the schema, pattern or grammar
 */
export function chatGrammar(options: ChatOptions): string | undefined {
  const { responseFormat = { type: 'text' }, toolChoice = 'auto', parallelToolCalls = true } = options;
  const tools = callableTools(options);
  const mustCall = tools.length > 0 && toolChoice !== 'auto';
  if (!mustCall && responseFormat.type === 'text') return undefined;
  if (responseFormat.type === 'json_schema') checkSchemaSize(responseFormat.schema, 'schema');
  tools.forEach(({ parameters }, i) => {
    checkSchemaSize(parameters, `tools[${i}].parameters`);
  });
  const source = JSON.stringify(
    mustCall ? [toolChoice, parallelToolCalls, tools] : [responseFormat, parallelToolCalls, tools],
  );
  const grammar =
    known.get(source) ??
    (mustCall
      ? callsGrammar(tools, toolChoice, parallelToolCalls)
      : formatGrammar(responseFormat, tools, parallelToolCalls));
  known.delete(source);
  known.set(source, grammar);
  if (known.size > MOST_KNOWN) known.delete(known.keys().next().value!);
  return grammar;
}

function formatGrammar(format: ResponseFormat, tools: readonly Tool[], parallel: boolean): string {
  switch (format.type) {
    case 'json_object':
    case 'json_schema': {
      const schema = format.type === 'json_object' ? { type: 'object' } : format.schema;
      const alone = format.type === 'json_object' ? jsonObjectGrammar : jsonSchemaGrammar(schema);
      // Where tools may be called too, a call is the other thing that may be said.
      return tools.length === 0 ? alone : grammarOf(schema, tools, parallel);
    }
    case 'regex':
      return checked(`root ::= ${regexGrammar(format.pattern, 'regex', { whole: true })}`, 'regex');
    case 'grammar':
      return checked(format.grammar, 'grammar');
    default:
      throw new RangeError(
        `responseFormat.type: got '${(format as { type: unknown }).type}', wanted 'text', 'json_object', 'json_schema', 'regex' or 'grammar'.`,
      );
  }
}

function checked(grammar: string, parameter: string): string {
  compileGrammar(grammar, parameter);
  return grammar;
}

function callsGrammar(tools: readonly Tool[], choice: ToolChoice, parallel: boolean): string {
  const chosen = typeof choice === 'object' ? tools.filter(({ name }) => name === choice.name) : tools;
  return grammarOf(null, chosen, parallel && typeof choice !== 'object');
}

/** `{"name": …, "parameters": …}`, or a list of them; or what another schema, if there is one, allows. */
function grammarOf(other: unknown, tools: readonly Tool[], parallel: boolean): string {
  const $defs: Record<string, unknown> = {};
  const calls = tools.map(({ name, parameters }, i) => {
    // Alone first, so that an error names the tool.
    if (parameters) jsonSchemaGrammar(parameters, `tools[${i}].parameters`);
    $defs[`tool${i}`] = withReferences({ type: 'object', ...parameters }, `#/$defs/tool${i}`);
    return {
      type: 'object',
      properties: { name: { const: name }, parameters: { $ref: `#/$defs/tool${i}` } },
      required: ['name', 'parameters'],
      additionalProperties: false,
    };
  });
  $defs.call = { anyOf: calls };
  const anyOf: unknown[] = [{ $ref: '#/$defs/call' }];
  if (parallel) anyOf.push({ type: 'array', items: { $ref: '#/$defs/call' }, minItems: 1, maxItems: MOST_CALLS });
  if (other !== null) {
    $defs.answer = withReferences(other, '#/$defs/answer');
    anyOf.push({ $ref: '#/$defs/answer' });
  }
  try {
    return jsonSchemaGrammar({ anyOf, $defs }, 'tools');
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    throw new GrammarError('tools', '', `together they are more than a grammar holds: ${error.message}`);
  }
}

/** Keywords whose values are objects of schemas by name. */
const NAMED = ['properties', 'patternProperties', '$defs', 'definitions'];

/** A schema that stands within another: what it refers to is where it now is. */
function withReferences(schema: unknown, at: string, areNames = false): unknown {
  if (Array.isArray(schema)) return schema.map(part => withReferences(part, at));
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => {
      if (areNames) return [key, withReferences(value, at)];
      if (key === '$ref' && typeof value === 'string' && /^#(\/|$)/.test(value)) return [key, at + value.slice(1)];
      if (key === 'const' || key === 'enum') return [key, value];
      return [key, withReferences(value, at, NAMED.includes(key))];
    }),
  );
}
