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

/** '85 ms', '1.3 s', '2 min 5 s'. */
export function duration(ms: number): string {
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  if (ms < 60_000) return `${short(ms / 1000)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

const DAY_MS = 24 * 60 * 60 * 1000;
/** How long ago in a word: 'Today', 'Yesterday', 'This week', or the month. @param then, now: ms since 1970. */
export function ageOf(then: number, now: number): string {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (then >= midnight) return 'Today';
  if (then >= midnight - DAY_MS) return 'Yesterday';
  if (then >= midnight - 6 * DAY_MS) return 'This week';
  return new Date(then).toLocaleDateString('en', { month: 'long', year: 'numeric' });
}
