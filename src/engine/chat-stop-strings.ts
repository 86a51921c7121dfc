// Ends a text before the first of some strings, wherever they are cut into pieces, and holds back no more than it must.

export interface StopStrings {
  /** Takes more text and gives what can be shown: all but an end that could still become a stop string. */
  push(text: string): string;
  /** True once a stop string was found; what follows it is dropped. */
  readonly stopped: boolean;
  /** The string that was found. */
  readonly found: string | undefined;
  /** No more text comes: gives what was held back. */
  end(): string;
}

/**
 * The string that is complete first counts; of several that end together, the one that begins first. So the result is the same
 * for every way the text is cut.
 * @param stops none of them empty
 */
export function createStopStrings(stops: readonly string[]): StopStrings {
  const longest = Math.max(0, ...stops.map(stop => stop.length));
  let held = '';
  let found: string | undefined;
  return {
    push(text) {
      if (found !== undefined) return '';
      held += text;
      let end = Infinity;
      let start = Infinity;
      let first: string | undefined;
      for (const stop of stops) {
        const at = held.indexOf(stop);
        if (at < 0 || at + stop.length > end) continue;
        if (at + stop.length === end && at >= start) continue;
        start = at;
        end = at + stop.length;
        first = stop;
      }
      if (end < Infinity) {
        found = first;
        const shown = held.slice(0, start);
        held = '';
        return shown;
      }
      let keep = Math.min(held.length, longest - 1);
      while (keep > 0 && !couldBegin(stops, held, keep)) keep--;
      const shown = held.slice(0, held.length - Math.max(0, keep));
      held = held.slice(shown.length);
      return shown;
    },
    get stopped() {
      return found !== undefined;
    },
    get found() {
      return found;
    },
    end() {
      const rest = held;
      held = '';
      return rest;
    },
  };
}

const couldBegin = (stops: readonly string[], text: string, length: number): boolean =>
  stops.some(stop => length < stop.length && text.endsWith(stop.slice(0, length)));
