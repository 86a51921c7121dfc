// Finds the compiled kernels that this processor runs: the best of those built here, or of the prebuilt package.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelQueries } from '../compiled/commands.ts';

/** A backend's banks and threads, on the other side of Node-API. */
export type Pool = { readonly [pool]: never };
declare const pool: unique symbol;

/** How a read ended: 0, an error of the system's, or less than 0 what native/reader.h says. */
export type ReadOver = (id: number, status: number, checksumHigh: number, checksumLow: number) => void;

/** What native/addon.cpp exports. Addresses and sizes are numbers, exact below 2⁵³. */
export interface Addon extends KernelQueries {
  supported(): boolean;
  createPool(threads: number): Pool;
  reserve(pool: Pool, bytes: number): { readonly base: number; readonly buffer: ArrayBuffer } | undefined;
  commit(pool: Pool, bank: number, from: number, to: number): boolean;
  discard(pool: Pool, bank: number, from: number, to: number): void;
  expect(pool: Pool, bank: number, from: number, to: number): void;
  attach(pool: Pool, bank: number, control: number, ...programs: readonly number[]): void;
  start(pool: Pool): void;
  begin(pool: Pool, bank: number, turn: number, threads: number): number;
  finish(pool: Pool, bank: number, turn: number, threads: number): number;
  dispose(pool: Pool): void;
  // Where the system has what they need.
  createReader?(pool: Pool, threads: number, idleMost: number, chunkBytes: number, over: ReadOver): void;
  openFile?(pool: Pool, path: string): number;
  read?(pool: Pool, id: number, urgent: number, parts: Float64Array): void;
  hurryRead?(pool: Pool, id: number): void;
  cancelRead?(pool: Pool, id: number): void;
  failRead?(pool: Pool, after: number, kind: number): void;
}

/** An addon's exports, and the instruction set that it was compiled for. */
export interface Native<A> {
  readonly addon: A;
  readonly variant: string;
}
export type NativeKernels = Native<Addon>;

/** Instruction sets that kernels are compiled for, best first. scripts/build-native.ts knows their compiler flags. */
export const variants: Readonly<Record<string, readonly string[]>> = {
  x64: ['avx512vnni', 'avxvnni', 'avx2', 'plain'],
  arm64: ['i8mm', 'dotprod', 'plain'],
};

/** The package that holds prebuilt kernels for a platform. */
export const prebuiltPackage = (platform: string = process.platform, architecture: string = process.arch): string =>
  `open-maverick-${platform}-${architecture}`;

const requireFrom = createRequire(import.meta.url);

/** Built here first: it is what the sources say. A prebuilt package of another version would be called wrongly. */
function folders(): string[] {
  const found = [fileURLToPath(new URL('../../../dist/native', import.meta.url))];
  const versionOf = (path: string): string => (requireFrom(path) as { version: string }).version;
  try {
    const path = requireFrom.resolve(`${prebuiltPackage()}/package.json`);
    if (versionOf(path) === versionOf('../../../package.json')) found.push(dirname(path));
  } catch {
    // Not installed: npm takes it only where it fits.
  }
  return found;
}

/**
 * The best kernels for this processor, or why there are none. The variable MAVERICK_NATIVE, for diagnosing, names the one variant
 * to take, or is `off`.
 * @param places where to look, in order
 */
export const loadNative = (places: readonly string[] = folders()): NativeKernels | { readonly missing: string } =>
  loadAddon<Addon>('maverick', places);

/** The same for any addon: its files are `NAME-VARIANT.node`. */
export function loadAddon<A extends { supported(): boolean }>(
  name: string,
  places: readonly string[] = folders(),
): Native<A> | { readonly missing: string } {
  const wanted = process.env.MAVERICK_NATIVE;
  if (wanted === 'off') return { missing: 'MAVERICK_NATIVE is off' };
  const known = variants[process.arch] ?? [];
  if (wanted && !known.includes(wanted))
    return { missing: `MAVERICK_NATIVE is ${wanted}, known here are ${[...known, 'off'].join(', ')}` };
  let missing = '';
  for (const folder of places)
    for (const variant of wanted ? [wanted] : known) {
      const path = join(folder, `${name}-${variant}.node`);
      if (!existsSync(path)) continue;
      try {
        const addon = requireFrom(path) as A;
        if (addon.supported()) return { addon, variant };
        missing ||= `this processor does not run ${variant}`;
      } catch (error) {
        missing ||= `${path} cannot be loaded: ${(error as Error).message.split('\n')[0]}`;
      }
    }
  return { missing: missing || `${wanted ? `${name}-${wanted}.node is` : 'they are'} not built` };
}
