// The angles of rotary embeddings (RoFormer, arXiv 2104.09864).

/**
 * (cos, sin) of positions[t] · frequencies[j] as [T, frequencies, 2]. The angle is a double, so that positions of millions keep
 * the accuracy of a float.
 */
export function angleTable(frequencies: Float32Array, positions: Int32Array, into: Float32Array): void {
  let at = 0;
  for (const position of positions) {
    for (const frequency of frequencies) {
      const angle = position * frequency;
      into[at++] = Math.cos(angle);
      into[at++] = Math.sin(angle);
    }
  }
}
