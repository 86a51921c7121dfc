// Says for a few seconds what was done, with a way back where there is one.
import { useEffect, useState } from 'react';
import { CloseIcon } from './icons.tsx';

export interface Notice {
  readonly text: string;
  readonly isBad?: boolean;
  readonly undo?: () => void;
}

const SHOWN_MS = 8000;

export function Toast({ notice, onClose }: { notice: Notice | null; onClose: () => void }) {
  const [isHeld, setHeld] = useState(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the time begins with each notice
  useEffect(() => {
    if (!notice || isHeld) return;
    const timer = setTimeout(onClose, SHOWN_MS);
    return () => clearTimeout(timer);
  }, [notice, isHeld]);
  return (
    <div className="toast-place" role={notice?.isBad ? 'alert' : 'status'}>
      {notice && (
        // biome-ignore lint/a11y/noStaticElementInteractions: it only waits while someone is about to use its buttons
        <div
          className="toast"
          data-bad={notice.isBad || undefined}
          onPointerEnter={() => setHeld(true)}
          onPointerLeave={() => setHeld(false)}
          onFocus={() => setHeld(true)}
          onBlur={() => setHeld(false)}
        >
          <span>{notice.text}</span>
          {notice.undo && (
            <button
              type="button"
              className="plain"
              onClick={() => {
                notice.undo!();
                onClose();
              }}
            >
              Undo
            </button>
          )}
          <button type="button" className="quiet" aria-label="Dismiss" onClick={onClose}>
            <CloseIcon />
          </button>
        </div>
      )}
    </div>
  );
}
