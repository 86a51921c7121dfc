// Who may come in: a bounded number of requests, none once the engine drains; and when to come again.
import { EngineDraining, QueueFull } from './errors.ts';

/** Nobody is told to come later than this, ms. */
const LONGEST_WAIT = 60_000;

export class Door {
  readonly #path: string;
  readonly #places: number;
  readonly #waiting: number;
  #inside = 0;
  #draining = false;
  #drained: (() => void)[] = [];
  /** Mean time from one that leaves to the next while others are inside, ms; 0 until one has left. */
  #interval = 0;
  #lastAt = 0;

  /** @param places requests computed at once @param waiting further ones that may wait */
  constructor(path: string, places: number, waiting: number) {
    this.#path = path;
    this.#places = places;
    this.#waiting = waiting;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** @throws EngineDraining, or QueueFull that says when all who wait now will have had their turn */
  enter(): void {
    if (this.#draining) throw new EngineDraining(this.#path);
    const waiting = this.#inside - this.#places;
    if (waiting >= this.#waiting)
      throw new QueueFull(this.#path, waiting, Math.min(LONGEST_WAIT, Math.max(1000, (waiting + 1) * this.#interval)));
    if (this.#inside++ === 0) this.#lastAt = performance.now();
  }

  leave(count = 1): void {
    if (count === 0) return;
    const now = performance.now();
    const interval = (now - this.#lastAt) / count;
    this.#interval = this.#interval === 0 ? interval : 0.8 * this.#interval + 0.2 * interval;
    this.#lastAt = now;
    this.#inside -= count;
    if (this.#inside === 0) for (const tell of this.#drained.splice(0)) tell();
  }

  /** Lets nobody in any more; resolves when nobody is left. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#inside > 0) await new Promise<void>(resolve => this.#drained.push(resolve));
  }
}
