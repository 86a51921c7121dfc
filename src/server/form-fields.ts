// How requests ask for answers of a certain form, in each of the ways that clients know: `response_format` as OpenAI has it, with `regex`
// and `grammar` beside its own types; `structured_outputs` as vLLM has it; `grammar` as llama.cpp has it.
import { z } from 'zod';
import type { ResponseFormat } from '../engine/chat-types.ts';
import { boolean, label, list, unsupported, wrongValue } from './parameters.ts';
import { jsonSchemaFormat, schemaObject } from './tool-fields.ts';

const MAX_CHOICES = 1024;
const MAX_CHOICE_CHARACTERS = 1 << 16;

const pattern = z.string({ error: 'a regular expression' });
const grammar = z.string({ error: 'a text in GBNF' });
const choice = z
  .string({ error: 'a string' })
  .min(1, { error: 'a string that is not empty' })
  .max(4096, { error: 'a string of at most 4096 characters' })
  .refine(text => text.isWellFormed(), { error: 'a string without halves of characters' });

/** A format that is no JSON Schema; each API has a way of its own to write those. */
export const plainFormats = [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({ type: z.literal('regex'), pattern }),
  z.strictObject({ type: z.literal('grammar'), grammar }),
] as const;
const types = "'text', 'json_object', 'json_schema', 'regex' or 'grammar'";
/** The format is no object, or its type is none of these. */
export const formatError = ({ code }: { readonly code?: string }): string =>
  code === 'invalid_union' ? types : `an object whose type is ${types}`;

const outputsError = "an object with one of 'json', 'regex', 'choice', 'grammar' and 'json_object'";

/** Of chat completions and completions. */
export const formFields = {
  response_format: z
    .discriminatedUnion(
      'type',
      [
        ...plainFormats,
        z.strictObject({
          type: z.literal('json_schema'),
          json_schema: z.strictObject(jsonSchemaFormat, { error: 'an object with name and schema' }),
        }),
      ],
      { error: formatError },
    )
    .nullish(),
  structured_outputs: z
    .strictObject(
      {
        json: schemaObject.nullish(),
        regex: pattern.nullish(),
        choice: list(choice, 1, MAX_CHOICES, `an array of 1 to ${MAX_CHOICES} strings`).nullish(),
        grammar: grammar.nullish(),
        json_object: boolean(),
        disable_fallback: label(),
        disable_any_whitespace: unsupported(value => value === false),
        disable_additional_properties: unsupported(value => value === false),
        whitespace_pattern: unsupported(),
        structural_tag: unsupported(),
      },
      { error: outputsError },
    )
    .nullish(),
  grammar: grammar.nullish(),
};

/** What a request wants its answer to be, and the parameter that says so. */
export interface Form {
  readonly format: ResponseFormat;
  readonly parameter: string;
}

/** @throws ApiError 400 naming the parameter: a form may be asked for in one way only. */
export function formOf(request: z.output<z.ZodObject<typeof formFields>>): Form | null {
  const { response_format: format, structured_outputs: outputs, grammar } = request;
  const forms: Form[] = [];
  const add = (parameter: string, format: ResponseFormat): unknown => forms.push({ parameter, format });
  if (format?.type === 'json_schema')
    add('response_format.json_schema.schema', { type: format.type, schema: format.json_schema.schema });
  else if (format && format.type !== 'text') add(fieldOf('response_format', format), format);
  if (outputs) {
    const before = forms.length;
    const { json, regex, choice, json_object } = outputs;
    if (json != null) add('structured_outputs.json', { type: 'json_schema', schema: json });
    if (regex != null) add('structured_outputs.regex', { type: 'regex', pattern: regex });
    if ((choice?.reduce((sum, text) => sum + text.length, 0) ?? 0) > MAX_CHOICE_CHARACTERS)
      throw wrongValue('structured_outputs.choice', choice, `of at most ${MAX_CHOICE_CHARACTERS} characters in all`);
    if (choice != null) add('structured_outputs.choice', { type: 'grammar', grammar: choiceGrammar(choice) });
    if (outputs.grammar != null) add('structured_outputs.grammar', { type: 'grammar', grammar: outputs.grammar });
    if (json_object) add('structured_outputs.json_object', { type: 'json_object' });
    if (forms.length === before) throw wrongValue('structured_outputs', outputs, outputsError);
  }
  if (grammar != null) add('grammar', { type: 'grammar', grammar });
  const [first, second] = forms;
  if (second) {
    const [top] = second.parameter.split('.') as [keyof typeof request];
    throw wrongValue(second.parameter, request[top], `left out where '${first!.parameter}' says the form`);
  }
  return first ?? null;
}

/** The part of a format that may be wrong. */
export const fieldOf = (at: string, { type }: { readonly type: ResponseFormat['type'] }): string =>
  ({ regex: `${at}.pattern`, grammar: `${at}.grammar`, json_schema: `${at}.schema` })[type as string] ?? at;

const choiceGrammar = (choices: readonly string[]): string => `root ::= ${choices.map(literal).join(' | ')}`;

/** A text as a literal of GBNF. */
const literal = (text: string): string =>
  `"${text.replace(/["\\\p{Cc}]/gu, c => `\\x${c.codePointAt(0)!.toString(16).padStart(2, '0')}`)}"`;

/**
 * How the client spells what a chat model's GrammarError names.
 * @param form the parameter that says the form, if one does
 * @param tool the parameter that has the schema of a tool's arguments
 */
export const spelling =
  (form: string | undefined, tool: (index: number) => string) =>
  (parameter: string): string => {
    const index = /^tools\[(\d+)\]\.parameters$/.exec(parameter)?.[1];
    if (index !== undefined) return tool(Number(index));
    return parameter === 'tools' ? parameter : (form ?? parameter);
  };
