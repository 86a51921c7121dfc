// The store of conversations and the answers in the making, as React sees them; the shown one is in the address (`#id`).
import { useEffect, useState, useSyncExternalStore } from 'react';
import { streamChat } from './api.ts';
import { openArchive } from './archive.ts';
import { createChat } from './chat.ts';
import { createConversationStore } from './conversation-store.ts';

const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('open-maverick.conversations');
export const store = createConversationStore(openArchive(), channel);
export const chat = createChat(store, streamChat);

export const useConversations = () => useSyncExternalStore(store.subscribe, () => store.state);
export const useAnswering = () => useSyncExternalStore(chat.subscribe, () => chat.answering);

const idInAddress = (): string | null => decodeURIComponent(location.hash.slice(1)) || null;

/** The id of the shown conversation, null for a new one; back and forward lead through them. */
export function useCurrentId() {
  const [id, setId] = useState(idInAddress);
  useEffect(() => {
    const onChange = () => setId(idInAddress());
    addEventListener('popstate', onChange);
    return () => removeEventListener('popstate', onChange);
  }, []);
  const open = (next: string | null) => {
    if (next === idInAddress()) return;
    history.pushState(null, '', next === null ? location.pathname : `#${encodeURIComponent(next)}`);
    setId(next);
  };
  return [id, open] as const;
}

/** Keeps what is not yet written when the page is left. */
export function useLeave() {
  useEffect(() => {
    addEventListener('beforeunload', chat.leave);
    addEventListener('pagehide', store.leave);
    return () => {
      removeEventListener('beforeunload', chat.leave);
      removeEventListener('pagehide', store.leave);
    };
  }, []);
}
