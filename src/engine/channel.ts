// A queue between one producer that never waits and one consumer that does.

export interface Channel<T, End> {
  push(value: T): void;
  end(value: End): void;
  fail(error: unknown): void;
  /** The next value; after the last, what it ended with. Rejects once it failed and everything pushed before is taken. */
  next(): Promise<{ readonly done: false; readonly value: T } | { readonly done: true; readonly value: End }>;
  /** Values pushed and not yet taken. */
  readonly size: number;
}

export function createChannel<T, End>(): Channel<T, End> {
  let values: T[] = [];
  let head = 0;
  let finish: { readonly value: End } | { readonly error: unknown } | null = null;
  let wake: (() => void) | null = null;
  const close = (how: { readonly value: End } | { readonly error: unknown }): void => {
    finish ??= how;
    wake?.();
  };
  return {
    push(value) {
      if (finish) return;
      values.push(value);
      wake?.();
    },
    end: value => close({ value }),
    fail: error => close({ error }),
    async next() {
      while (head === values.length && !finish) {
        await new Promise<void>(resolve => {
          wake = resolve;
        });
        wake = null;
      }
      if (head < values.length) {
        const value = values[head++]!;
        if (head === values.length) {
          values = [];
          head = 0;
        }
        return { done: false, value };
      }
      if (finish && 'error' in finish) throw finish.error;
      return { done: true, value: finish!.value };
    },
    get size() {
      return values.length - head;
    },
  };
}
