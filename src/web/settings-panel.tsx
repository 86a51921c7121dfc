// The settings: a drawer at the side, over the whole width on a phone. Changes hold for the next answer.
import { type RefObject, useId, useRef } from 'react';
import { parseSchema, parseTools } from './chat-request.ts';
import { CloseIcon } from './icons.tsx';
import { Modal } from './modal.tsx';
import { DEFAULTS, type Settings } from './settings.ts';

const EXAMPLE_TOOL = {
  name: 'weather',
  description: 'The weather at a place, now.',
  parameters: {
    type: 'object',
    properties: { place: { type: 'string' }, unit: { enum: ['celsius', 'fahrenheit'] } },
    required: ['place'],
  },
};
const EXAMPLE_SCHEMA = {
  type: 'object',
  properties: { answer: { type: 'string' }, confidence: { type: 'number', minimum: 0, maximum: 1 } },
  required: ['answer', 'confidence'],
  additionalProperties: false,
};
const FORMATS = { text: 'Text', json: 'JSON', schema: 'Schema' } as const;
const THEMES = { auto: 'System', light: 'Light', dark: 'Dark' } as const;

interface SettingsPanelProps {
  readonly dialog: RefObject<HTMLDialogElement | null>;
  readonly settings: Settings;
  readonly onChange: (settings: Settings) => void;
}

export function SettingsPanel({ dialog, settings, onChange }: SettingsPanelProps) {
  const set = (change: Partial<Settings>) => onChange({ ...settings, ...change });
  const title = useId();
  const system = useId();
  const key = useId();
  return (
    <Modal dialog={dialog} className="settings" aria-labelledby={title}>
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

        <TextField
          label="Stop before"
          hint="The answer ends before any of these texts, one a line"
          rows={2}
          value={settings.stop}
          onChange={stop => set({ stop })}
        />
        <label className="switch">
          <input
            type="checkbox"
            role="switch"
            aria-checked={settings.promptLookup}
            checked={settings.promptLookup}
            onChange={event => set({ promptLookup: event.target.checked })}
          />
          <span>Prompt lookup</span>
          <small>Guesses words from the text so far and checks them together: the same answer, sooner</small>
        </label>

        <h3>Answers</h3>
        <Choice
          legend="Form of the answer"
          value={settings.format}
          names={FORMATS}
          onChange={format => set({ format })}
        />
        {settings.format === 'schema' && (
          <TextField
            label="JSON schema"
            hint="The answer is JSON that this schema allows"
            rows={6}
            value={settings.schema}
            problem={settings.schema === '' ? null : problemOf(() => parseSchema(settings.schema))}
            example={EXAMPLE_SCHEMA}
            onChange={schema => set({ schema })}
          />
        )}
        <TextField
          label="Tools"
          hint="JSON: what the model may call, each with a name, a description and parameters. You write the results."
          rows={4}
          value={settings.tools}
          problem={problemOf(() => parseTools(settings.tools))}
          example={[EXAMPLE_TOOL]}
          onChange={tools => set({ tools })}
        />

        <h3>This page</h3>
        <Choice legend="Appearance" value={settings.theme} names={THEMES} onChange={theme => set({ theme })} />
        <div className="number">
          <label htmlFor={key}>API key</label>
          <input
            id={key}
            type="password"
            autoComplete="off"
            placeholder="none"
            value={settings.apiKey}
            onChange={event => set({ apiKey: event.target.value.trim() })}
          />
        </div>

        <button
          type="button"
          className="plain"
          onClick={() => onChange({ ...DEFAULTS, theme: settings.theme, apiKey: settings.apiKey })}
        >
          Back to the defaults
        </button>
      </form>
    </Modal>
  );
}

/** Why a text cannot be used, or null. */
function problemOf(read: () => unknown): string | null {
  try {
    read();
    return null;
  } catch (error) {
    return (error as Error).message.replace(' Correct it in the settings.', '');
  }
}

interface ChoiceProps<T extends string> {
  readonly legend: string;
  readonly value: T;
  readonly names: Readonly<Record<T, string>>;
  readonly onChange: (value: T) => void;
}

function Choice<T extends string>({ legend, value, names, onChange }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset className="choice">
      <legend>{legend}</legend>
      {(Object.keys(names) as T[]).map(option => (
        <label key={option}>
          <input type="radio" name={name} checked={value === option} onChange={() => onChange(option)} />
          <span>{names[option]}</span>
        </label>
      ))}
    </fieldset>
  );
}

interface TextFieldProps {
  readonly label: string;
  readonly hint: string;
  readonly rows: number;
  readonly value: string;
  readonly problem?: string | null;
  /** Offered while the field is empty. */
  readonly example?: unknown;
  readonly onChange: (value: string) => void;
}

function TextField({ label, hint, rows, value, problem = null, example, onChange }: TextFieldProps) {
  const id = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  return (
    <div className="text-field">
      <label htmlFor={id}>{label}</label>
      {example !== undefined && value === '' && (
        <button
          type="button"
          className="quiet"
          onClick={() => {
            onChange(JSON.stringify(example, null, 2));
            field.current!.focus(); // this button goes
          }}
        >
          Insert an example<span className="visually-hidden"> of {label}</span>
        </button>
      )}
      <textarea
        ref={field}
        id={id}
        rows={rows}
        spellCheck={false}
        value={value}
        aria-invalid={problem !== null}
        aria-describedby={`${id}-hint`}
        onChange={event => onChange(event.target.value)}
      />
      <small id={`${id}-hint`} data-bad={problem !== null || undefined}>
        {problem ?? hint}
      </small>
    </div>
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
