// Why an engine does not compute a request: classes that a server can tell apart, where most say when to come again.
import { CheckpointError } from '../checkpoint/checkpoint.ts';

/** The checkpoint is sound, and memory has no room for it beside what is there already. */
export class NotEnoughMemory extends CheckpointError {
  override readonly name = 'NotEnoughMemory';
}

/** The engine broke while the request was under way: what it had given is right, the rest is lost. */
export class EngineFailed extends Error {
  override readonly name = 'EngineFailed';

  /** @param next what to do, or what happens by itself */
  constructor(path: string, cause: unknown, next: string) {
    const what = cause instanceof Error ? cause.message : String(cause);
    super(`${path}: this engine can compute no more (${what}). ${next}`, { cause });
  }
}

/** The engine broke and is being opened again. */
export class EngineRestarting extends Error {
  override readonly name = 'EngineRestarting';
  /** About so long until it is ready, ms: as long as opening took before. */
  readonly retryAfterMs: number;

  constructor(path: string, retryAfterMs: number) {
    super(`${path}: the engine failed and is being opened again; try again in ${seconds(retryAfterMs)}.`);
    this.retryAfterMs = retryAfterMs;
  }
}

/** As many requests wait as may. */
export class QueueFull extends Error {
  override readonly name = 'QueueFull';
  /** By the speed measured so far, when those who wait now will have had their turn, ms. */
  readonly retryAfterMs: number;

  constructor(path: string, waiting: number, retryAfterMs: number) {
    super(`${path}: ${waiting} requests wait already, and no more may; try again in ${seconds(retryAfterMs)}.`);
    this.retryAfterMs = retryAfterMs;
  }
}

/** The engine finishes what it has and takes nothing more. */
export class EngineDraining extends Error {
  override readonly name = 'EngineDraining';

  constructor(path: string) {
    super(`${path}: the engine is about to close and takes no further requests; send them to another.`);
  }
}

const seconds = (ms: number): string => `${Math.max(1, Math.ceil(ms / 1000))} s`;
