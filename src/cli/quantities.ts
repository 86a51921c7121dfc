// Numbers as people read them: bytes, counts, durations, rates.

const units = ['', 'K', 'M', 'G', 'T'] as const;

function scaled(value: number, significant: number): { text: string; unit: string } {
  let power = 0;
  let rest = value;
  while (Math.abs(rest) >= 1000 && power < units.length - 1) {
    rest /= 1000;
    power++;
  }
  if (power === 0) return { text: Number.isInteger(rest) ? String(rest) : rest.toFixed(1), unit: '' };
  const whole = Math.abs(rest) >= 100 ? 3 : Math.abs(rest) >= 10 ? 2 : 1;
  return { text: rest.toFixed(Math.max(0, significant - whole)), unit: units[power]! };
}

/** Decimal units, as disks and downloads are sold: 105 MB. */
export function bytesText(bytes: number): string {
  const { text, unit } = scaled(bytes, 3);
  return `${text} ${unit === 'K' ? 'k' : unit}B`;
}

/** 134.5 M, 400.7 B (billion, as parameters are counted). */
export function countText(count: number): string {
  const { text, unit } = scaled(count, 4);
  return unit === '' ? text : `${text} ${unit === 'G' ? 'B' : unit}`;
}

/** 0.42 s, 3 min 20 s. */
export function durationText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** 1 token, 2 tokens. */
export const amount = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Items a second, 0 where no time has passed. */
export const perSecond = (items: number, ms: number): number => (ms > 0 ? (items / ms) * 1000 : 0);

export const rateText = (perSecondValue: number): string =>
  perSecondValue >= 100 ? perSecondValue.toFixed(0) : perSecondValue.toFixed(1);

/** What computes: "native avx2, 2 threads". */
export const computedBy = (info: {
  readonly backend: string;
  readonly variant?: string;
  readonly threads: number;
}): string =>
  `${info.backend}${info.variant ? ` ${info.variant}` : ''}, ${info.threads} thread${info.threads === 1 ? '' : 's'}`;
