// Where routed experts come from. Resident ones are all in memory: one wave, and an expert's id is its slot.
import type { Tensor } from '../backends/backend.ts';
import type { ExpertStore } from './llama4.ts';

/**
 * Experts that are in memory all together.
 * @param gate [experts, ff, dim]
 * @param up [experts, ff, dim]
 * @param down [experts, dim, ff]
 */
export const residentExperts = (gate: Tensor, up: Tensor, down: Tensor): ExpertStore => ({
  async *load(ids) {
    yield { gate, up, down, slots: ids };
  },
});
