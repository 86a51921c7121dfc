// The places in the cache, and what each still holds of earlier requests: a prompt that begins alike is not computed again.
import type { KVCache } from '../backends/backend.ts';

/** One sequence of the cache. */
export interface Place {
  readonly sequence: number;
  /** The tokens whose keys and values the cache holds. */
  readonly tokens: number[];
}

export interface Sequences {
  /**
   * A place for these tokens, of which the first `Place.tokens.length` are in the cache already; null when all are taken.
   * @param reusable so many tokens at most: the logits of the next are wanted
   */
  take(tokens: readonly number[], reusable: number): Place | null;
  /** Gives the place back; what it holds stays for the next. */
  release(place: Place): void;
  /** Gives the place back and forgets what it holds, for it may be wrong. */
  discard(place: Place): void;
}

/** All places of a cache. */
export function createSequences(cache: KVCache): Sequences {
  // Least recently used first.
  const free: Place[] = Array.from({ length: cache.shape.maxSequences }, (_, sequence) => ({ sequence, tokens: [] }));
  return {
    take(tokens, reusable) {
      if (free.length === 0) return null;
      const alike = free.map(place => commonLength(place.tokens, tokens, reusable));
      // What is saved now, less what its conversation would have to compute again if it goes on.
      const worth = free.map((place, i) => alike[i]! - (place.tokens.length - alike[i]!) / 4);
      const most = Math.max(...worth);
      const chosen = most > 0 ? worth.indexOf(most) : 0;
      const place = free.splice(chosen, 1)[0]!;
      place.tokens.length = cache.truncate(place.sequence, alike[chosen]!);
      return place;
    },
    release(place) {
      free.push(place);
    },
    discard(place) {
      cache.truncate(place.sequence, 0);
      place.tokens.length = 0;
      free.unshift(place);
    },
  };
}

function commonLength(a: readonly number[], b: readonly number[], most: number): number {
  const length = Math.min(a.length, b.length, most);
  let i = 0;
  while (i < length && a[i] === b[i]) i++;
  return i;
}
