// Walks through the front of a source by small ranges: little-endian numbers and text, each doubted before it is believed.
import { CheckpointError } from './checkpoint.ts';
import type { ValueType } from './gguf-format.ts';
import type { Source } from './sources.ts';

/** The most bytes a header may take; the largest known ones, with 260,000 tokens and their merges, take less than 20 MiB. */
export const maxHeaderBytes = 64 * 2 ** 20;
const firstRead = 16 * 2 ** 10;
/** Texts that are decoded together: about so many bytes, and at most so many. */
const packedBytes = 64 * 2 ** 10;
const packedTexts = 2 ** 14;

/**
 * A position in a source. `need` makes bytes available and may wait; the numbers' methods take them and never wait, so that a
 * loop over a million values waits only when the window is used up:
 * `if (cursor.available < 8) await cursor.need(8); const length = cursor.u64();`
 */
export class HeaderCursor {
  /** What is being read, for messages: "metadata general.name". */
  field = 'header';
  readonly #source: Source;
  #start = 0; // the window's place in the source
  #at = 0; // the cursor's place in the window
  #window = new Uint8Array(0);
  #view = new DataView(this.#window.buffer);
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(source: Source) {
    this.#source = source;
  }

  /** Bytes from the start of the source. */
  get position(): number {
    return this.#start + this.#at;
  }

  /** Bytes that can be taken without waiting. */
  get available(): number {
    return this.#window.length - this.#at;
  }

  /** Bytes from here to the end of the source. */
  get remaining(): number {
    return this.#source.size - this.position;
  }

  /**
   * Makes `bytes` bytes available. It reads ahead by no more than a quarter of what was read before, or 16 KiB.
   * @throws CheckpointError when the source ends before, or the header grows beyond all measure.
   */
  async need(bytes: number): Promise<void> {
    if (bytes <= this.available) return;
    if (bytes > this.remaining)
      this.fail(
        `needs ${bytes} bytes at offset ${this.position}, but the file ends at ${this.#source.size}; it is truncated or damaged, fetch it again.`,
      );
    if (this.position + bytes > maxHeaderBytes)
      this.fail(`reaches beyond ${maxHeaderBytes} bytes, the most a header may take; the file is damaged or no model.`);
    const kept = this.#window.subarray(this.#at);
    const ahead = Math.max(bytes, firstRead, Math.floor(this.position / 4));
    const window = new Uint8Array(Math.min(ahead, this.remaining));
    window.set(kept);
    const from = this.position + kept.length;
    const got = await this.#source.read(from, window.subarray(kept.length));
    if (got < window.length - kept.length)
      this.fail(
        `the file was ${this.#source.size} bytes when opened and now ends at ${from + got}; something changes it.`,
      );
    this.#start = this.position;
    this.#at = 0;
    this.#window = window;
    this.#view = new DataView(window.buffer);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A 64-bit number, exact: bigint where a double cannot hold it. */
  u64(): number | bigint {
    const at = this.#take(8);
    const high = this.#view.getUint32(at + 4, true);
    return high < 2 ** 21 ? high * 2 ** 32 + this.#view.getUint32(at, true) : exact(this.#view.getBigUint64(at, true));
  }

  /** A number of things that take at least `bytesEach` bytes each, and so fit into what remains of the source. */
  count(what: string, bytesEach: number, most = Number.POSITIVE_INFINITY): number {
    const offset = this.position;
    const count = this.u64();
    if (count > this.remaining / bytesEach)
      this.fail(
        `${what} is ${count} at offset ${offset}, more than the ${this.remaining} bytes that follow can hold; the file is truncated or damaged.`,
      );
    if (count > most) this.fail(`${what} is ${count} at offset ${offset}, more than the ${most} supported.`);
    return Number(count);
  }

  /** One value of a fixed size. */
  scalar(type: Exclude<ValueType, 'string' | 'array'>): number | bigint | boolean {
    switch (type) {
      case 'u8':
        return this.#view.getUint8(this.#take(1));
      case 'i8':
        return this.#view.getInt8(this.#take(1));
      case 'u16':
        return this.#view.getUint16(this.#take(2), true);
      case 'i16':
        return this.#view.getInt16(this.#take(2), true);
      case 'u32':
        return this.u32();
      case 'i32':
        return this.#view.getInt32(this.#take(4), true);
      case 'f32':
        return this.#view.getFloat32(this.#take(4), true);
      case 'f64':
        return this.#view.getFloat64(this.#take(8), true);
      case 'u64':
        return this.u64();
      case 'i64':
        return exact(this.#view.getBigInt64(this.#take(8), true));
      case 'bool': {
        const value = this.#view.getUint8(this.#take(1));
        if (value > 1) this.fail(`is a bool of ${value} at offset ${this.position - 1}; it must be 0 or 1.`);
        return value === 1;
      }
    }
  }

  /** UTF-8 of `bytes` bytes. */
  text(bytes: number): string {
    const at = this.#take(bytes);
    return this.#decode(this.#window.subarray(at, at + bytes));
  }

  /**
   * `count` texts of at most `mostBytes` bytes each. They are decoded together and cut apart afterwards: one by one, a vocabulary
   * takes three times as long.
   */
  async texts(count: number, mostBytes: number): Promise<string[]> {
    const texts = new Array<string>(count);
    const lengths = new Int32Array(Math.min(count, packedTexts)); // in UTF-16 units
    let packed: Uint8Array = new Uint8Array(packedBytes);
    for (let first = 0, next = 0; next < count; first = next) {
      let used = 0;
      while (next < count && next - first < packedTexts && used < packedBytes) {
        if (this.available < 8) await this.need(8);
        const bytes = this.count('the length of a text', 1, mostBytes);
        if (this.available < bytes) await this.need(bytes);
        if (used + bytes + 1 > packed.length) packed = grown(packed, used + bytes + 1);
        const at = this.#take(bytes);
        let units = 0;
        for (let i = 0; i < bytes; i++) {
          const byte = this.#window[at + i]!;
          packed[used++] = byte;
          if (byte < 0x80 || byte >= 0xc0) units += byte < 0xf0 ? 1 : 2; // what begins with F0 takes a surrogate pair
        }
        packed[used++] = 0; // so that half a character at the end of one text never joins the next
        lengths[next++ - first] = units;
      }
      const together = this.#decode(packed.subarray(0, used));
      for (let i = first, at = 0; i < next; i++) {
        const end = at + lengths[i - first]!;
        texts[i] = together.slice(at, end);
        at = end + 1;
      }
    }
    return texts;
  }

  fail(message: string): never {
    throw new CheckpointError(this.#source.path, `${this.field}: ${message}`);
  }

  #take(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    return at;
  }

  #decode(bytes: Uint8Array): string {
    try {
      return this.#utf8.decode(bytes);
    } catch {
      return this.fail(`a text before offset ${this.position} is not valid UTF-8; the file is damaged.`);
    }
  }
}

function grown(bytes: Uint8Array, length: number): Uint8Array {
  const result = new Uint8Array(length);
  result.set(bytes);
  return result;
}

const exact = (value: bigint): number | bigint =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
