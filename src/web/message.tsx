// One message, and under an answer its figures and what can be done with it.
import { memo, useState } from 'react';
import { AnswerText } from './answer-text.tsx';
import type { AnswerFigures, ChatMessage } from './conversation.ts';
import { CopyIcon, RetryIcon } from './icons.tsx';
import { count, short } from './numbers.ts';

interface MessageProps {
  readonly message: ChatMessage;
  /** Only on the last answer. */
  readonly onRetry: (() => void) | null;
}

const NOTES: Partial<Record<ChatMessage['state'], string>> = {
  stopped: 'stopped',
  cut: 'cut off: the length limit or the end of the context was reached',
};

export const Message = memo(function Message({ message, onRetry }: MessageProps) {
  const { role, content, state, error, figures } = message;
  if (role === 'user')
    return (
      <article className="message message-user" aria-label="You">
        <p className="bubble">{content}</p>
      </article>
    );
  return (
    <article className="message message-answer" aria-label="Answer" data-state={state}>
      <AnswerText text={content} />
      {state === 'streaming' && content === '' && (
        <p className="thinking" role="status">
          <span />
          <span />
          <span />
          <span className="visually-hidden">Waiting for the first word</span>
        </p>
      )}
      {state === 'failed' && (
        <p className="failure" role="alert">
          {error}
        </p>
      )}
      <footer className="message-foot">
        {figures && <Figures figures={figures} />}
        {NOTES[state] && <span>{NOTES[state]}</span>}
        {state !== 'streaming' && (
          <span className="message-actions">
            {content !== '' && <CopyButton text={content} />}
            {onRetry && (
              <button type="button" className="quiet" onClick={onRetry}>
                <RetryIcon /> Try again
              </button>
            )}
          </span>
        )}
      </footer>
    </article>
  );
});

function Figures({ figures }: { figures: AnswerFigures }) {
  const { tokens, tokensPerSecond, promptTokens, promptTokensPerSecond } = figures;
  const prompt =
    promptTokens === null
      ? undefined
      : `Prompt: ${promptTokens} tokens${promptTokensPerSecond === null ? '' : `, ${short(promptTokensPerSecond)} a second`}`;
  return (
    <span className="figures" title={prompt}>
      {count(tokens)} {tokens === 1 ? 'token' : 'tokens'}
      {tokensPerSecond !== null && <> · {short(tokensPerSecond)} tok/s</>}
    </span>
  );
}

function CopyButton({ text }: { text: string }) {
  const [isCopied, setCopied] = useState(false);
  if (!navigator.clipboard) return null; // pages over plain HTTP from another machine have none
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <button type="button" className="quiet" onClick={() => void copy()}>
      <CopyIcon /> {isCopied ? 'Copied' : 'Copy'}
    </button>
  );
}
