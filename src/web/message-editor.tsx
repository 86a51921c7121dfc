// Rewrites a message in its place; sending it begins another branch.
import { type KeyboardEvent, useEffect, useRef, useState } from 'react';
import { GrowingField } from './growing-field.tsx';

interface MessageEditorProps {
  readonly text: string;
  readonly canSend: boolean;
  readonly onSend: (text: string) => void;
  readonly onCancel: () => void;
}

export function MessageEditor({ text: before, canSend, onSend, onCancel }: MessageEditorProps) {
  const [text, setText] = useState(before);
  const field = useRef<HTMLTextAreaElement>(null);
  const isReady = canSend && text.trim() !== '';
  useEffect(() => {
    field.current!.focus();
    field.current!.setSelectionRange(before.length, before.length);
  }, [before]);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === 'Escape') onCancel();
    else if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      if (isReady) onSend(text.trim());
    } else return;
    event.stopPropagation();
  };
  return (
    <form
      className="message editor"
      aria-label="Edit the message"
      onSubmit={event => {
        event.preventDefault();
        onSend(text.trim());
      }}
    >
      <GrowingField
        field={field}
        aria-label="Edited message"
        value={text}
        onChange={event => setText(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <div className="editor-actions">
        <button type="button" className="plain" onClick={onCancel}>
          Cancel
        </button>
        <button type="submit" className="primary" disabled={!isReady}>
          Send
        </button>
      </div>
    </form>
  );
}
