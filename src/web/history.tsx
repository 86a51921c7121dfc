// The conversations: a list to search and choose from, to rename, delete, save as a file and read from one.
import { type FormEvent, type KeyboardEvent, type RefObject, useRef, useState } from 'react';
import { type Conversation, search } from './conversation.ts';
import { DeleteIcon, EditIcon, NewIcon, SearchIcon } from './icons.tsx';
import { ageOf } from './numbers.ts';

export interface HistoryActions {
  /** Null begins a new one. */
  open(id: string | null): void;
  rename(id: string, title: string): void;
  remove(conversation: Conversation): void;
  exportAll(): void;
  importFile(file: File): void;
}

interface HistoryProps {
  readonly conversations: readonly Conversation[] | null;
  readonly currentId: string | null;
  readonly answering: ReadonlySet<string>;
  readonly searchField: RefObject<HTMLInputElement | null>;
  readonly actions: HistoryActions;
}

export function History({ conversations, currentId, answering, searchField, actions }: HistoryProps) {
  const [query, setQuery] = useState('');
  const [renamedId, setRenamedId] = useState<string | null>(null);
  const file = useRef<HTMLInputElement>(null);
  const found = search(conversations ?? [], query);
  const now = Date.now();
  const open = (id: string | null) => {
    setQuery('');
    actions.open(id);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || event.nativeEvent.isComposing) return;
    event.preventDefault();
    if (query.trim() === '') open(null);
    else if (found[0]) open(found[0].id);
  };
  return (
    <div className="history">
      <button type="button" className="plain history-new" onClick={() => open(null)}>
        <NewIcon /> New conversation
      </button>
      <div className="search">
        <SearchIcon />
        <input
          ref={searchField}
          type="search"
          value={query}
          placeholder="Search"
          aria-label="Search the conversations"
          onChange={event => setQuery(event.target.value)}
          onKeyDown={onKeyDown}
        />
        <span className="search-key" aria-hidden="true">
          Ctrl K
        </span>
      </div>
      <nav aria-label="Conversations">
        {found.length === 0 && (
          <p className="history-empty">
            {conversations?.length ? 'Nothing found.' : 'What you talk about is kept here.'}
          </p>
        )}
        <ul>
          {found.map((conversation, index) => {
            const age = ageOf(conversation.updated, now);
            const isFirst = index === 0 || ageOf(found[index - 1]!.updated, now) !== age;
            return (
              <li key={conversation.id}>
                {isFirst && <h2>{age}</h2>}
                {conversation.id === renamedId ? (
                  <Rename
                    title={conversation.title}
                    onDone={title => {
                      if (title) actions.rename(conversation.id, title);
                      setRenamedId(null);
                    }}
                  />
                ) : (
                  <div className="history-row" data-current={conversation.id === currentId || undefined}>
                    <button
                      type="button"
                      className="history-open"
                      aria-current={conversation.id === currentId ? 'page' : undefined}
                      title={conversation.title}
                      onClick={() => open(conversation.id)}
                    >
                      {conversation.title}
                      {answering.has(conversation.id) && <span className="visually-hidden"> (answering)</span>}
                    </button>
                    {answering.has(conversation.id) && <span className="dot dot-loading" aria-hidden="true" />}
                    <button
                      type="button"
                      className="quiet"
                      aria-label={`Rename ${conversation.title}`}
                      title="Rename"
                      onClick={() => setRenamedId(conversation.id)}
                    >
                      <EditIcon />
                    </button>
                    <button
                      type="button"
                      className="quiet"
                      aria-label={`Delete ${conversation.title}`}
                      title="Delete"
                      onClick={() => actions.remove(conversation)}
                    >
                      <DeleteIcon />
                    </button>
                  </div>
                )}
              </li>
            );
          })}
        </ul>
      </nav>
      <footer className="history-foot">
        <button type="button" className="quiet" disabled={!conversations?.length} onClick={actions.exportAll}>
          Export
        </button>
        <button type="button" className="quiet" onClick={() => file.current!.click()}>
          Import
        </button>
        <input
          ref={file}
          type="file"
          accept="application/json,.json"
          hidden
          aria-label="File of conversations"
          onChange={event => {
            const [chosen] = event.target.files ?? [];
            if (chosen) actions.importFile(chosen);
            event.target.value = ''; // so that the same file can be chosen again
          }}
        />
      </footer>
    </div>
  );
}

/** @param onDone is given the new title, or null if it stays. */
function Rename({ title, onDone }: { title: string; onDone: (title: string | null) => void }) {
  const [text, setText] = useState(title);
  const finish = (event?: FormEvent) => {
    event?.preventDefault();
    onDone(text.trim() === '' || text.trim() === title ? null : text.trim());
  };
  return (
    <form className="rename" onSubmit={finish}>
      <input
        ref={element => element?.focus()}
        value={text}
        maxLength={120}
        aria-label="New title"
        onChange={event => setText(event.target.value)}
        onBlur={() => finish()}
        onKeyDown={event => {
          if (event.key !== 'Escape') return;
          event.preventDefault();
          event.stopPropagation();
          onDone(null);
        }}
      />
    </form>
  );
}
