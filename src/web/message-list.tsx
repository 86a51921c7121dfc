// The conversation, which follows its end while the reader is there and stays put when they scroll up.
import { useLayoutEffect, useRef } from 'react';
import type { ChatMessage } from './conversation.ts';
import { Message } from './message.tsx';

interface MessageListProps {
  readonly messages: readonly ChatMessage[];
  readonly isAnswering: boolean;
  readonly onRetry: () => void;
}

const NEAR_END_PX = 48;

export function MessageList({ messages, isAnswering, onRetry }: MessageListProps) {
  const box = useRef<HTMLElement>(null);
  const isAtEnd = useRef(true);
  const count = useRef(messages.length);

  useLayoutEffect(() => {
    const element = box.current!;
    if (messages.length > count.current) isAtEnd.current = true; // one's own new message is always shown
    count.current = messages.length;
    if (isAtEnd.current) element.scrollTop = element.scrollHeight;
  }, [messages]);

  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current!;
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  };
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
    <main className="conversation" ref={box} onScroll={onScroll} tabIndex={0} aria-label="Conversation">
      <div className="column" role="log" aria-busy={isAnswering}>
        {messages.map((message, index) => (
          <Message
            key={message.id}
            message={message}
            onRetry={index === messages.length - 1 && !isAnswering ? onRetry : null}
          />
        ))}
      </div>
    </main>
  );
}
