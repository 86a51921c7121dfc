// One message with what can be done with it: a user's words, or an answer with its calls and figures.
import { memo, type ReactNode } from 'react';
import { CodeBlock } from './code-block.tsx';
import type { ChatMessage } from './conversation.ts';
import { CopyButton } from './copy-button.tsx';
import { Figures } from './figures.tsx';
import { BackIcon, EditIcon, ExpertsIcon, ForwardIcon, RetryIcon } from './icons.tsx';
import { Markdown } from './markdown.tsx';
import { MessageEditor } from './message-editor.tsx';
import { ToolCalls } from './tool-calls.tsx';

export interface MessageActions {
  /** Asks for another version of an answer. */
  retry(message: ChatMessage): void;
  beginEdit(message: ChatMessage | null): void;
  /** Sends another version of a user's message. */
  edit(message: ChatMessage, text: string): void;
  /** Shows another version of a message. */
  choose(version: ChatMessage): void;
  showExperts(message: ChatMessage): void;
  giveResults(message: ChatMessage, results: ReadonlyMap<string, string>): void;
}

interface MessageProps {
  readonly message: ChatMessage;
  readonly versions: readonly ChatMessage[];
  /** The results of this answer's calls. */
  readonly results: readonly ChatMessage[];
  /** Nothing can be asked while an answer is being written. */
  readonly isBusy: boolean;
  readonly isEdited: boolean;
  /** The calls' results are wanted. */
  readonly wantsResults: boolean;
  readonly hasExperts: boolean;
  readonly actions: MessageActions;
}

const NOTES: Partial<Record<ChatMessage['state'], string>> = {
  stopped: 'stopped',
  cut: 'cut off: the length limit or the end of the context was reached',
};

/** Lists are made anew for each drawing; what is in them is not. */
function isSame(before: MessageProps, now: MessageProps): boolean {
  return (Object.keys(now) as (keyof MessageProps)[]).every(key => {
    const [a, b] = [before[key], now[key]];
    if (Array.isArray(a) && Array.isArray(b))
      return a.length === b.length && a.every((item, index) => item === b[index]);
    return a === b;
  });
}

export const Message = memo(function Message(props: MessageProps) {
  const { message, isBusy, isEdited, actions } = props;
  if (message.role === 'assistant') return <Answer {...props} />;
  if (isEdited)
    return (
      <MessageEditor
        text={message.content}
        canSend={!isBusy}
        onSend={text => actions.edit(message, text)}
        onCancel={() => actions.beginEdit(null)}
      />
    );
  return (
    <article className="message message-user" aria-label="You">
      <p className="bubble">{message.content}</p>
      <footer className="message-foot">
        <Versions {...props} />
        <span className="message-actions">
          <CopyButton text={message.content} what="message" />
          <Action name="Edit" isDisabled={isBusy} onClick={() => actions.beginEdit(message)}>
            <EditIcon />
          </Action>
        </span>
      </footer>
    </article>
  );
}, isSame);

function Answer(props: MessageProps) {
  const { message, results, isBusy, wantsResults, hasExperts, actions } = props;
  const { content, state, error, figures, toolCalls } = message;
  return (
    <article className="message message-answer" aria-label="Answer" data-state={state}>
      {content !== '' && (message.isJson ? <JsonAnswer text={content} /> : <Markdown text={content} />)}
      {toolCalls && (
        <ToolCalls
          calls={toolCalls}
          results={results}
          isComplete={state === 'done'}
          onResults={wantsResults && !isBusy ? given => actions.giveResults(message, given) : null}
        />
      )}
      {state === 'streaming' && content === '' && !toolCalls && (
        <p className="thinking" role="status">
          <span />
          <span />
          <span />
          <span className="visually-hidden">Waiting for the first word</span>
        </p>
      )}
      {state === 'failed' && (
        <p className="failure" role="alert">
          {error}
        </p>
      )}
      <footer className="message-foot">
        <Versions {...props} />
        {state !== 'streaming' && (
          <span className="message-actions">
            {content !== '' && <CopyButton text={content} what="answer" />}
            <Action name="Try again" isDisabled={isBusy} onClick={() => actions.retry(message)}>
              <RetryIcon />
            </Action>
            {hasExperts && content !== '' && (
              <Action name="Experts of this answer" isDisabled={isBusy} onClick={() => actions.showExperts(message)}>
                <ExpertsIcon />
              </Action>
            )}
          </span>
        )}
        {NOTES[state] && <span className="note">{NOTES[state]}</span>}
        {figures && <Figures figures={figures} model={message.model} />}
      </footer>
    </article>
  );
}

/** JSON set out over lines once it is whole. */
function JsonAnswer({ text }: { text: string }) {
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // still being written, or no JSON: as it is
  }
  return <CodeBlock text={shown} language="json" />;
}

interface ActionProps {
  readonly name: string;
  readonly isDisabled: boolean;
  readonly onClick: () => void;
  readonly children: ReactNode;
}

const Action = ({ name, isDisabled, onClick, children }: ActionProps) => (
  <button type="button" className="quiet" aria-label={name} title={name} disabled={isDisabled} onClick={onClick}>
    {children}
  </button>
);

function Versions({ message, versions, isBusy, actions }: MessageProps) {
  const at = versions.findIndex(({ id }) => id === message.id);
  if (versions.length < 2) return null;
  const step = (by: number, name: string, icon: ReactNode) => (
    <Action name={name} isDisabled={isBusy || !versions[at + by]} onClick={() => actions.choose(versions[at + by]!)}>
      {icon}
    </Action>
  );
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for fields
    <span className="versions" role="group" aria-label="Versions">
      {step(-1, 'Earlier version', <BackIcon />)}
      <span>
        {at + 1}/{versions.length}
      </span>
      {step(1, 'Later version', <ForwardIcon />)}
    </span>
  );
}
