// The conversation in motion: send, stream, stop, try again, begin anew.
import { useCallback, useEffect, useRef, useState } from 'react';
import { streamChat } from './api.ts';
import { type ChatMessage, figuresOf, isConversation, newId, requestFor, settled } from './conversation.ts';
import type { Settings } from './settings.ts';
import { recall, remember } from './storage.ts';

export interface Chat {
  readonly messages: readonly ChatMessage[];
  readonly isAnswering: boolean;
  /** False if this browser cannot keep the conversation. */
  readonly isKept: boolean;
  send(text: string): void;
  stop(): void;
  /** Asks again for the last answer. */
  retry(): void;
  clear(): void;
}

export function useChat(model: string | null, settings: Settings): Chat {
  const [messages, setMessages] = useState<readonly ChatMessage[]>(() =>
    settled(recall('conversation', isConversation) ?? []),
  );
  const [isAnswering, setAnswering] = useState(false);
  const [isKept, setKept] = useState(true);
  const running = useRef<AbortController | null>(null);
  const latest = useRef(messages);
  /** A browser that leaves the page breaks the connection first, and this is no failure of the server's. */
  const isLeaving = useRef(false);

  const update = useCallback((next: readonly ChatMessage[]) => {
    latest.current = next;
    setMessages(next);
  }, []);
  const keep = useCallback(() => setKept(remember('conversation', latest.current)), []);

  useEffect(() => {
    const onLeave = () => {
      isLeaving.current = true;
    };
    addEventListener('beforeunload', onLeave);
    addEventListener('pagehide', keep); // an answer in the making is kept as far as it has come
    return () => {
      removeEventListener('beforeunload', onLeave);
      removeEventListener('pagehide', keep);
    };
  }, [keep]);

  const answer = async (history: readonly ChatMessage[]) => {
    if (model === null) return;
    const controller = new AbortController();
    running.current = controller;
    isLeaving.current = false;
    setAnswering(true);
    let reply: ChatMessage = { id: newId(), role: 'assistant', content: '', state: 'streaming' };
    let frame = 0;
    // Tokens may come faster than the screen is drawn.
    const show = (change: Partial<ChatMessage>) => {
      reply = { ...reply, ...change };
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        if (running.current === controller) update([...history, reply]);
      });
    };
    update([...history, reply]);
    keep();
    let pieces = 0;
    let first = 0;
    try {
      for await (const chunk of streamChat(requestFor(model, history, settings), controller.signal)) {
        const [choice] = chunk.choices;
        if (!choice) continue;
        if (choice.delta.content) {
          pieces++;
          first ||= performance.now();
          const seconds = (performance.now() - first) / 1000;
          show({
            content: reply.content + choice.delta.content,
            // Pieces are tokens but for split characters; the server's own figures follow at the end.
            figures: {
              tokens: pieces,
              tokensPerSecond: seconds > 0.2 ? (pieces - 1) / seconds : null,
              promptTokens: null,
              promptTokensPerSecond: null,
            },
          });
        }
        if (choice.finish_reason) reply = { ...reply, state: choice.finish_reason === 'length' ? 'cut' : 'done' };
        if (chunk.timings) reply = { ...reply, figures: figuresOf(chunk.timings) };
      }
    } catch (error) {
      reply =
        controller.signal.aborted || isLeaving.current
          ? { ...reply, state: 'stopped' }
          : { ...reply, state: 'failed', error: error instanceof Error ? error.message : String(error) };
    }
    cancelAnimationFrame(frame);
    if (running.current !== controller) return; // cleared meanwhile
    running.current = null;
    update([...history, reply]);
    setAnswering(false);
    keep();
  };

  const stop = useCallback(() => running.current?.abort(), []);
  return {
    messages,
    isAnswering,
    isKept,
    send(text) {
      if (running.current || text.trim() === '') return;
      void answer([...latest.current, { id: newId(), role: 'user', content: text, state: 'done' }]);
    },
    stop,
    retry() {
      const at = latest.current.findLastIndex(message => message.role === 'user');
      if (!running.current && at >= 0) void answer(latest.current.slice(0, at + 1));
    },
    clear() {
      running.current?.abort();
      running.current = null;
      setAnswering(false);
      update([]);
      keep();
    },
  };
}
