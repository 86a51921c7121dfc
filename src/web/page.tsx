// The page: a bar with the model, the conversation, the field to write in, and the settings drawer.
import { useEffect, useRef, useState } from 'react';
import { Composer } from './composer.tsx';
import { Mark, NewIcon, SettingsIcon } from './icons.tsx';
import { MessageList } from './message-list.tsx';
import { ModelPicker } from './model-picker.tsx';
import { Notices } from './notices.tsx';
import { useSettings } from './settings.ts';
import { SettingsPanel } from './settings-panel.tsx';
import { useChat } from './use-chat.ts';
import { useModels } from './use-models.ts';
import { Welcome } from './welcome.tsx';

export function Page() {
  const [settings, setSettings] = useSettings();
  const [isWatching, setWatching] = useState(false);
  const choice = useModels(isWatching);
  const chat = useChat(choice.picked?.id ?? null, settings);
  const field = useRef<HTMLTextAreaElement>(null);
  const dialog = useRef<HTMLDialogElement>(null);
  const { stop, isAnswering } = chat;
  const canSend = choice.picked !== null;

  const { refresh } = choice;
  const refreshLatest = useRef(refresh);
  refreshLatest.current = refresh;
  useEffect(() => {
    setWatching(isAnswering);
    if (!isAnswering) refreshLatest.current(); // a load that failed for the answer shows
  }, [isAnswering]);

  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key === 'Escape') stop();
    };
    document.addEventListener('keydown', onKeyDown);
    return () => document.removeEventListener('keydown', onKeyDown);
  }, [stop]);

  useEffect(() => {
    // On a touch screen the keyboard would cover the page.
    if (matchMedia('(hover: hover)').matches) field.current?.focus();
  }, []);

  return (
    <div className="page">
      <header className="bar">
        <div className="brand">
          <Mark />
          <span>open-maverick</span>
        </div>
        <ModelPicker choice={choice} disabled={isAnswering} />
        <div className="bar-actions">
          <button
            type="button"
            className="plain"
            disabled={chat.messages.length === 0}
            onClick={() => {
              chat.clear();
              field.current?.focus();
            }}
            aria-label="New conversation"
            title="New conversation"
          >
            <NewIcon /> <span className="wide-only">New</span>
          </button>
          <button
            type="button"
            className="plain"
            onClick={() => dialog.current?.showModal()}
            aria-label="Settings"
            title="Settings"
          >
            <SettingsIcon /> <span className="wide-only">Settings</span>
          </button>
        </div>
      </header>
      <Notices choice={choice} isKept={chat.isKept} />
      {chat.messages.length === 0 ? (
        <Welcome model={choice.picked} canSend={canSend} onSend={chat.send} />
      ) : (
        <MessageList messages={chat.messages} isAnswering={isAnswering} onRetry={chat.retry} />
      )}
      <Composer field={field} isAnswering={isAnswering} canSend={canSend} onSend={chat.send} onStop={stop} />
      <p className="visually-hidden" role="status">
        {isAnswering ? 'Answering' : chat.messages.length > 0 ? 'Ready' : ''}
      </p>
      <SettingsPanel dialog={dialog} settings={settings} onChange={setSettings} />
    </div>
  );
}
