// The life of one request: it ends when the client goes away, when the server stops, or when the answer is complete.

export interface RequestScope {
  /** Aborted when nobody wants the answer any more. */
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
  /** The answer is complete: listen no longer. */
  end(): void;
}

/** Opens scopes that all end with `stopping`. (Combined signals would stay attached to the server's for its whole life.) */
export function createRequestScopes(stopping?: AbortSignal): (client: AbortSignal) => RequestScope {
  const open = new Set<AbortController>();
  stopping?.addEventListener('abort', () => {
    for (const controller of open) controller.abort(stopping.reason);
  });
  return client => {
    const controller = new AbortController();
    const leave = () => controller.abort(client.reason);
    if (stopping?.aborted) controller.abort(stopping.reason);
    if (client.aborted) leave();
    else client.addEventListener('abort', leave, { once: true });
    open.add(controller);
    return {
      signal: controller.signal,
      abort: reason => controller.abort(reason),
      end() {
        client.removeEventListener('abort', leave);
        open.delete(controller);
      },
    };
  };
}
