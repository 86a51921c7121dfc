// The AI SDK's prompt as the messages of chat completions.
import {
  type LanguageModelV4Prompt,
  type LanguageModelV4ToolCallPart,
  type LanguageModelV4ToolResultOutput,
  UnsupportedFunctionalityError,
} from '@ai-sdk/provider';

type Message = Readonly<Record<string, unknown>>;

/** @throws UnsupportedFunctionalityError for files: the model reads text only. */
export const messagesOf = (prompt: LanguageModelV4Prompt): Message[] => prompt.flatMap(written);

function written(message: LanguageModelV4Prompt[number]): Message[] {
  switch (message.role) {
    case 'system':
      return [{ role: 'system', content: message.content }];
    case 'user':
      return [{ role: 'user', content: message.content.map(textOf).join('') }];
    case 'assistant': {
      const texts = message.content.filter(part => part.type !== 'tool-call' && part.type !== 'reasoning');
      const calls = message.content.filter(part => part.type === 'tool-call').map(callOf);
      return [
        { role: 'assistant', content: texts.map(textOf).join(''), ...(calls.length > 0 && { tool_calls: calls }) },
      ];
    }
    case 'tool': {
      const results = message.content.filter(part => part.type === 'tool-result');
      return results.map(({ toolCallId, output }) => ({
        role: 'tool',
        tool_call_id: toolCallId,
        content: resultOf(output),
      }));
    }
  }
}

const callOf = ({ toolCallId, toolName, input }: LanguageModelV4ToolCallPart) => ({
  id: toolCallId,
  type: 'function',
  function: { name: toolName, arguments: JSON.stringify(input) },
});

function textOf(part: { readonly type: string; readonly text?: string }): string {
  if (part.type === 'text') return part.text!;
  throw new UnsupportedFunctionalityError({
    functionality: `prompt parts of type '${part.type}': the model reads text only`,
  });
}

function resultOf(output: LanguageModelV4ToolResultOutput): string {
  switch (output.type) {
    case 'text':
    case 'error-text':
      return output.value;
    case 'json':
    case 'error-json':
      return JSON.stringify(output.value);
    case 'execution-denied':
      return output.reason ?? 'The call was not allowed.';
    case 'content':
      return output.value.map(textOf).join('');
  }
}
