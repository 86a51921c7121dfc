// What the reader should know, in one quiet line each: how far a model's loading is, its note, why it failed, a server that is gone.
import type { WireModel } from '../server/wire.ts';
import { bytes } from './numbers.ts';
import type { ModelChoice } from './use-models.ts';

interface NoticesProps {
  readonly choice: ModelChoice;
  readonly isKept: boolean;
  readonly onSettings: () => void;
}

export function Notices({ choice, isKept, onSettings }: NoticesProps) {
  const { models, picked, error, needsKey } = choice;
  return (
    <div className="notices">
      {error && (
        <p className="notice notice-bad" role="alert">
          {error}
          {needsKey && (
            <button type="button" className="quiet" onClick={onSettings}>
              Enter the key
            </button>
          )}
          <button type="button" className="quiet" onClick={choice.refresh}>
            Look again
          </button>
        </p>
      )}
      {models?.length === 0 && !error && (
        <p className="notice">
          <span>
            There is no model yet. Get one with <code>maverick pull smollm2</code>, then look again.
          </span>
          <button type="button" className="quiet" onClick={choice.refresh}>
            Look again
          </button>
        </p>
      )}
      {picked?.status === 'failed' && (
        <p className="notice notice-bad" role="alert">
          {picked.id} could not be loaded: {picked.error}
          <button type="button" className="quiet" onClick={() => choice.pick(picked.id)}>
            Try again
          </button>
        </p>
      )}
      {picked?.status === 'loading' && <Progress model={picked} />}
      {picked?.note && <p className="notice">{picked.note}</p>}
      {!isKept && (
        <p className="notice">
          This browser’s storage is full or switched off: the conversations will not survive a reload.
        </p>
      )}
    </div>
  );
}

function Progress({ model: { id, progress } }: { model: WireModel }) {
  const { loaded_bytes: loaded, total_bytes: total } = progress ?? { loaded_bytes: 0, total_bytes: 0 };
  const share = total > 0 ? Math.min(1, loaded / total) : 0;
  return (
    <div
      className="notice progress"
      role="progressbar"
      aria-label={`Loading ${id}`}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
    >
      Loading {id}: {bytes(loaded)} of {bytes(total)}
      <div className="progress-done" style={{ width: `${share * 100}%` }} />
    </div>
  );
}
