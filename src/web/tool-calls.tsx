// The calls of an answer, each with its arguments and result, and a place to write the results that the model waits for.
import { useId, useState } from 'react';
import { CodeBlock } from './code-block.tsx';
import type { ChatMessage, ToolCall } from './conversation.ts';
import { GrowingField } from './growing-field.tsx';
import { ToolIcon } from './icons.tsx';

interface ToolCallsProps {
  readonly calls: readonly ToolCall[];
  readonly results: readonly ChatMessage[];
  readonly isComplete: boolean;
  /** Null if no result is wanted. */
  readonly onResults: ((results: ReadonlyMap<string, string>) => void) | null;
}

export function ToolCalls({ calls, results, isComplete, onResults }: ToolCallsProps) {
  const [texts, setTexts] = useState<ReadonlyMap<string, string>>(new Map());
  const label = useId();
  const resultOf = (call: ToolCall) => results.find(({ toolCallId }) => toolCallId === call.id);
  return (
    <form
      className="tool-calls"
      aria-label="Tool calls"
      onSubmit={event => {
        event.preventDefault();
        onResults?.(new Map(calls.map(({ id }) => [id, texts.get(id) ?? ''])));
      }}
    >
      {calls.map((call, index) => {
        const result = resultOf(call);
        const id = `${label}-${index}`;
        return (
          <details key={call.id} className="tool-call" open={onResults !== null || undefined}>
            <summary>
              <ToolIcon />
              <span className="tool-name">{call.name || 'tool'}</span>
              <span className="tool-state">
                {result ? 'called' : !isComplete ? 'being written' : onResults ? 'waits for its result' : 'no result'}
              </span>
            </summary>
            <CodeBlock text={pretty(call.arguments)} language="json" />
            {result && (
              <div className="tool-result">
                <h4>Result</h4>
                <pre>{result.content}</pre>
              </div>
            )}
            {onResults && (
              <div className="tool-result">
                <label htmlFor={id}>Result of {call.name}</label>
                <GrowingField
                  id={id}
                  value={texts.get(call.id) ?? ''}
                  placeholder="What the tool gave back: text or JSON"
                  onChange={event => setTexts(new Map(texts).set(call.id, event.target.value))}
                />
              </div>
            )}
          </details>
        );
      })}
      {onResults && (
        <button type="submit" className="primary" disabled={calls.some(({ id }) => !texts.get(id)?.trim())}>
          {calls.length === 1 ? 'Give the result' : 'Give the results'}
        </button>
      )}
    </form>
  );
}

/** JSON over several lines, or the text as it is while it is not whole. */
function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
