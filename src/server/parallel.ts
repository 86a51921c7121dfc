// Several generators as one: values in the order in which they come, a bounded number running at once.

/**
 * @param sources started in order, `limit` at a time.
 * @param leave called before the rest is told to end when one source fails or the reader stops early.
 */
export async function* inParallel<T>(
  sources: readonly (() => AsyncGenerator<T, void>)[],
  limit: number,
  leave: () => void,
): AsyncGenerator<T, void> {
  const waiting = sources.values();
  const running = new Map<
    AsyncGenerator<T, void>,
    Promise<{ source: AsyncGenerator<T, void>; next: IteratorResult<T, void> }>
  >();
  const advance = (source: AsyncGenerator<T, void>) => {
    const next = source.next().then(next => ({ source, next }));
    next.catch(() => {}); // it may fail while the reader is busy; the next race sees it
    running.set(source, next);
  };
  const begin = () => {
    const { value } = waiting.next();
    if (value) advance(value());
  };
  for (let i = 0; i < limit; i++) begin();
  try {
    while (running.size > 0) {
      const { source, next } = await Promise.race(running.values());
      if (next.done) {
        running.delete(source);
        begin();
      } else {
        advance(source);
        yield next.value;
      }
    }
  } finally {
    if (running.size > 0) {
      leave();
      await Promise.allSettled([...running.values(), ...[...running.keys()].map(source => source.return())]);
    }
  }
}
