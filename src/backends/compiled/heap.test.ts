// The allocator: what it gives out never overlaps, and what is freed can be had again.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { alignment, alignUp, Heap } from './heap.ts';

test('pieces are aligned, apart, within bounds, and all of it comes back', () => {
  const action = fc.record({ free: fc.boolean(), bytes: fc.integer({ min: 0, max: 5000 }), pick: fc.nat() });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), actions => {
      const heap = new Heap(100, 40_000);
      const start = heap.top;
      const live: { address: number; bytes: number; end: number }[] = [];
      for (const { free, bytes, pick } of actions) {
        if (free && live.length > 0) {
          const [piece] = live.splice(pick % live.length, 1);
          heap.free(piece!.address, piece!.bytes);
          continue;
        }
        const address = heap.allocate(bytes);
        if (address === undefined) {
          expect(heap.available).toBeLessThan(40_000 - start);
          continue;
        }
        const end = address + Math.max(alignment, alignUp(bytes));
        expect(address % alignment).toBe(0);
        expect(address).toBeGreaterThanOrEqual(start);
        expect(end).toBeLessThanOrEqual(heap.top);
        for (const piece of live) expect(end <= piece.address || address >= piece.end).toBe(true);
        live.push({ address, bytes, end });
      }
      expect(heap.allocated).toBe(live.reduce((sum, piece) => sum + piece.end - piece.address, 0));
      expect(heap.available).toBe(40_000 - start - heap.allocated);
      for (const { address, bytes } of live) heap.free(address, bytes);
      expect(heap.allocated).toBe(0);
      // Freed neighbours have merged: the whole is one piece again.
      const whole = alignUp(40_000 - start) - alignment;
      expect(heap.allocate(whole)).toBe(start);
    }),
  );
});

test('what was not allocated cannot be freed', () => {
  const heap = new Heap(0, 1000);
  const address = heap.allocate(10)!;
  expect(() => heap.free(address + alignment, 10)).toThrow(/not allocated/);
  heap.free(address, 10);
  expect(() => heap.free(address, 10)).toThrow(/not allocated/);
});

test('a full heap says so and stays usable', () => {
  const heap = new Heap(0, 1000);
  expect(heap.allocate(1001)).toBeUndefined();
  const address = heap.allocate(900)!;
  expect(heap.allocate(500)).toBeUndefined();
  heap.free(address, 900);
  expect(heap.allocate(500)).toBe(address);
});
