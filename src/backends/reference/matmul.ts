// Dot products of rows with rows, the one inner loop of the reference backend.

/**
 * y[r, o] = Σᵢ x[r, i] · w[o, i], for `rows` rows of x and `outs` rows of w of `n` numbers each.
 *
 * Every sum is formed in doubles with i ascending, one addition a term, and rounded to float32 once. The tiles below only
 * decide which sums advance together, so a result never depends on what is computed beside it.
 * @param yStride numbers from one row of y to the next.
 */
export function timesRows(
  x: Float32Array,
  xAt: number,
  rows: number,
  w: Float32Array,
  wAt: number,
  outs: number,
  n: number,
  y: Float32Array,
  yAt: number,
  yStride: number,
): void {
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    let o = 0;
    for (; o + 2 <= outs; o += 2) tile4x2(x, xAt + r * n, w, wAt + o * n, n, y, yAt + r * yStride + o, yStride);
    for (; o < outs; o++)
      for (let i = 0; i < 4; i++) y[yAt + (r + i) * yStride + o] = dot(x, xAt + (r + i) * n, w, wAt + o * n, n);
  }
  for (; r < rows; r++) {
    let o = 0;
    for (; o + 4 <= outs; o += 4) tile1x4(x, xAt + r * n, w, wAt + o * n, n, y, yAt + r * yStride + o);
    for (; o < outs; o++) y[yAt + r * yStride + o] = dot(x, xAt + r * n, w, wAt + o * n, n);
  }
}

function dot(x: Float32Array, xAt: number, w: Float32Array, wAt: number, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += x[xAt + i]! * w[wAt + i]!;
  return sum;
}

/** Four rows of x by two of w: eight sums in registers for six loads. */
function tile4x2(
  x: Float32Array,
  x0: number,
  w: Float32Array,
  w0: number,
  n: number,
  y: Float32Array,
  yAt: number,
  yStride: number,
): void {
  const x1 = x0 + n;
  const x2 = x1 + n;
  const x3 = x2 + n;
  const w1 = w0 + n;
  let s00 = 0;
  let s10 = 0;
  let s20 = 0;
  let s30 = 0;
  let s01 = 0;
  let s11 = 0;
  let s21 = 0;
  let s31 = 0;
  for (let i = 0; i < n; i++) {
    const a = w[w0 + i]!;
    const b = w[w1 + i]!;
    const p = x[x0 + i]!;
    const q = x[x1 + i]!;
    const r = x[x2 + i]!;
    const s = x[x3 + i]!;
    s00 += p * a;
    s10 += q * a;
    s20 += r * a;
    s30 += s * a;
    s01 += p * b;
    s11 += q * b;
    s21 += r * b;
    s31 += s * b;
  }
  y[yAt] = s00;
  y[yAt + 1] = s01;
  y[yAt + yStride] = s10;
  y[yAt + yStride + 1] = s11;
  y[yAt + 2 * yStride] = s20;
  y[yAt + 2 * yStride + 1] = s21;
  y[yAt + 3 * yStride] = s30;
  y[yAt + 3 * yStride + 1] = s31;
}

/** One row of x by four of w, for decoding: four independent chains of additions. */
function tile1x4(
  x: Float32Array,
  xAt: number,
  w: Float32Array,
  w0: number,
  n: number,
  y: Float32Array,
  yAt: number,
): void {
  const w1 = w0 + n;
  const w2 = w1 + n;
  const w3 = w2 + n;
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (let i = 0; i < n; i++) {
    const p = x[xAt + i]!;
    s0 += p * w[w0 + i]!;
    s1 += p * w[w1 + i]!;
    s2 += p * w[w2 + i]!;
    s3 += p * w[w3 + i]!;
  }
  y[yAt] = s0;
  y[yAt + 1] = s1;
  y[yAt + 2] = s2;
  y[yAt + 3] = s3;
}
