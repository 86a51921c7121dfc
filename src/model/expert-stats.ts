// What streaming experts costs: how often they were in memory, what was read, and how long computing waited for it.

/** Sums of one layer with experts. */
export interface LayerStreamStats {
  /** Index of the layer in the model. */
  readonly layer: number;
  /** Experts that passes wanted: each once a pass, however many tokens want it. */
  readonly wanted: number;
  /** Of these, found in memory since an earlier pass. */
  readonly hits: number;
  readonly bytesRead: number;
  /** Time in which nothing could be computed until an expert was read, ms. */
  readonly stalledMs: number;
}

/** Sums since opening. */
export interface StreamStats {
  /** Experts there are, of all layers, those that memory has room for, and those in it now. */
  readonly experts: number;
  readonly slots: number;
  readonly held: number;
  readonly heldBytes: number;
  readonly wanted: number;
  readonly hits: number;
  readonly bytesRead: number;
  readonly stalledMs: number;
  /** Time in which something was being read, ms: bytesRead ÷ busyMs is the bandwidth that was had of the disk. */
  readonly busyMs: number;
  /** Guesses at experts that are not in memory, and those that came true; they are read ahead only while at least half do. */
  readonly guesses: number;
  readonly guessesRight: number;
  /** Experts read before a router asked for them, and those of them that were then asked for. */
  readonly foreseen: number;
  readonly foreseenRight: number;
  /** Reads that failed. */
  readonly failures: number;
  readonly layers: readonly LayerStreamStats[];
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Keeps the sums. Time is that of `now`, ms. */
export class StreamTimes {
  readonly layers: Writable<LayerStreamStats>[];
  readonly sums = { foreseen: 0, foreseenRight: 0, failures: 0 };
  private readonly now: () => number;
  private reading = 0;
  private busySince = 0;
  private busy = 0;

  /** @param layers indices of the layers with experts */
  constructor(layers: readonly number[], now: () => number) {
    this.layers = layers.map(layer => ({ layer, wanted: 0, hits: 0, bytesRead: 0, stalledMs: 0 }));
    this.now = now;
  }

  begin(): void {
    if (this.reading++ === 0) this.busySince = this.now();
  }

  end(layer: number, bytes: number): void {
    this.layers[layer]!.bytesRead += bytes;
    if (--this.reading === 0) this.busy += this.now() - this.busySince;
  }

  get busyMs(): number {
    return this.busy + (this.reading > 0 ? this.now() - this.busySince : 0);
  }

  async stalled(layer: number, wait: Promise<void>): Promise<void> {
    const start = this.now();
    try {
      await wait;
    } finally {
      this.layers[layer]!.stalledMs += this.now() - start;
    }
  }
}
