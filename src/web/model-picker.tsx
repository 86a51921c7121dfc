// Picks the model; a dot shows whether it is loaded.
import type { ModelChoice } from './use-models.ts';

export function ModelPicker({ choice, disabled }: { choice: ModelChoice; disabled: boolean }) {
  const { models, picked } = choice;
  return (
    <div className="model-picker">
      <label>
        <span className="visually-hidden">Model</span>
        <select
          value={picked?.id ?? ''}
          disabled={disabled || !models?.length}
          title={disabled ? 'Stop the answer to change the model' : undefined}
          onChange={event => choice.pick(event.target.value)}
        >
          {!models?.length && <option value="">{models ? 'No models' : 'Models …'}</option>}
          {models?.map(model => (
            <option key={model.id} value={model.id}>
              {model.id}
            </option>
          ))}
        </select>
      </label>
      <span className={`dot dot-${picked?.status ?? 'available'}`} aria-hidden="true" />
    </div>
  );
}
