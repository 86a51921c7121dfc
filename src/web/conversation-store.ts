// The conversations in memory, newest first, kept in the archive as they change and in step with the page's other tabs.
import type { Archive } from './archive.ts';
import { type Conversation, settled } from './conversation.ts';

export interface ConversationsState {
  /** Null until the archive has answered. */
  readonly conversations: readonly Conversation[] | null;
  /** False if this browser cannot keep them. */
  readonly isKept: boolean;
}

export interface ConversationStore {
  readonly state: ConversationsState;
  find(id: string): Conversation | undefined;
  subscribe(listener: () => void): () => void;
  add(conversation: Conversation): void;
  /** Changes one that is there; one that was deleted meanwhile stays so. */
  change(id: string, change: (conversation: Conversation) => Conversation): void;
  remove(id: string): void;
  /** Takes those that are new or newer than what is here; says how many. */
  merge(conversations: readonly Conversation[]): number;
  /** Keeps what is not yet written, for the page is being left. */
  leave(): void;
}

/** Beyond these the oldest are dropped. */
export const MOST_CONVERSATIONS = 1000;
const WRITE_EVERY_MS = 300;

/** @param channel tells other tabs the ids that changed. */
export function createConversationStore(archive: Archive, channel: BroadcastChannel | null): ConversationStore {
  let state: ConversationsState = { conversations: null, isKept: true };
  const listeners = new Set<() => void>();
  const unwritten = new Set<string>();
  /** What the archive has been given and not yet confirmed. */
  let unsure: readonly string[] = [];
  let timer: ReturnType<typeof setTimeout> | null = null;
  let written = 0;

  const set = (change: Partial<ConversationsState>) => {
    state = { ...state, ...change };
    for (const listener of listeners) listener();
  };
  const list = () => state.conversations ?? [];
  const find = (id: string) => list().find(conversation => conversation.id === id);

  const flush = () => {
    if (timer) clearTimeout(timer);
    timer = null;
    written = Date.now();
    if (unwritten.size === 0) return;
    const ids = [...unwritten];
    unwritten.clear();
    unsure = ids;
    // Only this tab knows that an answer is still being written; it may be closed before it can say more.
    const present = ids
      .map(find)
      .filter(conversation => conversation !== undefined)
      .map(settled);
    const gone = ids.filter(id => !find(id));
    Promise.all([present.length > 0 && archive.put(present), gone.length > 0 && archive.remove(gone)]).then(
      () => {
        if (unsure === ids) unsure = [];
        channel?.postMessage(ids);
      },
      () => set({ isKept: false }),
    );
  };
  const show = (conversations: readonly Conversation[], changed: readonly string[]) => {
    const sorted = conversations.toSorted((a, b) => b.updated - a.updated);
    for (const id of changed) unwritten.add(id);
    for (const { id } of sorted.splice(MOST_CONVERSATIONS)) unwritten.add(id);
    timer ??= setTimeout(flush, Date.now() - written < WRITE_EVERY_MS ? WRITE_EVERY_MS : 0);
    set({ conversations: sorted });
  };

  archive.all().then(
    stored => set({ conversations: merged(list(), stored).conversations }),
    () => set({ conversations: list(), isKept: false }),
  );
  channel?.addEventListener('message', event => {
    for (const id of event.data as string[])
      void archive.get(id).then(stored => {
        const others = list().filter(conversation => conversation.id !== id);
        const conversations = stored ? [...others, stored] : others;
        set({ conversations: conversations.toSorted((a, b) => b.updated - a.updated) });
      });
  });

  return {
    get state() {
      return state;
    },
    find,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    add: conversation => show([...list(), conversation], [conversation.id]),
    change(id, change) {
      if (find(id))
        show(
          list().map(conversation => (conversation.id === id ? change(conversation) : conversation)),
          [id],
        );
    },
    remove: id =>
      show(
        list().filter(conversation => conversation.id !== id),
        [id],
      ),
    merge(more) {
      const { conversations, taken } = merged(list(), more);
      show(conversations, taken);
      return taken.length;
    },
    leave() {
      const present = [...new Set([...unsure, ...unwritten])]
        .map(find)
        .filter(conversation => conversation !== undefined);
      if (present.length > 0) archive.leave(present.map(settled));
      flush();
    },
  };
}

/** Both together; of two with one id the newer. */
function merged(here: readonly Conversation[], more: readonly Conversation[]) {
  const byId = new Map(here.map(conversation => [conversation.id, conversation]));
  const taken = more.filter(({ id, updated }) => updated > (byId.get(id)?.updated ?? Number.NEGATIVE_INFINITY));
  for (const conversation of taken) byId.set(conversation.id, conversation);
  return {
    conversations: [...byId.values()].sort((a, b) => b.updated - a.updated),
    taken: taken.map(({ id }) => id),
  };
}
