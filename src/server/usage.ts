// What an answer cost: the engine's statistics as OpenAI's `usage` and as `timings`.
import type { FinishReason, GenerationStats } from '../engine/types.ts';
import type { WireFinishReason, WireTimings, WireUsage } from './wire.ts';

/** Adds up the statistics of the answers that one request asked for. */
export function totalOf(all: readonly GenerationStats[]): GenerationStats {
  const sum = (key: keyof GenerationStats) => all.reduce((total, stats) => total + stats[key], 0);
  return {
    promptTokens: sum('promptTokens'),
    cachedTokens: sum('cachedTokens'),
    generatedTokens: sum('generatedTokens'),
    queueMs: sum('queueMs'),
    prefillMs: sum('prefillMs'),
    decodeMs: sum('decodeMs'),
    draftedTokens: sum('draftedTokens'),
    acceptedTokens: sum('acceptedTokens'),
  };
}

/** @param answers how many answers to each prompt `stats` is the sum of: a prompt counts once, as with OpenAI. */
export function usageOf(stats: GenerationStats, answers = 1): WireUsage {
  const promptTokens = stats.promptTokens / answers;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: stats.generatedTokens,
    total_tokens: promptTokens + stats.generatedTokens,
    prompt_tokens_details: { cached_tokens: Math.floor(stats.cachedTokens / answers) },
  };
}

/** @param answers how many answers `stats` is the sum of; the first token of each belongs to its prefill. */
export function timingsOf(stats: GenerationStats, answers = 1): WireTimings {
  const computed = stats.promptTokens - stats.cachedTokens;
  const rate = (tokens: number, ms: number) => (tokens > 0 && ms > 0 ? (tokens / ms) * 1000 : null);
  return {
    queue_ms: stats.queueMs,
    cache_n: stats.cachedTokens,
    prompt_n: computed,
    prompt_ms: stats.prefillMs,
    prompt_per_second: rate(computed, stats.prefillMs),
    predicted_n: stats.generatedTokens,
    predicted_ms: stats.decodeMs,
    predicted_per_second: rate(stats.generatedTokens - answers, stats.decodeMs),
  };
}

/** OpenAI has one word for both limits, the request's and the context's. @param calls whether the answer calls tools */
export const finishReasonOf = (reason: FinishReason, calls = false): WireFinishReason =>
  reason !== 'stop' ? 'length' : calls ? 'tool_calls' : 'stop';
