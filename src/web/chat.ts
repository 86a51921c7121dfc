// Answers in the making, one a conversation: ask, stream, stop; what comes is written into the conversation.
import { type ChatBody, type ChatChunk, requestFor } from './chat-request.ts';
import {
  append,
  type ChatMessage,
  type Conversation,
  figuresOf,
  newId,
  replace,
  type ToolCall,
} from './conversation.ts';
import type { ConversationStore } from './conversation-store.ts';
import type { Settings } from './settings.ts';

/** Tokens may come faster than the screen is drawn. */
const SHOW_EVERY_MS = 33;

export interface Chat {
  isAnswering(conversation: string): boolean;
  subscribe(listener: () => void): () => void;
  /** Ids of the conversations that are being answered; the same set until it changes. */
  readonly answering: ReadonlySet<string>;
  /** Asks for an answer to the message `parent` of a conversation, which must not be answering already. */
  answer(conversation: string, parent: string, model: string, settings: Settings): Promise<void>;
  stop(conversation: string): void;
  /** A browser that leaves the page breaks the connection first, and this is no failure of the server's. */
  leave(): void;
}

type Ask = (body: ChatBody, signal: AbortSignal) => AsyncGenerator<ChatChunk, void>;

/** @param ask sends the request and gives the chunks of its answer. */
export function createChat(store: ConversationStore, ask: Ask): Chat {
  const running = new Map<string, AbortController>();
  const listeners = new Set<() => void>();
  let answering: ReadonlySet<string> = new Set();
  let isLeaving = false;
  const tell = () => {
    answering = new Set(running.keys());
    for (const listener of listeners) listener();
  };

  async function answer(conversation: string, parent: string, model: string, settings: Settings) {
    const before = store.find(conversation);
    if (!before || running.has(conversation)) return;
    const controller = new AbortController();
    running.set(conversation, controller);
    isLeaving = false;
    let reply: ChatMessage = { id: newId(), parent, role: 'assistant', content: '', state: 'streaming', model };
    if (settings.format !== 'text') reply = { ...reply, isJson: true };
    store.change(conversation, now => append(now, reply));
    tell();

    let timer: ReturnType<typeof setTimeout> | null = null;
    const show = () => {
      timer = null;
      store.change(conversation, now => replace(now, reply.id, reply));
    };
    let pieces = 0;
    let first = 0;
    const begun = performance.now();
    try {
      const body = requestFor(model, pathTo(before, parent), settings);
      for await (const chunk of ask(body, controller.signal)) {
        const [choice] = chunk.choices;
        if (choice?.delta.content) {
          pieces++;
          first ||= performance.now();
          const seconds = (performance.now() - first) / 1000;
          // Pieces are tokens but for split characters; the server's own figures follow at the end.
          const figures = {
            tokens: pieces,
            tokensPerSecond: seconds > 0.2 ? (pieces - 1) / seconds : null,
            promptTokens: null,
            promptTokensPerSecond: null,
            firstTokenMs: first - begun,
          };
          reply = { ...reply, content: reply.content + choice.delta.content, figures };
        }
        if (choice?.delta.tool_calls)
          reply = { ...reply, toolCalls: withDeltas(reply.toolCalls ?? [], choice.delta.tool_calls) };
        if (choice?.finish_reason) reply = { ...reply, state: choice.finish_reason === 'length' ? 'cut' : 'done' };
        if (chunk.timings) reply = { ...reply, figures: figuresOf(chunk.timings) };
        timer ??= setTimeout(show, SHOW_EVERY_MS);
        if (!store.find(conversation)) controller.abort(); // deleted meanwhile
      }
    } catch (error) {
      reply =
        controller.signal.aborted || isLeaving
          ? { ...reply, state: 'stopped' }
          : { ...reply, state: 'failed', error: error instanceof Error ? error.message : String(error) };
    }
    if (timer) clearTimeout(timer);
    running.delete(conversation);
    show();
    tell();
  }

  return {
    isAnswering: conversation => running.has(conversation),
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    get answering() {
      return answering;
    },
    answer,
    stop: conversation => running.get(conversation)?.abort(),
    leave() {
      isLeaving = true;
    },
  };
}

/** The messages from the first to the one with this id. */
function pathTo(conversation: Conversation, id: string): ChatMessage[] {
  const byId = new Map(conversation.messages.map(message => [message.id, message]));
  const path: ChatMessage[] = [];
  for (let at = byId.get(id); at; at = at.parent === null ? undefined : byId.get(at.parent)) path.unshift(at);
  return path;
}

type Deltas = NonNullable<ChatChunk['choices'][number]['delta']['tool_calls']>;

/** Tool calls with one more piece of each: the name comes whole, the arguments in pieces. */
function withDeltas(calls: readonly ToolCall[], deltas: Deltas): ToolCall[] {
  const next = [...calls];
  for (const { index, id, function: call } of deltas) {
    const before = next[index] ?? { id: '', name: '', arguments: '' };
    next[index] = {
      id: id ?? (before.id || newId()),
      name: before.name + (call?.name ?? ''),
      arguments: before.arguments + (call?.arguments ?? ''),
    };
  }
  return next.filter(call => call !== undefined);
}
