// Which experts read an answer: a picture with a column a token and a row a layer, and how the work was shared.
import { type RefObject, useEffect, useId, useState } from 'react';
import { fetchRouting } from './api.ts';
import { bodyMessages } from './chat-request.ts';
import type { ChatMessage } from './conversation.ts';
import { ExpertsPicture } from './experts-picture.tsx';
import { CloseIcon } from './icons.tsx';
import { Modal } from './modal.tsx';
import { hueOf, sharesOf, type WireRouting } from './routing.ts';

interface ExpertsPanelProps {
  readonly dialog: RefObject<HTMLDialogElement | null>;
  /** The path that ends with the answer; null while nothing is shown. */
  readonly path: readonly ChatMessage[] | null;
  readonly system: string;
  readonly onClose: () => void;
}

type Result = { readonly routing: WireRouting } | { readonly error: string } | null;

export function ExpertsPanel({ dialog, path, system, onClose }: ExpertsPanelProps) {
  const title = useId();
  const [result, setResult] = useState<Result>(null);
  useEffect(() => {
    const model = path?.at(-1)?.model;
    if (!path || model === undefined) return;
    const controller = new AbortController();
    setResult(null);
    fetchRouting({ model, messages: bodyMessages(path, system) }, controller.signal).then(
      routing => setResult({ routing }),
      (error: Error) => {
        if (!controller.signal.aborted) setResult({ error: error.message });
      },
    );
    return () => controller.abort();
  }, [path, system]);
  return (
    <Modal dialog={dialog} className="experts" aria-labelledby={title} onClose={onClose}>
      <div className="experts-inside">
        <header>
          <h2 id={title}>Experts of this answer</h2>
          <button
            type="button"
            className="plain round"
            aria-label="Close experts"
            onClick={() => dialog.current?.close()}
          >
            <CloseIcon />
          </button>
        </header>
        {result === null && path && <p role="status">The model reads its answer again …</p>}
        {result && 'error' in result && (
          <p className="failure" role="alert">
            {result.error}
          </p>
        )}
        {result && 'routing' in result && <Routing routing={result.routing} />}
      </div>
    </Modal>
  );
}

function Routing({ routing }: { routing: WireRouting }) {
  const { experts, experts_per_token: each, layers, tokens } = routing;
  const [expert, setExpert] = useState<number | null>(null);
  const shares = sharesOf(routing);
  if (tokens.length === 0 || layers.length === 0) return <p>There is nothing to draw: the answer has no tokens.</p>;
  const order = shares.map((share, id) => ({ share, id })).sort((a, b) => b.share - a.share);
  const most = order[0]!;
  const least = order.at(-1)!;
  return (
    <>
      <p className="lead">
        In {layers.length} of its layers the model lets {each === 1 ? 'one' : each} of {experts} experts read a token. A
        column is a token, a row a layer, a colour an expert.
      </p>
      <ExpertsPicture routing={routing} expert={expert} />
      <h3>How the work was shared</h3>
      <p>
        Expert {most.id} was chosen most ({percent(most.share)}), expert {least.id} least ({percent(least.share)}); all
        alike would be {percent(1 / experts)}. Choose one to see where it works.
      </p>
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for fields */}
      <div className="shares" role="group" aria-label="Experts">
        {shares.map((share, id) => (
          <button
            // biome-ignore lint/suspicious/noArrayIndexKey: an expert's number is its name
            key={id}
            type="button"
            aria-pressed={expert === id}
            aria-label={`Expert ${id}: ${percent(share)}`}
            title={`Expert ${id}: ${percent(share)}`}
            onClick={() => setExpert(expert === id ? null : id)}
          >
            <span className="share">
              <span
                style={{
                  blockSize: `${most.share === 0 ? 0 : (share / most.share) * 100}%`,
                  backgroundColor: `oklch(65% 0.14 ${hueOf(id, experts)})`,
                }}
              />
            </span>
            {experts <= 32 && <span className="share-name">{id}</span>}
          </button>
        ))}
      </div>
    </>
  );
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
