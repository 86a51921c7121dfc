// Experts on disk: a fixed number of them is in memory, the others are read when the router asks for them, and take the places of
// those that will be wanted last. Which are in memory changes how long a pass takes, never what it computes.
import { type Backend, FileReadError, type FileReading, type Tensor } from '../backends/backend.ts';
import { CheckpointError, type TensorInfo } from '../checkpoint/checkpoint.ts';
import { GuessTrust } from './expert-guess.ts';
import { ExpertUse } from './expert-policy.ts';
import type { ReadExpert } from './expert-reader.ts';
import { type Slot, SlotTable, type SlotTensors } from './expert-slots.ts';
import { type LayerStreamStats, type StreamStats, StreamTimes } from './expert-stats.ts';
import type { ExpertStore, ExpertWave } from './llama4.ts';

/** All experts of one layer, each of three matrices. */
export interface ExpertTensors {
  readonly gate: TensorInfo; // [experts, ff, dim]
  readonly up: TensorInfo; // [experts, ff, dim]
  readonly down: TensorInfo; // [experts, dim, ff]
}

/** A layer with experts. */
export interface StreamedLayer extends ExpertTensors {
  /** Its index in the model. */
  readonly index: number;
}

export interface StreamOptions {
  readonly backend: Backend;
  /** The checkpoint's, for messages. */
  readonly path: string;
  /** Layers with experts, in the order of the layers. */
  readonly layers: readonly StreamedLayer[];
  /** Experts held at once, at least one: for each group of `alikeLayers`. */
  readonly slots: readonly number[];
  readonly read: ReadExpert;
  /**
   * Which experts of layer `layer` (counted among those with experts) rows will probably want, I32 [T, 1], from the state before the
   * feed-forward of the layer with experts before it. Set once the weights are there; without it nothing is read ahead.
   */
  readonly foresee?: (h: Tensor, layer: number) => Tensor;
  /** Whether `bytes` of memory may be taken that were not used before. Default: always. */
  readonly mayGrow?: (bytes: number) => boolean;
}

/** What one pass wants of one layer. */
interface Visit {
  readonly layer: number;
  /** The expert of each row. */
  readonly ids: Int32Array;
  /** Not in memory and without a slot yet, in the order in which they are read. */
  readonly missing: number[];
  /** Have a slot and were not part of a wave yet. */
  readonly held: Set<Slot>;
  /** Part of a wave whose commands may still have to run. */
  readonly used: Set<Slot>;
  failure: unknown;
  /** Something was read, or failed. */
  wake: () => void;
}

/** Bytes of one expert's matrix in memory; packed formats fill rows up to sixteen. */
function slotBytes({ byteLength, shape }: TensorInfo): number {
  const [experts, rows] = shape as readonly [number, number, number];
  return (byteLength / experts / rows) * Math.ceil(rows / 16) * 16;
}

/** Bytes of one expert in memory. */
export const expertBytes = ({ gate, up, down }: ExpertTensors): number =>
  slotBytes(gate) + slotBytes(up) + slotBytes(down);

/** Bytes of one expert in its file. */
const fileBytes = ({ gate, up, down }: ExpertTensors): number =>
  (gate.byteLength + up.byteLength + down.byteLength) / gate.shape[0]!;

/** Layers whose experts may take each other's places: they have one shape and format. */
export function alikeLayers(layers: readonly ExpertTensors[]): number[][] {
  const kind = (layer: ExpertTensors): string =>
    [layer.gate, layer.up, layer.down].map(({ dtype, shape }) => `${dtype} ${shape}`).join(' ');
  return [...Map.groupBy(layers.keys(), index => kind(layers[index]!)).values()];
}

/**
 * How many of `slots` experts each group of layers gets: by its share of all experts' bytes, at least one, no more than it has.
 * @returns for each group of `alikeLayers`
 */
export function shareSlots(layers: readonly ExpertTensors[], memoryBytes: number): number[] {
  const groups = alikeLayers(layers);
  const all = layers.reduce((sum, layer) => sum + layer.gate.shape[0]! * expertBytes(layer), 0);
  return groups.map(group => {
    const first = layers[group[0]!]!;
    const experts = group.length * first.gate.shape[0]!;
    const each = expertBytes(first);
    const share = memoryBytes * ((experts * each) / all);
    return Math.min(experts, Math.max(1, Math.floor(share / each)));
  });
}

/** Of the places for experts, those that may be filled by guesses at once. */
const aheadShare = 1 / 4;
/** A pass of more rows wants most experts anyway, and keeps the disk busy without guesses. */
const mostForeseenRows = 16;

export class ExpertStream {
  readonly use: ExpertUse;
  /** Of experts that were read once, as they were then; by their numbers through all layers. */
  readonly checksums = new Map<number, bigint>();
  private readonly path: string;
  private readonly backend: Backend;
  private readonly layers: readonly StreamedLayer[];
  private readonly tables: readonly SlotTable[];
  private readonly tableOf: readonly SlotTable[];
  private readonly read: ReadExpert;
  private readonly mayGrow: (bytes: number) => boolean;
  private readonly where = new Map<number, Slot>();
  private readonly times: StreamTimes;
  /** The last layer visited: its slots are pinned until its commands have run. */
  private visit: Visit | undefined;
  /** What is read although nobody waits for it. */
  private readonly ahead = new Map<number, FileReading>();
  private readonly trust = new GuessTrust();
  private closing = false;
  foresee: StreamOptions['foresee'];
  /** Reads under way. */
  private readonly underWay = new Set<Promise<void>>();

  private constructor(
    { backend, path, layers, read, foresee, mayGrow = () => true }: StreamOptions,
    tables: readonly SlotTable[],
  ) {
    this.backend = backend;
    this.path = path;
    this.layers = layers;
    this.read = read;
    this.mayGrow = mayGrow;
    this.foresee = foresee;
    this.tables = tables;
    const tableOf: SlotTable[] = [];
    for (const [group, table] of tables.entries())
      for (const layer of alikeLayers(layers)[group]!) tableOf[layer] = table;
    this.tableOf = tableOf;
    this.use = new ExpertUse(layers.length, layers[0]!.gate.shape[0]!);
    this.times = new StreamTimes(
      layers.map(({ index }) => index),
      () => performance.now(),
    );
  }

  /**
   * Reserves the slots; they take memory as they are filled.
   * @throws RangeError when the system grants no such memory.
   */
  static create(options: StreamOptions): ExpertStream {
    const { backend, layers } = options;
    const groups = alikeLayers(layers);
    const tables = groups.map((group, i) => {
      const layer = layers[group[0]!]!;
      const { gate, up, down } = layer;
      const most = Math.max(1, Math.floor(backend.largestWeight / expertBytes(layer))); // all three in one memory
      const parts: SlotTensors[] = [];
      for (let left = options.slots[i]!; left > 0; left -= most) {
        const slots = Math.min(left, most);
        const reserve = ({ dtype, shape }: TensorInfo): Tensor => backend.reserve(dtype, [slots, ...shape.slice(1)]);
        parts.push({ gate: reserve(gate), up: reserve(up), down: reserve(down), slots });
      }
      return new SlotTable(parts);
    });
    return new ExpertStream(options, tables);
  }

  /** @param layer counted among the layers with experts */
  storeOf(layer: number): ExpertStore {
    return {
      load: (ids, h) => {
        const begun = this.begin(layer, ids, h);
        begun.catch(() => {}); // it is awaited below, unless the pass fails before
        return this.waves(begun);
      },
    };
  }

  get stats(): StreamStats {
    const { layers, sums, busyMs } = this.times;
    const slots = this.tables.flatMap(table => table.slots);
    const sum = (of: (layer: LayerStreamStats) => number): number => layers.reduce((all, layer) => all + of(layer), 0);
    const held = [...this.where.values()].filter(({ state }) => state === 'ready');
    return {
      experts: this.layers.reduce((all, { gate }) => all + gate.shape[0]!, 0),
      slots: slots.length,
      held: held.length,
      heldBytes: held.reduce((all, { key }) => all + expertBytes(this.layers[this.layerOf(key)]!), 0),
      wanted: sum(layer => layer.wanted),
      hits: sum(layer => layer.hits),
      bytesRead: sum(layer => layer.bytesRead),
      stalledMs: sum(layer => layer.stalledMs),
      busyMs,
      ...sums,
      guesses: this.trust.guesses,
      guessesRight: this.trust.right,
      layers: layers.map(layer => ({ ...layer })),
    };
  }

  /**
   * Fills places that are empty with the experts wanted most so far, as `use` knows, a few at a time and while nothing is wanted now.
   * Ends early when the places are taken otherwise.
   */
  async warm(): Promise<void> {
    const keys = Array.from({ length: this.use.layers * this.use.expertsPerLayer }, (_, key) => key);
    const shares = keys.map(key => this.use.shareOf(key));
    const queue = keys.sort((a, b) => shares[b]! - shares[a]!);
    const one = async (): Promise<void> => {
      for (let key = queue.shift(); key !== undefined && !this.closing; key = queue.shift()) {
        if (this.where.has(key)) continue;
        const layer = this.layerOf(key);
        const slot = this.tableOf[layer]!.takeEmpty(() => this.mayGrow(expertBytes(this.layers[layer]!)));
        if (slot) await this.fill(slot, key, false);
      }
    };
    await Promise.all([one(), one()]);
  }

  /** Ends reading ahead; resolves when no read is under way any more. */
  async close(): Promise<void> {
    this.closing = true;
    for (const reading of this.ahead.values()) reading.cancel();
    await this.settle();
  }

  /** Resolves when no read is under way any more. */
  async settle(): Promise<void> {
    while (this.underWay.size > 0) await Promise.allSettled(this.underWay);
  }

  /** Learns what the router wants, and starts to read. */
  private async begin(layer: number, ids: Tensor, h: Tensor): Promise<Visit> {
    const worthGuessing = layer + 1 < this.layers.length && h.shape[0]! <= mostForeseenRows;
    const guessed = worthGuessing ? this.foresee?.(h, layer + 1) : undefined;
    const [wanted, guesses] = await Promise.all([this.backend.read(ids), guessed && this.backend.read(guessed)]);
    const rows = Int32Array.from(wanted); // what was enqueued has run: no slot is in use
    this.endVisit();
    const { expertsPerLayer } = this.use;
    const times = new Map<number, number>();
    for (const expert of rows) times.set(expert, (times.get(expert) ?? 0) + 1);
    const visit: Visit = {
      layer,
      ids: rows,
      missing: [],
      held: new Set(),
      used: new Set(),
      failure: undefined,
      wake: () => {},
    };
    this.visit = visit;
    const sums = this.times.layers[layer]!;
    sums.wanted += times.size;
    for (const expert of times.keys()) {
      const key = layer * expertsPerLayer + expert;
      const slot = this.where.get(key);
      if (slot) {
        slot.pinned = true;
        visit.held.add(slot);
        if (slot.foreseen) this.times.sums.foreseenRight++;
        else sums.hits++;
        slot.foreseen = false;
        this.ahead.get(key)?.hurry();
        this.ahead.delete(key);
      } else visit.missing.push(key);
    }
    for (const [key, reading] of this.ahead) if (this.layerOf(key) === layer) reading.cancel();
    this.trust.judge(key => times.has(key - layer * expertsPerLayer));
    this.use.seen(layer, rows.length, times);
    this.readMissing(visit);
    if (guesses) this.readAhead(layer, guesses);
    return visit;
  }

  /** As long as there is anything left: what is in memory by now is a wave for each part of memory. */
  private async *waves(begun: Promise<Visit>): AsyncGenerator<ExpertWave> {
    const visit = await begun;
    const { expertsPerLayer } = this.use;
    while (visit.held.size > 0 || visit.missing.length > 0) {
      const ready = [...visit.held].filter(({ state }) => state === 'ready');
      const whole = ready.length === visit.held.size && visit.missing.length === 0;
      if (!whole) {
        this.backend.settle(); // computes what is enqueued while experts are read
        for (const slot of visit.used) slot.pinned = false;
        visit.used.clear();
        this.readMissing(visit);
      }
      if (ready.length === 0) {
        await this.times.stalled(visit.layer, this.arrival(visit));
        continue;
      }
      for (const [tensors, slots] of Map.groupBy(ready, slot => slot.tensors)) {
        const slotOf = new Map(slots.map(({ key, index }) => [key - visit.layer * expertsPerLayer, index]));
        const { gate, up, down } = tensors;
        for (const slot of slots) {
          visit.held.delete(slot);
          visit.used.add(slot);
        }
        const rows = visit.ids.map(expert => slotOf.get(expert) ?? -1);
        yield { gate, up, down, slots: this.backend.integers(rows, [rows.length, 1]) };
      }
    }
  }

  /** Resolves when something that the visit waits for is in memory. @throws what went wrong with reading it. */
  private async arrival(visit: Visit): Promise<void> {
    const arrived = (): boolean => [...visit.held].some(({ state }) => state === 'ready');
    while (!arrived()) {
      if (visit.failure !== undefined) throw visit.failure;
      if (visit.held.size === 0)
        throw new CheckpointError(
          this.path,
          `there is no memory for an expert of layer ${this.layers[visit.layer]!.index}: the machine has less free than was planned with. Close other programs, or open it again with less --memory.`,
        );
      await new Promise<void>(resolve => {
        visit.wake = resolve;
      });
    }
  }

  private endVisit(): void {
    const { visit } = this;
    if (!visit) return;
    for (const slot of [...visit.held, ...visit.used]) slot.pinned = false;
    this.visit = undefined;
  }

  /** Starts to read what is missing, as far as there are slots. */
  private readMissing(visit: Visit): void {
    const table = this.tableOf[visit.layer]!;
    while (visit.missing.length > 0) {
      const slot = table.take(
        key => this.use.waitOf(key, visit.layer),
        () => this.mayGrow(expertBytes(this.layers[visit.layer]!)),
      );
      if (!slot) return;
      const key = visit.missing.shift()!;
      slot.pinned = true;
      visit.held.add(slot);
      void this.fill(slot, key, true);
    }
  }

  /** Starts to read what the next layer will probably want, while nothing that is wanted now is read; if guesses are worth it. */
  private readAhead(layer: number, guesses: Float32Array): void {
    const next = layer + 1;
    const table = this.tableOf[next]!;
    const most = Math.floor(table.slots.length * aheadShare);
    for (const expert of new Set(guesses)) {
      const key = next * this.use.expertsPerLayer + expert;
      if (this.where.has(key)) continue;
      this.trust.guess(key);
      if (!this.trust.deserved || this.ahead.size >= most) continue;
      const slot = table.take(
        other => this.use.waitOf(other, layer),
        () => this.mayGrow(expertBytes(this.layers[next]!)),
      );
      if (!slot) return;
      this.times.sums.foreseen++;
      void this.fill(slot, key, false);
    }
  }

  private fill(slot: Slot, key: number, urgent: boolean): Promise<void> {
    if (slot.key >= 0) this.where.delete(slot.key);
    Object.assign(slot, { key, state: 'reading', touched: true, foreseen: !urgent });
    this.where.set(key, slot);
    const layer = this.layerOf(key);
    const tensors = this.layers[layer]!;
    const { expertsPerLayer } = this.use;
    this.times.begin();
    const begun = this.read(tensors, key - layer * expertsPerLayer, slot, urgent);
    if (!urgent) this.ahead.set(key, begun);
    const reading = begun.done
      .then(checksum => {
        const known = this.checksums.get(key);
        if (known !== undefined && known !== checksum) throw this.wrongBytes(key);
        this.checksums.set(key, checksum);
        this.times.end(layer, fileBytes(tensors));
        this.ahead.delete(key);
        slot.state = 'ready';
      })
      .catch(error => {
        this.times.end(layer, 0);
        this.ahead.delete(key);
        this.where.delete(key);
        this.tableOf[layer]!.clear(slot);
        const { visit } = this;
        slot.pinned = false;
        const cancelled = error instanceof FileReadError && error.reason === 'cancelled';
        if (!cancelled) this.times.sums.failures++;
        if (!visit?.held.delete(slot)) return; // nobody waits: it is tried again when somebody does
        if (!cancelled) {
          visit.failure ??= error;
          return;
        }
        visit.missing.push(key); // wanted after all, and a moment too late
        this.readMissing(visit);
      });
    const done = reading.then(() => {
      this.underWay.delete(done);
      this.visit?.wake();
    });
    this.underWay.add(done);
    return done;
  }

  private wrongBytes(key: number): CheckpointError {
    const { index, gate } = this.layers[this.layerOf(key)]!;
    const expert = key % this.use.expertsPerLayer;
    return new CheckpointError(
      this.path,
      `expert ${expert} of layer ${index} (${gate.name} and its like) has other bytes than when it was read before. The disk or the memory fails, or the file was changed; check it against its source.`,
    );
  }

  private layerOf(key: number): number {
    return Math.floor(key / this.use.expertsPerLayer);
  }
}
