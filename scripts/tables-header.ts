// The tables of src/backends/formats-tables.ts as C++, for whichever compiler makes the kernels.
import { existsSync } from 'node:fs';

/** C++ text of every table of formats-tables.ts that is an array of integers or a typed array, with the type that holds it. */
export async function tablesHeader(): Promise<string> {
  const url = new URL('../src/backends/formats-tables.ts', import.meta.url);
  const lines = ['// Generated from src/backends/formats-tables.ts.', '#pragma once', '#include <stdint.h>'];
  if (existsSync(url)) {
    for (const [name, table] of Object.entries((await import(url.href)) as Record<string, unknown>)) {
      if (!Array.isArray(table) && !ArrayBuffer.isView(table)) continue;
      const values = Array.from(table as unknown as ArrayLike<number>);
      if (!values.every(Number.isInteger)) continue;
      const snake = name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);
      lines.push(
        `alignas(64) static constexpr ${cType(table, values)} ${snake}[${values.length}] = {${values.join(', ')}};`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

function cType(table: unknown, values: number[]): string {
  if (table instanceof Int8Array) return 'int8_t';
  if (table instanceof Uint8Array) return 'uint8_t';
  if (table instanceof Uint16Array) return 'uint16_t';
  if (table instanceof Uint32Array) return 'uint32_t';
  const signed = values.some(value => value < 0);
  const most = Math.max(...values.map(value => (value < 0 ? -2 * value - 1 : value)));
  const bits = signed ? (most < 256 ? 8 : 32) : most < 256 ? 8 : most < 65536 ? 16 : 32;
  return `${signed ? '' : 'u'}int${bits}_t`;
}
