// A conversation as it is kept: a tree of messages, of which one path from the first message to a last one is shown.
import type { WireTimings } from '../server/wire.ts';

export interface AnswerFigures {
  readonly tokens: number;
  readonly tokensPerSecond: number | null;
  readonly promptTokens: number | null;
  readonly promptTokensPerSecond: number | null;
  /** Prompt tokens that had been computed for an earlier request. */
  readonly cachedTokens?: number;
  /** Until the first token, ms: waiting and reading the prompt. */
  readonly firstTokenMs?: number;
  /** Tokens guessed from the text so far, and how many of them the model took. */
  readonly drafted?: number;
  readonly accepted?: number;
}

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON, as the model wrote it. */
  readonly arguments: string;
}

export interface ChatMessage {
  readonly id: string;
  /** The message it follows; null for a first one. Messages with the same parent are each other's versions. */
  readonly parent: string | null;
  /** 'tool': the result of a call, `toolCallId`. */
  readonly role: 'user' | 'assistant' | 'tool';
  readonly content: string;
  /** 'cut': the length limit or the end of the context was reached. */
  readonly state: 'done' | 'streaming' | 'stopped' | 'cut' | 'failed';
  readonly error?: string;
  readonly figures?: AnswerFigures;
  readonly model?: string;
  readonly toolCalls?: readonly ToolCall[];
  readonly toolCallId?: string;
  /** Asked for as JSON. */
  readonly isJson?: boolean;
}

export interface Conversation {
  readonly id: string;
  readonly title: string;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly updated: number;
  /** Parents come before their children. */
  readonly messages: readonly ChatMessage[];
  /** Where a message has several that follow it: the one on the path, by the parent's id ('' for the first messages). */
  readonly chosen: Readonly<Record<string, string>>;
}

let count = 0;
/** Unique within a browser. (`crypto.randomUUID` is missing on pages that come over plain HTTP from another machine.) */
export const newId = (): string => `${Date.now().toString(36)}-${count++}-${Math.random().toString(36).slice(2, 6)}`;

const TITLE_LENGTH = 60;
/** A title out of the first words. */
export function titleOf(text: string): string {
  const line = text.trim().split('\n', 1)[0]!.replace(/\s+/g, ' ');
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH).trimEnd()}…` : line || 'Conversation';
}

export function newConversation(text: string): Conversation {
  const now = Date.now();
  return { id: newId(), title: titleOf(text), created: now, updated: now, messages: [], chosen: {} };
}

/** The messages that are shown, first to last. */
export function pathOf({ messages, chosen }: Conversation): ChatMessage[] {
  const next = new Map<string, ChatMessage>();
  for (const message of messages) {
    const parent = message.parent ?? '';
    // The last version, unless another one is chosen and is there.
    if (next.get(parent)?.id !== chosen[parent] || !next.has(parent)) next.set(parent, message);
  }
  const path: ChatMessage[] = [];
  for (let at = next.get(''); at; at = next.get(at.id)) path.push(at);
  return path;
}

/** All versions of a message, oldest first. */
export const versionsOf = ({ messages }: Conversation, { parent }: ChatMessage): ChatMessage[] =>
  messages.filter(message => message.parent === parent);

/** The conversation with one more message, which is shown; beside the parent's other ones it is a version of them. */
export function append(conversation: Conversation, message: ChatMessage): Conversation {
  const chosen = { ...conversation.chosen, [message.parent ?? '']: message.id };
  return { ...conversation, messages: [...conversation.messages, message], chosen, updated: Date.now() };
}

export function choose(conversation: Conversation, { id, parent }: ChatMessage): Conversation {
  return { ...conversation, chosen: { ...conversation.chosen, [parent ?? '']: id } };
}

export function replace(conversation: Conversation, id: string, change: Partial<ChatMessage>): Conversation {
  const messages = conversation.messages.map(message => (message.id === id ? { ...message, ...change } : message));
  return { ...conversation, messages };
}

/** An answer that was being written when the page was left is a stopped one. */
export function settled(conversation: Conversation): Conversation {
  if (!conversation.messages.some(({ state }) => state === 'streaming')) return conversation;
  const messages = conversation.messages.map(message =>
    message.state === 'streaming' ? { ...message, state: 'stopped' as const } : message,
  );
  return { ...conversation, messages };
}

/** Those in whose title or messages every word of the query occurs. */
export function search(conversations: readonly Conversation[], query: string): readonly Conversation[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return conversations;
  return conversations.filter(({ title, messages }) => {
    const text = [title, ...messages.map(message => message.content)].join('\n').toLowerCase();
    return words.every(word => text.includes(word));
  });
}

export function figuresOf(timings: WireTimings & { draft_n?: number; draft_n_accepted?: number }): AnswerFigures {
  return {
    tokens: timings.predicted_n,
    tokensPerSecond: timings.predicted_per_second,
    promptTokens: timings.cache_n + timings.prompt_n,
    promptTokensPerSecond: timings.prompt_per_second,
    cachedTokens: timings.cache_n,
    firstTokenMs: timings.queue_ms + timings.prompt_ms,
    ...(timings.draft_n ? { drafted: timings.draft_n, accepted: timings.draft_n_accepted ?? 0 } : {}),
  };
}

const STATES = ['done', 'streaming', 'stopped', 'cut', 'failed'];
const ROLES = ['user', 'assistant', 'tool'];
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const isText = (value: unknown): value is string => typeof value === 'string';
const isTextOrMissing = (value: unknown) => value === undefined || isText(value);

function isFigures(value: unknown): boolean {
  if (value === undefined) return true;
  if (!isObject(value) || !Number.isFinite(value.tokens)) return false;
  return Object.values(value).every(figure => figure === null || Number.isFinite(figure));
}

const isToolCall = (value: unknown) =>
  isObject(value) && isText(value.id) && isText(value.name) && isText(value.arguments);

/** Whether a value that was stored, or comes from a file, is a conversation that can be shown. */
export function isConversation(value: unknown): value is Conversation {
  if (!isObject(value) || !isText(value.id) || value.id === '' || !isText(value.title)) return false;
  if (!Number.isFinite(value.created) || !Number.isFinite(value.updated)) return false;
  if (!isObject(value.chosen) || !Object.values(value.chosen).every(isText) || !Array.isArray(value.messages))
    return false;
  const known = new Set<unknown>([null]);
  return value.messages.every((item: unknown) => {
    const isMessage =
      isObject(item) &&
      isText(item.id) &&
      item.id !== '' &&
      !known.has(item.id) &&
      known.has(item.parent) &&
      isText(item.content) &&
      ROLES.includes(item.role as string) &&
      STATES.includes(item.state as string) &&
      isFigures(item.figures) &&
      [item.error, item.model, item.toolCallId].every(isTextOrMissing) &&
      (item.toolCalls === undefined || (Array.isArray(item.toolCalls) && item.toolCalls.every(isToolCall)));
    if (isMessage) known.add(item.id);
    return isMessage;
  });
}
