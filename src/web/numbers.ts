// Numbers in words that people read at a glance.

/** '17.2 B', '135 M', '900'. */
export function count(value: number): string {
  for (const [size, unit] of [
    [1e12, ' T'],
    [1e9, ' B'],
    [1e6, ' M'],
    [1e3, ' K'],
  ] as const)
    if (value >= size) return `${short(value / size)}${unit}`;
  return String(value);
}

/** '94 MB', '3.2 GB'. */
export function bytes(value: number): string {
  for (const [size, unit] of [
    [1e9, 'GB'],
    [1e6, 'MB'],
    [1e3, 'kB'],
  ] as const)
    if (value >= size) return `${short(value / size)} ${unit}`;
  return `${value} bytes`;
}

/** '8.4', '120'. */
export const short = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, '');
