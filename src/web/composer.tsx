// Where one writes: a field that grows with its text, and one button that sends or stops.
import { type KeyboardEvent, type RefObject, useState } from 'react';
import { GrowingField } from './growing-field.tsx';
import { SendIcon, StopIcon } from './icons.tsx';
import type { Settings } from './settings.ts';

interface ComposerProps {
  readonly field: RefObject<HTMLTextAreaElement | null>;
  readonly settings: Settings;
  readonly isAnswering: boolean;
  readonly canSend: boolean;
  readonly onSend: (text: string) => void;
  readonly onStop: () => void;
  /** ↑ in the empty field. */
  readonly onEditLast: () => void;
  readonly onSettings: () => void;
}

export function Composer(props: ComposerProps) {
  const { field, settings, isAnswering, canSend, onSend, onStop, onEditLast, onSettings } = props;
  const [text, setText] = useState('');
  const send = () => {
    if (isAnswering || !canSend || text.trim() === '') return;
    onSend(text.trim());
    setText('');
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return; // while an input method composes a character, keys belong to it
    if (event.key === 'ArrowUp' && text === '' && !isAnswering) {
      event.preventDefault();
      onEditLast();
    }
    if (event.key !== 'Enter' || event.shiftKey) return;
    event.preventDefault();
    send();
  };
  const modes = [
    settings.system.trim() !== '' && 'System prompt',
    settings.tools.trim() !== '' && 'Tools',
    settings.format === 'json' && 'JSON',
    settings.format === 'schema' && 'JSON schema',
    settings.promptLookup && 'Prompt lookup',
  ].filter(mode => mode !== false);
  return (
    <form
      className="composer"
      aria-label="Write a message"
      onSubmit={event => {
        event.preventDefault();
        send();
      }}
    >
      <div className="composer-box">
        <GrowingField
          field={field}
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
      <div className="composer-foot">
        {modes.length > 0 && (
          <button type="button" className="modes" onClick={onSettings}>
            <span className="visually-hidden">Settings in use:</span>
            {modes.map(mode => (
              <span key={mode}>{mode}</span>
            ))}
          </button>
        )}
        <p className="keys" aria-hidden="true">
          <kbd>Enter</kbd> sends <kbd>Shift Enter</kbd> new line <kbd>↑</kbd> edits <kbd>Esc</kbd> stops
        </p>
      </div>
    </form>
  );
}
