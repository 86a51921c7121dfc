// A checksum of an expert's bytes as they are in its file: what was right once is recognized when it is read again.
// Kernels compute the same: src/backends/kernels/checksum.cpp.

/** Bytes of a chunk, at most, but at least one tile of rows. */
const mostChunkBytes = 2 * 2 ** 20;
const lanes = 16;
const [prime1, prime2, prime3, prime4] = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const;

/** Rows that are read and summed up at once: whole tiles of sixteen. */
export const chunkRowsOf = (rowBytes: number): number => Math.max(1, Math.floor(mostChunkBytes / rowBytes / 16)) * 16;

/** The sum of one chunk, which comes in pieces of any size. Rounds are those of XXH32 (Yann Collet), in sixteen lanes. */
class ChunkSum {
  private readonly lane = new Uint32Array(lanes);
  private readonly rest = new Uint8Array(4 * lanes);
  private held = 0;
  private count = 0;

  constructor() {
    for (let i = 0; i < lanes; i++) this.lane[i] = Math.imul(i, prime3) + prime1;
  }

  add(bytes: Uint8Array): void {
    this.count += bytes.length;
    let at = 0;
    if (this.held > 0) {
      at = Math.min(bytes.length, this.rest.length - this.held);
      this.rest.set(bytes.subarray(0, at), this.held);
      this.held += at;
      if (this.held < this.rest.length) return;
      this.rounds(this.rest);
    }
    const whole = at + Math.floor((bytes.length - at) / this.rest.length) * this.rest.length;
    if (whole > at) this.rounds(bytes.subarray(at, whole));
    this.held = bytes.length - whole;
    this.rest.set(bytes.subarray(whole));
  }

  end(part: number, chunk: number): bigint {
    if (this.held > 0) {
      this.rest.fill(0, this.held);
      this.rounds(this.rest);
    }
    let low = (Math.imul(this.count, prime4) + part) >>> 0;
    let high = (Math.imul(chunk, prime3) + part + 1) >>> 0;
    for (const lane of this.lane) {
      low = Math.imul(low ^ lane, prime1);
      low ^= low >>> 15;
      high = Math.imul(high + lane, prime2);
      high ^= high >>> 13;
    }
    return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  }

  private rounds(bytes: Uint8Array): void {
    const { lane } = this;
    // Bytes need not lie at a multiple of four.
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length; at += 4 * lanes)
      for (let i = 0; i < lanes; i++) {
        const sum = (lane[i]! + Math.imul(view.getUint32(at + 4 * i, true), prime2)) | 0;
        lane[i] = Math.imul((sum << 13) | (sum >>> 19), prime1);
      }
  }
}

/** The checksum of several matrices together; the bytes of each come in ascending pieces, the matrices side by side. */
export class Checksum {
  private sum = 0n;
  private readonly parts: { chunkBytes: number; bytes: number; done: number; now: ChunkSum }[];

  /** @param parts bytes of each matrix, and of its chunks */
  constructor(parts: readonly { readonly bytes: number; readonly chunkBytes: number }[]) {
    this.parts = parts.map(part => ({ ...part, done: 0, now: new ChunkSum() }));
  }

  add(part: number, piece: Uint8Array): void {
    const state = this.parts[part]!;
    for (let at = 0; at < piece.length; ) {
      const inChunk = state.done % state.chunkBytes;
      const length = Math.min(piece.length - at, state.chunkBytes - inChunk);
      state.now.add(piece.subarray(at, at + length));
      at += length;
      state.done += length;
      if (state.done % state.chunkBytes !== 0 && state.done < state.bytes) continue;
      this.sum += state.now.end(part, Math.ceil(state.done / state.chunkBytes) - 1);
      state.now = new ChunkSum();
    }
  }

  get value(): bigint {
    return BigInt.asUintN(64, this.sum);
  }
}
