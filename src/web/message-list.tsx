// The conversation, which follows its end while the reader is there and stays put when they scroll up.
import { useLayoutEffect, useRef } from 'react';
import { type ChatMessage, type Conversation, pathOf, versionsOf } from './conversation.ts';
import { Message, type MessageActions } from './message.tsx';

interface MessageListProps {
  readonly conversation: Conversation;
  readonly isAnswering: boolean;
  /** The message that is being rewritten. */
  readonly editedId: string | null;
  readonly hasExperts: boolean;
  readonly actions: MessageActions;
}

const NEAR_END_PX = 48;
const NOTHING: readonly ChatMessage[] = [];

export function MessageList({ conversation, isAnswering, editedId, hasExperts, actions }: MessageListProps) {
  const box = useRef<HTMLElement>(null);
  const isAtEnd = useRef(true);
  const path = pathOf(conversation);
  const lastId = useRef<string | undefined>(undefined);

  useLayoutEffect(() => {
    const element = box.current!;
    const id = path.at(-1)?.id;
    if (id !== lastId.current) isAtEnd.current = true; // a new message is always shown
    lastId.current = id;
    if (isAtEnd.current) element.scrollTop = element.scrollHeight;
  });

  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current!;
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  };
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
    <main className="conversation" ref={box} onScroll={onScroll} tabIndex={0} aria-label="Conversation">
      <h1 className="visually-hidden">{conversation.title}</h1>
      <div className="column" role="log" aria-label="Messages" aria-busy={isAnswering}>
        {path.map((message, index) => {
          if (message.role === 'tool') return null; // shown with its call
          const results = message.toolCalls ? resultsAfter(path, index) : NOTHING;
          return (
            <Message
              key={message.id}
              message={message}
              versions={versionsOf(conversation, message)}
              results={results}
              isBusy={isAnswering}
              isEdited={message.id === editedId}
              wantsResults={message.state === 'done' && !!message.toolCalls && index === path.length - 1}
              hasExperts={hasExperts}
              actions={actions}
            />
          );
        })}
      </div>
    </main>
  );
}

/** The tool messages that follow directly. */
function resultsAfter(path: readonly ChatMessage[], index: number): ChatMessage[] {
  const rest = path.slice(index + 1);
  const end = rest.findIndex(({ role }) => role !== 'tool');
  return end < 0 ? rest : rest.slice(0, end);
}
