// Where one writes: a field that grows with its text, and one button that sends or stops.
import { type KeyboardEvent, type RefObject, useLayoutEffect, useState } from 'react';
import { SendIcon, StopIcon } from './icons.tsx';

interface ComposerProps {
  readonly field: RefObject<HTMLTextAreaElement | null>;
  readonly isAnswering: boolean;
  readonly canSend: boolean;
  readonly onSend: (text: string) => void;
  readonly onStop: () => void;
}

export function Composer({ field, isAnswering, canSend, onSend, onStop }: ComposerProps) {
  const [text, setText] = useState('');

  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useLayoutEffect(() => {
    const element = field.current!;
    element.style.height = 'auto';
    element.style.height = `${element.scrollHeight}px`;
  }, [text, field]);

  const send = () => {
    if (isAnswering || !canSend || text.trim() === '') return;
    onSend(text.trim());
    setText('');
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes a character, Enter belongs to it.
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      className="composer"
      onSubmit={event => {
        event.preventDefault();
        send();
      }}
    >
      <div className="composer-box">
        <textarea
          ref={field}
          rows={1}
          value={text}
          placeholder="Write a message"
          aria-label="Message"
          enterKeyHint="send"
          onChange={event => setText(event.target.value)}
          onKeyDown={onKeyDown}
        />
        {isAnswering ? (
          <button
            type="button"
            className="primary round"
            aria-label="Stop the answer"
            title="Stop (Esc)"
            onClick={onStop}
          >
            <StopIcon />
          </button>
        ) : (
          <button
            type="submit"
            className="primary round"
            aria-label="Send"
            title="Send (Enter)"
            disabled={!canSend || text.trim() === ''}
          >
            <SendIcon />
          </button>
        )}
      </div>
      <p className="keys" aria-hidden="true">
        <kbd>Enter</kbd> sends <kbd>Shift Enter</kbd> new line <kbd>Esc</kbd> stops
      </p>
    </form>
  );
}
