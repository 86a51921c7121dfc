// What an engine is at, and telling those who want to know.
import type { EngineState, StateListener } from './types.ts';

export interface StateHolder {
  readonly state: EngineState;
  /** Changes the state and calls every listener, once a change; what is closed stays so. */
  set(state: EngineState, error?: Error): void;
  /** @returns what ends the calls */
  listen(listener: StateListener): () => void;
}

export function createState(): StateHolder {
  let state: EngineState = 'ready';
  const listeners = new Set<StateListener>();
  return {
    get state() {
      return state;
    },
    set(next, error) {
      if (state === next || state === 'closed') return;
      state = next;
      for (const listener of [...listeners]) listener(state, error);
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
