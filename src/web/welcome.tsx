// What one sees before the first message: which model answers, and something to begin with.
import type { WireModel } from '../server/wire.ts';
import { bytes, count } from './numbers.ts';

const IDEAS = [
  'Explain how a sailing boat can sail against the wind.',
  'Write a short poem about the first snow.',
  'Give me three questions to ask before buying a used bicycle.',
];

interface WelcomeProps {
  readonly model: WireModel | null;
  readonly canSend: boolean;
  readonly onSend: (text: string) => void;
}

export function Welcome({ model, canSend, onSend }: WelcomeProps) {
  return (
    <main className="conversation welcome" aria-label="Conversation">
      <div className="column">
        <h1>What shall we talk about?</h1>
        <p className="lead">Everything is computed on the machine that serves this page. Nothing is sent elsewhere.</p>
        {model && <Facts model={model} />}
        <ul className="ideas" aria-label="Ideas">
          {IDEAS.map(idea => (
            <li key={idea}>
              <button type="button" disabled={!canSend} onClick={() => onSend(idea)}>
                {idea}
              </button>
            </li>
          ))}
        </ul>
      </div>
    </main>
  );
}

function Facts({ model }: { model: WireModel }) {
  const { parameters, active_parameters: active, context_tokens: context, backend, threads } = model;
  const facts = [
    parameters !== null &&
      `${count(parameters)} parameters${active !== null && active < parameters * 0.99 ? `, ${count(active)} active` : ''}`,
    context !== null && `${context.toLocaleString('en')} tokens of context`,
    backend !== null && `${backend}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`,
    model.status === 'available' && `${bytes(model.bytes)}, loaded with the first message`,
    model.status === 'loading' && `${bytes(model.bytes)}, loading`,
  ].filter(fact => fact !== false);
  return (
    <p className="facts">
      <strong>{model.id}</strong>
      {facts.map(fact => (
        <span key={fact}>{fact}</span>
      ))}
    </p>
  );
}
