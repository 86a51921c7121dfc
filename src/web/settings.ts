// How to ask: the system prompt and the sampling controls, their ranges and their defaults.
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
  theme: 'auto',
};

const THEMES = ['auto', 'light', 'dark'];

function isSettings(value: unknown): value is Settings {
  if (typeof value !== 'object' || value === null) return false;
  const settings = value as Record<keyof Settings, unknown>;
  const isNumber = (key: keyof Settings) => Number.isFinite(settings[key]);
  return (
    typeof settings.system === 'string' &&
    (['temperature', 'topP', 'topK', 'minP', 'repetitionPenalty'] as const).every(isNumber) &&
    (['maxTokens', 'seed'] as const).every(key => settings[key] === null || isNumber(key)) &&
    THEMES.includes(settings.theme as string)
  );
}

export function useSettings() {
  const [settings, setSettings] = useState<Settings>(() => recall('settings', isSettings) ?? DEFAULTS);
  useEffect(() => {
    remember('settings', settings);
    if (settings.theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = settings.theme;
  }, [settings]);
  return [settings, setSettings] as const;
}
