// A pass that can end between two layers, when nobody wants it any more.
import type { Llama4 } from '../model/llama4.ts';

/** What a pass throws that was ended. Its sequences hold part of it. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/**
 * The same model, which asks before every layer whether the pass is unwanted: who walks its layers is told by Interrupted. Within a
 * layer it is not asked: experts that are read from disk may be held there.
 */
export function interruptible(model: Llama4, unwanted: () => boolean): Llama4 {
  function* layers() {
    for (const layer of model.layers) {
      if (unwanted()) throw new Interrupted('Nobody wants this pass any more.');
      yield layer;
    }
  }
  return { ...model, layers: Object.assign([...model.layers], { [Symbol.iterator]: layers }) };
}
