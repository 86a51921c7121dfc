// Where conversations are kept: this browser's IndexedDB, one record a conversation, doubted when it comes back.
import { type Conversation, isConversation, settled } from './conversation.ts';
import { forget, recall, remember } from './storage.ts';

export interface Archive {
  /** All that can be read, newest first; damaged records are left out. @throws if the browser's storage is switched off. */
  all(): Promise<Conversation[]>;
  get(id: string): Promise<Conversation | null>;
  /** @throws if the storage is full or switched off. */
  put(conversations: readonly Conversation[]): Promise<void>;
  remove(ids: readonly string[]): Promise<void>;
  /** For the moment the page is left, when nothing asynchronous is sure to end; `all` takes them up. */
  leave(conversations: readonly Conversation[]): void;
}

const STORE = 'conversations';
/** The key in localStorage of what was left. */
const LEFT = 'left';
const isList = (value: unknown): value is Conversation[] => Array.isArray(value) && value.every(isConversation);

const done = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

export function openArchive(name = 'open-maverick'): Archive {
  let opening: Promise<IDBDatabase> | null = null;
  const database = () => {
    opening ??= new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'id' });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    return opening;
  };
  const write = async (change: (store: IDBObjectStore) => void) => {
    const transaction = (await database()).transaction(STORE, 'readwrite');
    change(transaction.objectStore(STORE));
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
  };
  const read = async () => (await database()).transaction(STORE).objectStore(STORE);
  const put = (conversations: readonly Conversation[]) =>
    write(store => {
      for (const conversation of conversations) store.put(conversation);
    });
  return {
    async all() {
      const values: unknown[] = await done((await read()).getAll());
      const found = new Map(values.filter(isConversation).map(conversation => [conversation.id, conversation]));
      const left = (recall(LEFT, isList) ?? []).filter(({ id, updated }) => updated >= (found.get(id)?.updated ?? 0));
      for (const conversation of left) found.set(conversation.id, conversation);
      if (left.length > 0) await put(left);
      forget(LEFT);
      return [...found.values()].sort((a, b) => b.updated - a.updated);
    },
    async get(id) {
      const value: unknown = await done((await read()).get(id));
      return isConversation(value) ? value : null;
    },
    put,
    remove: ids =>
      write(store => {
        for (const id of ids) store.delete(id);
      }),
    leave: conversations => void remember(LEFT, [...(recall(LEFT, isList) ?? []), ...conversations]),
  };
}

interface ExportFile {
  readonly format: 'open-maverick conversations';
  readonly version: 1;
  readonly conversations: readonly Conversation[];
}

/** The text of a file with these conversations. */
export const exportText = (conversations: readonly Conversation[]): string =>
  `${JSON.stringify({ format: 'open-maverick conversations', version: 1, conversations } satisfies ExportFile, null, 1)}\n`;

/** What a file holds. @throws Error that says what is wrong with the file. */
export function importText(text: string): Conversation[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`The file is not JSON: ${(error as Error).message}. Choose one that this page exported.`);
  }
  const conversations = (value as Partial<ExportFile> | null)?.conversations;
  if (!Array.isArray(conversations))
    throw new Error('The file has no "conversations". Choose one that this page exported.');
  const wrong = conversations.findIndex(item => !isConversation(item));
  if (wrong >= 0) throw new Error(`Conversation ${wrong + 1} of the file is damaged; nothing was imported.`);
  return conversations.map(settled);
}
