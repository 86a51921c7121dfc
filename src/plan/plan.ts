// Before a model is loaded, or even here: what of it will be in memory, and how fast it will read and answer, and why.
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { type MemoryPlan, planMemory } from '../engine/memory-plan.ts';
import { cacheShape } from '../model/config.ts';
import type { BoundModel } from '../model/weights.ts';
import type { MachineSpeed } from './machine.ts';
import { passTime, promptTime, type Time } from './speed.ts';
import { workOf } from './work.ts';

export interface PlanOptions {
  /** What may be taken, bytes; undefined: what is free. */
  readonly memory: number | undefined;
  readonly available: number;
  readonly contextTokens: number;
  readonly maxSequences: number;
  /** Tokens of the prompt that prefill is told for; decode is told behind it, half of what it says itself. */
  readonly promptTokens: number;
  readonly generateTokens: number;
  /** In the cache before the prompt. */
  readonly depth: number;
}

/** What is known of the machine. */
export interface Known {
  readonly machine: MachineSpeed;
  /** Bytes a second, or null where it could not be measured. */
  readonly disk: number | null;
}

export interface SpeedPlan {
  /** Null where the disk's speed counts and is not known. */
  readonly tokensPerSecond: number | null;
  readonly time: Time;
}

export interface ModelSpeedPlan {
  readonly decode: SpeedPlan;
  readonly prefill: SpeedPlan;
  /** Until the first token can be computed, files not in the system's cache; null where the disk's speed is not known. */
  readonly loadSeconds: number | null;
  readonly hitRate: number;
}

/** What of the model is in memory. @throws CheckpointError where it has no room at all; it says how much is needed */
export function memoryOf(bound: BoundModel, options: PlanOptions): MemoryPlan {
  return planMemory(bound, {
    memory: options.memory,
    available: options.available,
    maxBatch: undefined,
    cacheShape: maxBatch =>
      cacheShape(bound.plan, {
        maxTokens: options.contextTokens,
        maxSequences: options.maxSequences,
        longSequences: options.maxSequences,
        maxBatch,
      }),
    cacheFloats: false,
  });
}

/** The same, or the reason why not. */
export function memoryOrReason(bound: BoundModel, options: PlanOptions): MemoryPlan | string {
  try {
    return memoryOf(bound, options);
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    return error.message.slice(error.path.length + 2);
  }
}

/** @param hitRate of the wanted experts, those in memory already; by default routing is even: the share that is held */
export function planSpeed(
  bound: BoundModel,
  memory: MemoryPlan,
  { machine, disk }: Known,
  { promptTokens, generateTokens, depth }: PlanOptions,
  hitRate = memory.experts ? memory.experts.held / memory.experts.all : 1,
): ModelSpeedPlan {
  const streams = memory.experts !== null;
  const input = {
    work: workOf(bound),
    machine,
    disk,
    hitRate,
    maxBatch: memory.maxBatch,
    passSeconds: streams ? Infinity : 0.25,
  };
  const one = passTime(input, 1, depth + generateTokens / 2);
  const prompt = promptTime(input, promptTokens, depth);
  const unknown = streams && disk === null;
  const rate = (tokens: number, { seconds }: Time): number | null => (unknown ? null : tokens / seconds);
  const { residentBytes } = memory;
  return {
    decode: { tokensPerSecond: rate(1, one), time: one },
    prefill: { tokensPerSecond: rate(promptTokens, prompt), time: prompt },
    loadSeconds: disk === null ? null : residentBytes / Math.min(disk, machine.loadBytes),
    hitRate,
  };
}
