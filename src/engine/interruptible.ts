// A pass that can end between two layers, when nobody wants it any more.
import type { Backend } from '../backends/backend.ts';

/** What a pass throws that was ended. Its sequences hold part of it. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** How deep in steps a layer begins: within the pass's own. */
const LAYER = 1;

/**
 * A backend that computes as `backend` does and asks before every layer whether the pass is unwanted. Within a layer it is not
 * asked: experts that are read from disk may be held there.
 * @throws Interrupted, of a step, when it is
 */
export function interruptible(backend: Backend, unwanted: () => boolean): Backend {
  let depth = 0;
  const step = async <T>(run: () => Promise<T>): Promise<T> => {
    if (depth === LAYER && unwanted()) throw new Interrupted('Nobody wants this pass any more.');
    depth++;
    try {
      return await backend.step(run);
    } finally {
      depth--;
    }
  };
  return Object.create(backend, { step: { value: step } });
}
