// Which parts of a memory are in use: first fit over the gaps, neighbours merged when freed.

/** Addresses are multiples of this: a cache line. */
export const alignment = 64;

export const alignUp = (bytes: number, to: number = alignment): number => Math.ceil(bytes / to) * to;

export class Heap {
  /** Bytes in use, rounded up to the alignment. */
  allocated = 0;
  /** Nothing at or past this address was ever used. */
  top: number;
  readonly limit: number;
  /** Bytes from the first address to the limit. */
  readonly size: number;
  /** Unused stretches below `top`, ascending, never adjacent. */
  private readonly gaps: { start: number; end: number }[] = [];

  constructor(start: number, limit: number) {
    this.top = alignUp(start);
    this.limit = limit;
    this.size = limit - this.top;
  }

  /** An address with `bytes` bytes behind it, or undefined when there is no room. The bytes hold anything. */
  allocate(bytes: number): number | undefined {
    const size = sizeOf(bytes);
    for (let index = 0; index < this.gaps.length; index++) {
      const gap = this.gaps[index]!;
      if (gap.end - gap.start < size) continue;
      const address = gap.start;
      gap.start += size;
      if (gap.start === gap.end) this.gaps.splice(index, 1);
      this.allocated += size;
      return address;
    }
    const last = this.gaps.at(-1);
    const address = last?.end === this.top ? last.start : this.top;
    if (address + size > this.limit) return undefined;
    if (last && address === last.start) this.gaps.pop();
    this.top = address + size;
    this.allocated += size;
    return address;
  }

  /**
   * Gives back what `allocate(bytes)` gave.
   * @throws Error when some of it is not in use: a mistake of the caller's.
   */
  free(address: number, bytes: number): void {
    const size = sizeOf(bytes);
    const end = address + size;
    let index = this.gaps.length;
    while (index > 0 && this.gaps[index - 1]!.start > address) index--;
    const before = this.gaps[index - 1];
    const after = this.gaps[index];
    if (end > this.top || (before && before.end > address) || (after && after.start < end))
      throw new Error(`Address ${address} is not allocated.`);
    this.allocated -= size;
    if (before?.end === address && after?.start === end) {
      before.end = after.end;
      this.gaps.splice(index, 1);
    } else if (before?.end === address) before.end = end;
    else if (after?.start === end) after.start = address;
    else this.gaps.splice(index, 0, { start: address, end });
  }

  /** Bytes that could still be allocated, if they need not be in one piece. */
  get available(): number {
    return this.gaps.reduce((sum, gap) => sum + gap.end - gap.start, this.limit - this.top);
  }
}

const sizeOf = (bytes: number): number => Math.max(alignment, alignUp(bytes));
