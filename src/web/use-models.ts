// The models that the server has, which one is picked, and how far its loading is.
import { useCallback, useEffect, useState } from 'react';
import type { WireModel } from '../server/wire.ts';
import { fetchModels, loadModel, RequestError } from './api.ts';
import { recall, remember } from './storage.ts';

const POLL_MS = 400;
const isString = (value: unknown): value is string => typeof value === 'string';

export interface ModelChoice {
  /** Null until the server has answered. */
  readonly models: readonly WireModel[] | null;
  readonly picked: WireModel | null;
  /** Why the list or a load could not be asked for. */
  readonly error: string | null;
  /** The server wants an API key, or another one. */
  readonly needsKey: boolean;
  /** Picks a model and begins loading it. */
  pick(id: string): void;
  refresh(): void;
}

/**
 * @param isAnswering while true the list is watched, for the server may be loading for the answer.
 * @param apiKey the list is asked for anew when it changes.
 */
export function useModels(isAnswering: boolean, apiKey: string): ModelChoice {
  const [models, setModels] = useState<readonly WireModel[] | null>(null);
  const [choice, setChoice] = useState(() => recall('model', isString));
  const [error, setError] = useState<string | null>(null);
  const [needsKey, setNeedsKey] = useState(false);

  const refresh = useCallback(async () => {
    try {
      setModels(await fetchModels());
      setError(null);
      setNeedsKey(false);
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
      setNeedsKey(failure instanceof RequestError && failure.needsKey);
    }
  }, []);

  const picked =
    models?.find(model => model.id === choice) ??
    models?.find(model => model.status === 'ready') ??
    models?.[0] ??
    null;
  const watch = models?.some(model => model.status === 'loading') || (isAnswering && picked?.status !== 'ready');

  // biome-ignore lint/correctness/useExhaustiveDependencies: another key, another answer
  useEffect(() => {
    void refresh();
    const onVisible = () => {
      if (document.visibilityState === 'visible') void refresh();
    };
    document.addEventListener('visibilitychange', onVisible);
    return () => document.removeEventListener('visibilitychange', onVisible);
  }, [refresh, apiKey]);

  useEffect(() => {
    if (!watch) return;
    const timer = setInterval(() => void refresh(), POLL_MS);
    return () => clearInterval(timer);
  }, [watch, refresh]);

  const pick = async (id: string) => {
    setChoice(id);
    remember('model', id);
    try {
      await loadModel(id);
      await refresh();
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  return { models, picked, error, needsKey, pick: id => void pick(id), refresh: () => void refresh() };
}
