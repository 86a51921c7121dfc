// How to ask: the system prompt, the sampling controls, what the answer may be; their defaults.
import { useEffect, useState } from 'react';
import { recall, remember } from './storage.ts';

export interface Settings {
  readonly system: string;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  /** Null: until the context is full. */
  readonly maxTokens: number | null;
  /** Null: another one each time. */
  readonly seed: number | null;
  /** Texts before which an answer ends, one a line. */
  readonly stop: string;
  readonly promptLookup: boolean;
  readonly format: 'text' | 'json' | 'schema';
  /** JSON schema, for the format 'schema'. */
  readonly schema: string;
  /** JSON: the tools that the model may call; empty for none. */
  readonly tools: string;
  /** For a server that wants one; empty for none. */
  readonly apiKey: string;
  readonly theme: 'auto' | 'light' | 'dark';
}

/** Temperature and top-p as in the generation config that Meta publishes with Llama 4. */
export const DEFAULTS: Settings = {
  system: '',
  temperature: 0.6,
  topP: 0.9,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  maxTokens: null,
  seed: null,
  stop: '',
  promptLookup: false,
  format: 'text',
  schema: '',
  tools: '',
  apiKey: '',
  theme: 'auto',
};

const CHOICES: Partial<Record<keyof Settings, readonly unknown[]>> = {
  format: ['text', 'json', 'schema'],
  theme: ['auto', 'light', 'dark'],
};

/** The stored settings: each value that is of its kind, and the default for every other. */
export function settingsFrom(stored: unknown): Settings {
  if (typeof stored !== 'object' || stored === null) return DEFAULTS;
  const isValid = (key: keyof Settings, value: unknown) => {
    const standard = DEFAULTS[key];
    if (CHOICES[key]) return CHOICES[key].includes(value);
    if (typeof standard === 'number') return Number.isFinite(value);
    return standard === null ? value === null || Number.isFinite(value) : typeof value === typeof standard;
  };
  const known = Object.entries(stored).filter(
    ([key, value]) => key in DEFAULTS && isValid(key as keyof Settings, value),
  );
  return { ...DEFAULTS, ...Object.fromEntries(known) };
}

const isAnything = (_value: unknown): _value is unknown => true;
export const storedSettings = (): Settings => settingsFrom(recall('settings', isAnything));

export function useSettings() {
  const [settings, setSettings] = useState<Settings>(storedSettings);
  useEffect(() => {
    remember('settings', settings);
    if (settings.theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = settings.theme;
  }, [settings]);
  return [settings, setSettings] as const;
}
