// The places in memory that experts on disk take turns in: who is where, who may leave, and what cannot be touched yet.
import type { Tensor } from '../backends/backend.ts';

/** Weights of several experts of one shape and format. */
export interface SlotTensors {
  readonly gate: Tensor; // [slots, ff, dim]
  readonly up: Tensor; // [slots, ff, dim]
  readonly down: Tensor; // [slots, dim, ff]
  readonly slots: number;
}

/** One expert's place. */
export interface Slot {
  readonly tensors: SlotTensors;
  /** Which of `tensors`' it is. */
  readonly index: number;
  /** The expert it holds or gets, numbered through all layers; −1: none. */
  key: number;
  state: 'empty' | 'reading' | 'ready';
  /** It was ever filled: its memory is taken. */
  touched: boolean;
  /** It was filled by a guess, and nobody wanted it yet. */
  foreseen: boolean;
  /** Commands still to run read it, or somebody waits for it. */
  pinned: boolean;
}

/** Slots of one shape and format. */
export class SlotTable {
  readonly slots: readonly Slot[];
  private readonly empty: Slot[];

  constructor(parts: readonly SlotTensors[]) {
    this.slots = parts.flatMap(tensors =>
      Array.from({ length: tensors.slots }, (_, index): Slot => {
        return { tensors, index, key: -1, state: 'empty', touched: false, foreseen: false, pinned: false };
      }),
    );
    this.empty = [...this.slots].reverse();
  }

  /**
   * A slot for another expert: an empty one, or that of the one that will be wanted last; undefined when all are pinned.
   * @param waitOf how long an expert will not be wanted
   * @param mayGrow whether memory may be taken that was not used before
   */
  take(waitOf: (key: number) => number, mayGrow: () => boolean): Slot | undefined {
    const empty = this.takeEmpty(mayGrow);
    if (empty) return empty;
    let victim: Slot | undefined;
    let longest = -1;
    for (const slot of this.slots) {
      if (slot.pinned || slot.state !== 'ready') continue;
      const wait = waitOf(slot.key);
      if (wait > longest) {
        longest = wait;
        victim = slot;
      }
    }
    return victim;
  }

  /** An empty slot, if there is one and its memory may be taken. */
  takeEmpty(mayGrow: () => boolean): Slot | undefined {
    const empty = this.empty.at(-1);
    return empty && (empty.touched || mayGrow()) ? this.empty.pop() : undefined;
  }

  /** A slot holds nothing that can be used. */
  clear(slot: Slot): void {
    slot.key = -1;
    slot.state = 'empty';
    this.empty.push(slot);
  }
}
