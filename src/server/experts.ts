// GET /v1/experts: of each loaded model that is larger than its memory, which part of its experts is held, and what reading the others cost.
import type { EngineStats } from '../engine/types.ts';
import type { Models } from './models.ts';
import type { WireExpertStats } from './wire.ts';

/** Sums since the model was loaded. */
export async function expertStats(models: Models): Promise<WireExpertStats> {
  const states = await models.list();
  const all = await Promise.all(
    states.map(async ({ id, chat }) => {
      const stats = await chat?.engine.stats().catch(() => null); // a dead engine is told by /health
      return stats?.experts ? [wireStats(id, stats, stats.experts)] : [];
    }),
  );
  return { object: 'list', data: all.flat() };
}

const share = (part: number, whole: number): number | null => (whole > 0 ? part / whole : null);

function wireStats(
  model: string,
  { prefillTokens, decodeTokens }: EngineStats,
  experts: NonNullable<EngineStats['experts']>,
): WireExpertStats['data'][number] {
  const { bytesRead, busyMs, stalledMs } = experts;
  return {
    object: 'experts',
    model,
    experts: experts.experts,
    slots: experts.slots,
    held: experts.held,
    held_bytes: experts.heldBytes,
    wanted: experts.wanted,
    hits: experts.hits,
    hit_rate: share(experts.hits, experts.wanted),
    bytes_read: bytesRead,
    bytes_per_token: share(bytesRead, prefillTokens + decodeTokens),
    read_seconds: busyMs / 1000,
    read_bytes_per_second: share(bytesRead, busyMs / 1000),
    stalled_seconds: stalledMs / 1000,
    guesses: experts.guesses,
    guesses_right: experts.guessesRight,
    foreseen: experts.foreseen,
    foreseen_right: experts.foreseenRight,
    failures: experts.failures,
    layers: experts.layers.map(layer => ({
      layer: layer.layer,
      wanted: layer.wanted,
      hits: layer.hits,
      hit_rate: share(layer.hits, layer.wanted),
      bytes_read: layer.bytesRead,
      stalled_seconds: layer.stalledMs / 1000,
    })),
  };
}
