// The page: the conversations at the side, a bar with the model, the conversation, the field to write in, and the drawers.
import { useEffect, useMemo, useRef, useState } from 'react';
import { exportText, importText } from './archive.ts';
import { Composer } from './composer.tsx';
import { append, type ChatMessage, type Conversation, choose, newConversation, newId, pathOf } from './conversation.ts';
import { ExpertsPanel } from './experts-panel.tsx';
import { History, type HistoryActions } from './history.tsx';
import { CloseIcon, HistoryIcon, Mark, MoonIcon, NewIcon, SettingsIcon, SunIcon } from './icons.tsx';
import type { MessageActions } from './message.tsx';
import { MessageList } from './message-list.tsx';
import { Modal } from './modal.tsx';
import { ModelPicker } from './model-picker.tsx';
import { Notices } from './notices.tsx';
import { type Settings, useSettings } from './settings.ts';
import { SettingsPanel } from './settings-panel.tsx';
import { recall, remember } from './storage.ts';
import { type Notice, Toast } from './toast.tsx';
import { chat, store, useAnswering, useConversations, useCurrentId, useLeave } from './use-conversations.ts';
import { useMedia } from './use-media.ts';
import { useModels } from './use-models.ts';
import { Welcome } from './welcome.tsx';

const NARROW = '(max-width: 56rem)';
const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';

export function Page() {
  const [settings, setSettings] = useSettings();
  const { conversations, isKept } = useConversations();
  const answering = useAnswering();
  const [currentId, open] = useCurrentId();
  const current = conversations?.find(({ id }) => id === currentId) ?? null;
  const isAnswering = current !== null && answering.has(current.id);
  const choice = useModels(answering.size > 0, settings.apiKey);
  const [editedId, setEditedId] = useState<string | null>(null);
  const [examined, setExamined] = useState<readonly ChatMessage[] | null>(null);
  const [notice, setNotice] = useState<Notice | null>(null);
  const isNarrow = useMedia(NARROW);
  const [isSideOpen, setSideOpen] = useState(() => recall('side', isBoolean) ?? true);
  const field = useRef<HTMLTextAreaElement>(null);
  const searchField = useRef<HTMLInputElement>(null);
  const settingsDialog = useRef<HTMLDialogElement>(null);
  const historyDialog = useRef<HTMLDialogElement>(null);
  const expertsDialog = useRef<HTMLDialogElement>(null);
  const model = choice.picked?.id ?? null;
  useLeave();

  // On a touch screen the keyboard would cover the page.
  const focusField = () => matchMedia('(hover: hover)').matches && field.current?.focus();
  const show = (id: string | null) => {
    open(id);
    setEditedId(null);
    historyDialog.current?.close();
    focusField();
  };
  /** Adds a message to a conversation and asks for the answer to it. */
  const say = (conversation: Conversation, message: Omit<ChatMessage, 'id' | 'state'>) => {
    const whole: ChatMessage = { id: newId(), state: 'done', ...message };
    store.change(conversation.id, now => append(now, whole));
    if (model !== null) void chat.answer(conversation.id, whole.id, model, settings);
  };
  const send = (text: string) => {
    if (model === null || isAnswering) return;
    const parent = current ? (pathOf(current).at(-1)?.id ?? null) : null;
    const conversation = current ?? newConversation(text);
    if (!current) {
      store.add(conversation);
      open(conversation.id);
    }
    say(conversation, { parent, role: 'user', content: text });
  };
  const editLast = () => {
    const last = current && pathOf(current).findLast(({ role }) => role === 'user');
    if (last) setEditedId(last.id);
  };

  const live = { current, model, settings, isAnswering, say, show };
  const latest = useRef(live);
  latest.current = live;
  const messageActions = useMemo<MessageActions>(
    () => ({
      retry({ parent }) {
        const { current, model, settings } = latest.current;
        if (current && model !== null && parent !== null) void chat.answer(current.id, parent, model, settings);
      },
      beginEdit: message => setEditedId(message?.id ?? null),
      edit({ parent }, text) {
        const { current, say } = latest.current;
        setEditedId(null);
        if (current) say(current, { parent, role: 'user', content: text });
      },
      choose(version) {
        const { current } = latest.current;
        if (current) store.change(current.id, now => choose(now, version));
      },
      showExperts(message) {
        const path = latest.current.current ? pathOf(latest.current.current) : [];
        setExamined(path.slice(0, path.findIndex(({ id }) => id === message.id) + 1));
        expertsDialog.current?.showModal();
      },
      giveResults(message, results) {
        const { current, model, settings } = latest.current;
        if (!current || model === null) return;
        let parent = message.id;
        for (const [toolCallId, content] of results) {
          const result: ChatMessage = { id: newId(), parent, role: 'tool', content, state: 'done', toolCallId };
          store.change(current.id, now => append(now, result));
          parent = result.id;
        }
        void chat.answer(current.id, parent, model, settings);
      },
    }),
    [],
  );

  const historyActions: HistoryActions = {
    open: show,
    rename: (id, title) => store.change(id, now => ({ ...now, title })),
    remove(conversation) {
      chat.stop(conversation.id);
      store.remove(conversation.id);
      if (conversation.id === currentId) open(null);
      setNotice({
        text: `“${conversation.title}” is deleted.`,
        undo: () => store.find(conversation.id) ?? store.add(conversation),
      });
    },
    exportAll() {
      const address = URL.createObjectURL(new Blob([exportText(conversations ?? [])], { type: 'application/json' }));
      const link = document.createElement('a');
      link.href = address;
      link.download = `conversations-${new Date().toISOString().slice(0, 10)}.json`;
      link.click();
      URL.revokeObjectURL(address);
    },
    importFile(file) {
      file
        .text()
        .then(importText)
        .then(read => store.merge(read))
        .then(
          taken => setNotice({ text: `${taken} ${taken === 1 ? 'conversation' : 'conversations'} read.` }),
          (error: Error) => setNotice({ text: error.message, isBad: true }),
        );
    },
  };

  const { refresh } = choice;
  const refreshLatest = useRef(refresh);
  refreshLatest.current = refresh;
  const isAnyAnswering = answering.size > 0;
  useEffect(() => {
    if (!isAnyAnswering) refreshLatest.current(); // a load that failed for the answer shows
  }, [isAnyAnswering]);

  const toggleSide = () => {
    if (isNarrow) return historyDialog.current?.showModal();
    setSideOpen(!isSideOpen);
    remember('side', !isSideOpen);
  };
  const find = () => {
    if (isNarrow) {
      if (!historyDialog.current?.open) historyDialog.current?.showModal();
    } else if (!isSideOpen) setSideOpen(true);
    requestAnimationFrame(() => searchField.current?.focus());
  };
  const keys = useRef<(event: KeyboardEvent) => void>(() => {});
  keys.current = event => {
    const dialog = document.querySelector('dialog[open]');
    if (dialog && dialog !== historyDialog.current) return; // what covers the page has the keys
    const isCommand = event.ctrlKey || event.metaKey;
    if (event.key === 'Escape' && !dialog && currentId !== null) return chat.stop(currentId);
    if (isCommand && !event.shiftKey && event.key.toLowerCase() === 'k') find();
    else if (isCommand && event.shiftKey && event.key.toLowerCase() === 'o') show(null);
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => keys.current(event);
    document.addEventListener('keydown', onKeyDown);
    return () => document.removeEventListener('keydown', onKeyDown);
  }, []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when the page opens
  useEffect(() => void focusField(), []);
  useEffect(() => {
    document.title = current ? `${current.title} · open-maverick` : 'open-maverick';
  }, [current]);

  const side = (
    <History
      conversations={conversations}
      currentId={currentId}
      answering={answering}
      searchField={searchField}
      actions={historyActions}
    />
  );
  const showSettings = () => settingsDialog.current?.showModal();
  return (
    <div className="frame" data-side={(!isNarrow && isSideOpen) || undefined}>
      {!isNarrow && isSideOpen && (
        <aside className="side" aria-label="History">
          <Brand />
          {side}
        </aside>
      )}
      {isNarrow && (
        <Modal dialog={historyDialog} className="drawer" aria-label="Conversations">
          <header>
            <Brand />
            <button
              type="button"
              className="plain round"
              aria-label="Close conversations"
              onClick={() => historyDialog.current?.close()}
            >
              <CloseIcon />
            </button>
          </header>
          {side}
        </Modal>
      )}
      <div className="page">
        <header className="bar">
          <div className="bar-start">
            <button
              type="button"
              className="plain"
              aria-label="Conversations"
              aria-expanded={isNarrow ? undefined : isSideOpen}
              title="Conversations (Ctrl+K)"
              onClick={toggleSide}
            >
              <HistoryIcon />
            </button>
            {!isNarrow && !isSideOpen && <Brand />}
          </div>
          <ModelPicker choice={choice} disabled={isAnswering} />
          <div className="bar-actions">
            <button
              type="button"
              className="plain"
              disabled={currentId === null}
              onClick={() => show(null)}
              aria-label="New conversation"
              title="New conversation (Ctrl+Shift+O)"
            >
              <NewIcon />
            </button>
            <ThemeSwitch settings={settings} onChange={setSettings} />
            <button type="button" className="plain" onClick={showSettings} aria-label="Settings" title="Settings">
              <SettingsIcon />
            </button>
          </div>
        </header>
        <Notices choice={choice} isKept={isKept} onSettings={showSettings} />
        {current ? (
          <MessageList
            key={current.id}
            conversation={current}
            isAnswering={isAnswering}
            editedId={editedId}
            hasExperts={!!choice.picked?.experts}
            actions={messageActions}
          />
        ) : (
          <Welcome model={choice.picked} canSend={model !== null} onSend={send} />
        )}
        <Composer
          field={field}
          settings={settings}
          isAnswering={isAnswering}
          canSend={model !== null}
          onSend={send}
          onStop={() => currentId !== null && chat.stop(currentId)}
          onEditLast={editLast}
          onSettings={showSettings}
        />
        <p className="visually-hidden" role="status">
          {isAnswering ? 'Answering' : current ? 'Ready' : ''}
        </p>
      </div>
      <SettingsPanel dialog={settingsDialog} settings={settings} onChange={setSettings} />
      <ExpertsPanel dialog={expertsDialog} path={examined} system={settings.system} onClose={() => setExamined(null)} />
      <Toast notice={notice} onClose={() => setNotice(null)} />
    </div>
  );
}

const Brand = () => (
  <div className="brand">
    <Mark />
    <span>open-maverick</span>
  </div>
);

/** Dark or light; the settings also have 'as the system'. */
function ThemeSwitch({ settings, onChange }: { settings: Settings; onChange: (settings: Settings) => void }) {
  const isSystemDark = useMedia('(prefers-color-scheme: dark)');
  const isDark = settings.theme === 'auto' ? isSystemDark : settings.theme === 'dark';
  const name = isDark ? 'Light colours' : 'Dark colours';
  return (
    <button
      type="button"
      className="plain theme-switch"
      aria-label={name}
      title={name}
      onClick={() => onChange({ ...settings, theme: isDark ? 'light' : 'dark' })}
    >
      {isDark ? <SunIcon /> : <MoonIcon />}
    </button>
  );
}
