// A small seeded generator of random numbers: xoshiro128** (Blackman & Vigna, prng.di.unimi.it), seeded by splitmix32.

/** Numbers in [0, 1), 53 bits each. */
export type Random = () => number;

/** The same seed gives the same numbers, on every machine. @param seed any safe integer */
export function seededRandom(seed: number): Random {
  // Two halves, so that seeds that differ above 2^32 differ here too.
  let mix = (seed | 0) ^ Math.imul(Math.floor(seed / 2 ** 32) | 0, 0x9e3779b1);
  const next = (): number => {
    mix = (mix + 0x9e3779b9) | 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) | 0;
  };
  let a = next();
  let b = next();
  let c = next();
  let d = next();
  const bits = (): number => {
    const scrambled = Math.imul(rotate(Math.imul(b, 5), 7), 9);
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotate(d, 11);
    return scrambled >>> 0;
  };
  return () => ((bits() >>> 6) * 2 ** 27 + (bits() >>> 5)) / 2 ** 53;
}

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));
