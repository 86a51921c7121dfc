// Encoding to the formats whose nibbles index sixteen uneven values: IQ4_NL and IQ4_XS.
// Layouts: backends/reference/blocks32.ts and blocks-lookup.ts. Rounding: ggml-quants.c (ggml-org/ggml), bit for bit.
import { iq4Values } from '../../backends/formats-tables.ts';
import { nearestIndex, tiny } from './rounding.ts';
import { clamp, f, nearest, putHalf, putWord16, sumOfSquares, weigh } from './single.ts';

/** The scale of 32 values with the least weighted error, of those that put the farthest value at −134 … −120. */
function scaleOf(x: Float32Array, weights: Float32Array): number {
  const most = x.reduce((far, value) => (Math.abs(value) > Math.abs(far) ? value : far), 0);
  if (Math.abs(most) < tiny) return 0;
  let scale = 0;
  let best = 0;
  for (let turn = -8; turn <= 7; turn++) {
    const first = turn === -8; // the plain scale, which is taken as it is
    const inverse = first ? f(1 / f(-most / iq4Values[0]!)) : f((turn + iq4Values[0]!) / most);
    let sumQX = 0;
    let sumQ2 = 0;
    for (let j = 0; j < 32; j++) {
      const q = iq4Values[nearestIndex(iq4Values, f(inverse * x[j]!))]!;
      const wq = f(weights[j]! * q);
      sumQX = f(sumQX + f(wq * x[j]!));
      sumQ2 = f(sumQ2 + f(wq * q));
    }
    if (first || (sumQ2 > 0 && f(sumQX * sumQX) > f(best * sumQ2))) {
      scale = sumQ2 > 0 ? f(sumQX / sumQ2) : 0;
      best = f(scale * sumQX);
    }
  }
  return scale;
}

/** Scales of the sub-blocks of 32 values that share a mean square. */
function scalesOf(x: Float32Array, importance: Float32Array | undefined): Float32Array {
  const sigma2 = f(sumOfSquares(x) * f(2 / x.length));
  return Float32Array.from({ length: x.length / 32 }, (_, sub) => {
    const part = x.subarray(32 * sub, 32 * (sub + 1));
    const weights = importance
      ? weigh(part, importance.subarray(32 * sub, 32 * (sub + 1)), sigma2)
      : part.map(value => f(value * value));
    return scaleOf(part, weights);
  });
}

function putNibbles(x: Float32Array, scale: number, out: Uint8Array, at: number): void {
  const inverse = scale === 0 ? 0 : f(1 / scale);
  const index = (j: number): number => nearestIndex(iq4Values, f(inverse * x[j]!));
  for (let j = 0; j < 16; j++) out[at + j] = index(j) | (index(j + 16) << 4);
}

export function encodeIQ4_NL(row: Float32Array, out: Uint8Array, importance?: Float32Array): void {
  for (let from = 0, at = 0; from < row.length; from += 32, at += 18) {
    const x = row.subarray(from, from + 32);
    const scale = scalesOf(x, importance?.subarray(from, from + 32))[0]!;
    putHalf(out, at, scale);
    putNibbles(x, scale, out, at + 2);
  }
}

export function encodeIQ4_XS(row: Float32Array, out: Uint8Array, importance?: Float32Array): void {
  for (let from = 0, at = 0; from < row.length; from += 256, at += 136) {
    const x = row.subarray(from, from + 256);
    const scales = scalesOf(x, importance?.subarray(from, from + 256));
    const most = scales.reduce((far, value) => (Math.abs(value) > Math.abs(far) ? value : far), 0);
    const scale = f(-most / 32);
    const inverse = scale === 0 ? 0 : f(1 / scale);
    putHalf(out, at, scale);
    let high = 0;
    for (let sub = 0; sub < 8; sub++) {
      const level = clamp(nearest(f(inverse * scales[sub]!)), -32, 31);
      putNibbles(x.subarray(32 * sub, 32 * (sub + 1)), f(scale * level), out, at + 8 + 16 * sub);
      const low = (level + 32) & 15;
      if (sub % 2 === 0) out[at + 4 + sub / 2] = low;
      else out[at + 4 + (sub - 1) / 2]! |= low << 4;
      high |= ((level + 32) >> 4) << (2 * sub);
    }
    putWord16(out, at + 2, high);
  }
}
