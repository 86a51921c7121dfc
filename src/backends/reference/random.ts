// Repeatable random numbers for tests and for models that mean nothing.

/**
 * A generator of uniform numbers in [0, 1) with 32 random bits each; the same seed gives the same numbers everywhere.
 * Source: "sfc32" of PractRand (Chris Doty-Humphrey, public domain description).
 */
export function seededRandom(seed: number): () => number {
  let a = seed | 0;
  let b = 0x9e3779b9 | 0;
  let c = 0x243f6a88 | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 12; i++) next(); // seeds that differ by a bit must differ from the first number on
  return next;
}

/** A number from N(0, 1), by the method of Box and Muller (1958). */
export function gaussian(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
