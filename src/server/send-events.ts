// Events from their generator to a socket, without the web streams between: for many readers of few bytes each those cost more
// than all else that is done for a token.
import type { ServerResponse } from 'node:http';
import { type EventText, eventTextOf } from './sse.ts';

/** Sends a response that is a stream of events. @returns false when it is none: then nothing is done */
export function sendEvents(response: Response, outgoing: ServerResponse): boolean {
  const text = eventTextOf(response);
  if (!text) return false;
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.flushHeaders();
  void send(text, outgoing);
  return true;
}

async function send(text: EventText, outgoing: ServerResponse): Promise<void> {
  if (outgoing.destroyed) return text.leave();
  let wake = (): void => {};
  outgoing.on('drain', () => wake());
  outgoing.once('close', () => {
    wake();
    void text.leave(); // does nothing where all has been said
  });
  for (;;) {
    const piece = await text.next();
    if (outgoing.destroyed) return text.leave();
    if (piece === null) {
      outgoing.end();
      return;
    }
    // Who does not read is not computed for: the next piece is asked for when this one is on its way.
    if (!outgoing.write(piece) && !outgoing.destroyed)
      await new Promise<void>(resolve => {
        wake = resolve;
      });
  }
}
