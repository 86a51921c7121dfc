// Copies a text, and says that it did.
import { useState } from 'react';
import { CopyIcon, DoneIcon } from './icons.tsx';

export function CopyButton({ text, what }: { text: string; what: string }) {
  const [isCopied, setCopied] = useState(false);
  if (!navigator.clipboard) return null; // pages over plain HTTP from another machine have none
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <button
      type="button"
      className="quiet"
      aria-label={isCopied ? 'Copied' : `Copy ${what}`}
      title={`Copy ${what}`}
      onClick={() => void copy()}
    >
      {isCopied ? <DoneIcon /> : <CopyIcon />}
    </button>
  );
}
