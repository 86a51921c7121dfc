// Chat formats given as Jinja templates (`tokenizer.chat_template`), rendered by @huggingface/jinja.
import { Template } from '@huggingface/jinja';
import { ContentGuard } from './content-guard.ts';
import { SpecialFinder } from './special-text.ts';
import type { ChatFormat, Message, Tokenizer } from './tokenizer.ts';
import { TokenizerError } from './tokenizer-error.ts';
import { toolCallText } from './tool-call-text.ts';
import { withTools } from './tool-prompt.ts';

export interface JinjaFormatOptions {
  /** Default 'jinja'. */
  readonly name?: string;
  /** What `bos_token` and `eos_token` are in the template. Default: empty. */
  readonly bosText?: string;
  readonly eosText?: string;
}

const LONGEST_TEMPLATE = 1 << 18;

/**
 * Special tokens in the template's own text are parsed; text in messages never becomes one, whatever the template does to it.
 * The role `ipython` is called `tool`, and calls are put as Hugging Face's templates expect them.
 * @throws TokenizerError when the template does not parse; `encode` throws it when the template refuses the conversation
 */
export function jinjaFormat(tokenizer: Tokenizer, source: string, options: JinjaFormatOptions = {}): ChatFormat {
  const { name = 'jinja', bosText = '', eosText = '' } = options;
  if (source.length > LONGEST_TEMPLATE)
    throw new TokenizerError(
      `the chat template has ${source.length} characters; at most ${LONGEST_TEMPLATE} are supported`,
    );
  const template = parse(source);
  const writesCalls = source.includes('tool_calls');
  // A special text of one character could not be broken by a mark.
  const specials = new Map([...tokenizer.specialTokens].filter(([text]) => text.length > 1));
  const finder = new SpecialFinder(specials);
  const guard = new ContentGuard(specials.keys());
  // Tokens like <think> are special only in that they are whole. Templates look for them in what the model wrote.
  const assistantGuard = new ContentGuard(
    [...specials].filter(([, id]) => tokenizer.decode([id]) === '').map(([text]) => text),
  );

  const render = (
    messages: readonly Message[],
    generationPrompt: boolean,
    everywhere: boolean,
    mark: string,
  ): string => {
    const protect = (text: string, role: Message['role']): string => {
      if (everywhere) return guard.markEverywhere(text, mark);
      return (role === 'assistant' ? assistantGuard : guard).mark(text, mark);
    };
    try {
      return template.render({
        messages: messages.map(message => templateMessage(message, text => protect(text, message.role))),
        tools: null,
        bos_token: bosText,
        eos_token: eosText,
        add_generation_prompt: generationPrompt,
      });
    } catch (error) {
      throw new TokenizerError(`the chat template refuses this conversation: ${messageOf(error)}`, { cause: error });
    }
  };

  return {
    name,
    stopTokens: tokenizer.stopTokens,
    encode(conversation, { generationPrompt = true, tools = [] } = {}) {
      const messages = withTools(conversation, tools).map(message =>
        writesCalls ? message : withCallsAsText(message),
      );
      const mark = ContentGuard.freeMark([source, JSON.stringify(messages)]);
      let text = render(messages, generationPrompt, false, mark);
      let matches = [...finder.all(text)];
      // A template that cuts or replaces within a message could still join the parts of a special text. Then, and only then,
      // there are more special tokens than with marks everywhere.
      const safe = render(messages, generationPrompt, true, mark);
      const safeMatches = [...finder.all(safe)];
      const control = (found: typeof matches): number => found.filter(m => tokenizer.decode([m.token]) === '').length;
      if (control(matches) > control(safeMatches)) {
        text = safe;
        matches = safeMatches;
      }
      const parts: number[][] = [];
      let start = 0;
      for (const match of matches) {
        parts.push(tokenizer.encode(ContentGuard.unmark(text.slice(start, match.start), mark)), [match.token]);
        start = match.end;
      }
      parts.push(tokenizer.encode(ContentGuard.unmark(text.slice(start), mark)));
      const tokens = parts.flat();
      if (tokenizer.bos !== null && tokens[0] !== tokenizer.bos) tokens.unshift(tokenizer.bos);
      return tokens;
    },
  };
}

function parse(source: string): Template {
  try {
    return new Template(source);
  } catch (error) {
    throw new TokenizerError(`the chat template is no Jinja template: ${messageOf(error)}`, { cause: error });
  }
}

/** For templates that know no calls: what the model said is in the text. */
function withCallsAsText(message: Message): Message {
  const { toolCalls = [], ...plain } = message;
  return { ...plain, content: plain.content + toolCalls.map(call => toolCallText(call, 'json')).join('; ') };
}

function templateMessage(message: Message, protect: (text: string) => string): Record<string, unknown> {
  const role = message.role === 'ipython' ? 'tool' : message.role;
  const plain = { role, content: protect(message.content) };
  if (message.toolCalls === undefined || message.toolCalls.length === 0) return plain;
  const tool_calls = message.toolCalls.map(call => ({
    type: 'function',
    function: { name: protect(call.name), arguments: protectAll(call.arguments, protect) },
  }));
  return { ...plain, tool_calls };
}

function protectAll(value: unknown, protect: (text: string) => string): unknown {
  if (typeof value === 'string') return protect(value);
  if (Array.isArray(value)) return value.map(v => protectAll(v, protect));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, v]) => [protect(key), protectAll(v, protect)]));
  return value;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
