// What was measured of this machine, kept for a day in a file beside the library: a plan need not measure again.

import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import type { Backend } from '../backends/backend.ts';
import type { DType } from '../checkpoint/dtype.ts';
import { measureDisk } from './disk.ts';
import { type FormatSpeed, type MachineSpeed, measureCommon, measureFormat, speedKey } from './machine.ts';

const KEPT_MS = 24 * 3600e3;
/** Counts changes of what is measured. */
const VERSION = 3;

interface Dated<T> {
  readonly at: number;
  readonly value: T;
}

interface Kept {
  readonly version: number;
  /** By `computedBy`. */
  readonly common: Record<string, Dated<Omit<MachineSpeed, 'formats'>>>;
  /** By `computedBy` and `speedKey`. */
  readonly formats: Record<string, Dated<FormatSpeed>>;
  /** By device. */
  readonly disks: Record<string, Dated<number>>;
}

/** What computes, as far as its speed goes. */
export interface Computing {
  readonly backend: string;
  readonly variant?: string;
  readonly threads: number;
}

export interface Wanted {
  readonly dtype: DType;
  readonly columns: number;
}

const nameOf = ({ backend, variant, threads }: Computing): string =>
  [cpus()[0]?.model.trim(), process.version, backend, variant, threads].join(' ');

const isFresh = (dated: Dated<unknown> | undefined): boolean =>
  dated !== undefined && Date.now() - dated.at < KEPT_MS && dated.at <= Date.now();

/** Measurements that are kept in a folder. A file that cannot be read or written is none. */
export class Measured {
  readonly #path: string;
  readonly #kept: Kept;

  private constructor(path: string, kept: Kept) {
    this.#path = path;
    this.#kept = kept;
  }

  /** @param folder of the library */
  static async open(folder: string): Promise<Measured> {
    const path = join(folder, '.open-maverick', 'machine.json');
    const none: Kept = { version: VERSION, common: {}, formats: {}, disks: {} };
    const text = await readFile(path, 'utf8').catch(() => '{}');
    try {
      const kept = JSON.parse(text) as Partial<Kept>;
      return new Measured(path, kept.version === VERSION ? { ...none, ...kept } : none);
    } catch {
      return new Measured(path, none);
    }
  }

  /** What is known of these formats; null unless all of it is, and fresh. */
  speedOf(computing: Computing, wanted: readonly Wanted[]): MachineSpeed | null {
    const name = nameOf(computing);
    const common = this.#kept.common[name];
    const formats: Record<string, FormatSpeed> = {};
    for (const { dtype, columns } of wanted) {
      const key = speedKey(dtype, columns);
      const known = this.#kept.formats[`${name} ${key}`];
      if (!isFresh(known)) return null;
      formats[key] = known!.value;
    }
    return isFresh(common) ? { ...common!.value, formats } : null;
  }

  /**
   * The same, with what is missing measured.
   * @param again measures all of it
   * @param onStep called before each measurement
   */
  async measure(
    backend: Backend,
    wanted: readonly Wanted[],
    again: boolean,
    onStep: (done: number, all: number) => void = () => {},
  ): Promise<MachineSpeed> {
    const { name: own, variant, threads } = backend;
    const computing = { backend: own, ...(variant && { variant }), threads };
    const name = nameOf(computing);
    const keys = [...new Set(wanted.map(({ dtype, columns }) => speedKey(dtype, columns)))];
    const missing = keys.filter(key => again || !isFresh(this.#kept.formats[`${name} ${key}`]));
    if (again || !isFresh(this.#kept.common[name])) {
      onStep(0, missing.length + 1);
      this.#kept.common[name] = { at: Date.now(), value: await measureCommon(backend) };
    }
    for (const [i, key] of missing.entries()) {
      onStep(i + 1, missing.length + 1);
      const [dtype, length] = key.split(' ') as [DType, string];
      const value = await measureFormat(backend, dtype, length === 'long');
      this.#kept.formats[`${name} ${key}`] = { at: Date.now(), value };
    }
    await this.#save();
    return this.speedOf(computing, wanted)!;
  }

  /** Bytes a second of the disk that a file or a folder is on, where known. */
  async diskOf(place: string): Promise<number | null> {
    const known = this.#kept.disks[await deviceOf(place)];
    return isFresh(known) ? known!.value : null;
  }

  /** The same, measured where it is not known. @param file one to read from, or null */
  async measureDisk(folder: string, file: string | null, again: boolean, backend: Backend): Promise<number | null> {
    const known = again ? null : await this.diskOf(file ?? folder);
    if (known !== null) return known;
    const value = await measureDisk(folder, file, backend);
    if (value !== null) this.#kept.disks[await deviceOf(file ?? folder)] = { at: Date.now(), value };
    await this.#save();
    return value;
  }

  async #save(): Promise<void> {
    const temporary = `${this.#path}.${process.pid}.tmp`;
    try {
      await mkdir(dirname(this.#path), { recursive: true });
      await writeFile(temporary, JSON.stringify(this.#kept));
      await rename(temporary, this.#path);
    } catch {
      // Nowhere to keep it: the next plan measures again.
    }
  }
}

/** The device that a path is on, or of the nearest folder above that exists. */
async function deviceOf(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    const found = await stat(at).catch(() => null);
    if (found) return String(found.dev);
    if (dirname(at) === at) return 'unknown';
  }
}
