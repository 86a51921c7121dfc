// The settings: a drawer at the side, over the whole width on a phone. Changes hold for the next answer.
import { type RefObject, useId } from 'react';
import { CloseIcon } from './icons.tsx';
import { DEFAULTS, type Settings } from './settings.ts';

interface SettingsPanelProps {
  readonly dialog: RefObject<HTMLDialogElement | null>;
  readonly settings: Settings;
  readonly onChange: (settings: Settings) => void;
}

export function SettingsPanel({ dialog, settings, onChange }: SettingsPanelProps) {
  const set = (change: Partial<Settings>) => onChange({ ...settings, ...change });
  const title = useId();
  const system = useId();
  return (
    <dialog
      ref={dialog}
      className="settings"
      aria-labelledby={title}
      onClick={event => event.target === dialog.current && dialog.current.close()}
      onKeyDown={event => event.stopPropagation()} // Esc closes the drawer and stops no answer
    >
      <form method="dialog">
        <header>
          <h2 id={title}>Settings</h2>
          <button type="submit" className="plain round" aria-label="Close settings">
            <CloseIcon />
          </button>
        </header>

        <label className="field-label" htmlFor={system}>
          System prompt
        </label>
        <textarea
          id={system}
          rows={4}
          value={settings.system}
          placeholder="How the model should behave. Empty: as it was trained."
          onChange={event => set({ system: event.target.value })}
        />

        <h3>Sampling</h3>
        <Slider
          label="Temperature"
          hint="0 always takes the likeliest word"
          low={0}
          high={2}
          step={0.05}
          value={settings.temperature}
          onChange={temperature => set({ temperature })}
        />
        <Slider
          label="Top p"
          hint="Only the likeliest words with this share together"
          low={0.05}
          high={1}
          step={0.05}
          value={settings.topP}
          onChange={topP => set({ topP })}
        />
        <Slider
          label="Min p"
          hint="Only words at least this likely beside the likeliest"
          low={0}
          high={0.5}
          step={0.01}
          value={settings.minP}
          onChange={minP => set({ minP })}
        />
        <Slider
          label="Repetition penalty"
          hint="Above 1, what was said becomes less likely"
          low={1}
          high={1.5}
          step={0.01}
          value={settings.repetitionPenalty}
          onChange={repetitionPenalty => set({ repetitionPenalty })}
        />
        <NumberField
          label="Top k"
          placeholder="all"
          low={1}
          high={1_000_000}
          value={settings.topK || null}
          onChange={topK => set({ topK: topK ?? 0 })}
        />
        <NumberField
          label="Max tokens"
          placeholder="no limit"
          low={1}
          high={1_000_000}
          value={settings.maxTokens}
          onChange={maxTokens => set({ maxTokens })}
        />
        <NumberField
          label="Seed"
          placeholder="random"
          low={0}
          high={Number.MAX_SAFE_INTEGER}
          value={settings.seed}
          onChange={seed => set({ seed })}
        />

        <fieldset className="themes">
          <legend>Appearance</legend>
          {(['auto', 'light', 'dark'] as const).map(theme => (
            <label key={theme}>
              <input
                type="radio"
                name="theme"
                value={theme}
                checked={settings.theme === theme}
                onChange={() => set({ theme })}
              />
              <span>{{ auto: 'As the system', light: 'Light', dark: 'Dark' }[theme]}</span>
            </label>
          ))}
        </fieldset>

        <button type="button" className="plain" onClick={() => onChange({ ...DEFAULTS, theme: settings.theme })}>
          Back to the defaults
        </button>
      </form>
    </dialog>
  );
}

interface SliderProps {
  readonly label: string;
  readonly hint: string;
  readonly low: number;
  readonly high: number;
  readonly step: number;
  readonly value: number;
  readonly onChange: (value: number) => void;
}

function Slider({ label, hint, low, high, step, value, onChange }: SliderProps) {
  const id = useId();
  return (
    <div className="slider">
      <label htmlFor={id}>{label}</label>
      <output htmlFor={id}>{value.toFixed(2)}</output>
      <input
        id={id}
        type="range"
        min={low}
        max={high}
        step={step}
        value={value}
        aria-describedby={`${id}-hint`}
        onChange={event => onChange(event.target.valueAsNumber)}
      />
      <small id={`${id}-hint`}>{hint}</small>
    </div>
  );
}

interface NumberFieldProps {
  readonly label: string;
  readonly placeholder: string;
  readonly low: number;
  readonly high: number;
  /** Null where the field is empty. */
  readonly value: number | null;
  readonly onChange: (value: number | null) => void;
}

function NumberField({ label, placeholder, low, high, value, onChange }: NumberFieldProps) {
  const id = useId();
  return (
    <div className="number">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        type="number"
        inputMode="numeric"
        min={low}
        max={high}
        step={1}
        placeholder={placeholder}
        value={value ?? ''}
        onChange={event => {
          const number = event.target.valueAsNumber;
          onChange(Number.isNaN(number) ? null : Math.min(high, Math.max(low, Math.round(number))));
        }}
      />
    </div>
  );
}
