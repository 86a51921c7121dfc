// The sequences of the cache: those of running requests, and those kept after them, for a prompt that begins as one of them does is
// not computed again. One kept sequence serves any number of later ones: they fork from it and share its memory.
import type { KVCache, SavedLayer } from '../backends/backend.ts';

/** One sequence of the cache. */
export interface Place {
  readonly sequence: number;
  /** The tokens whose keys and values the cache holds. */
  readonly tokens: number[];
  /** Only requests of the same salt may see that it is there. */
  readonly salt: string;
}

export interface Sequences {
  /**
   * A place for these tokens, of which the first `Place.tokens.length` are in the cache already; null when as many run as may.
   * @param reusable so many tokens at most: the logits of the next are wanted
   */
  take(tokens: readonly number[], reusable: number, salt: string): Place | null;
  /** The request is over; what its place holds is kept for others, as long as there is room. */
  release(place: Place): void;
  /** The request is over, and what its place holds may be wrong. */
  discard(place: Place): void;
  /** Forgets kept sequences, the least recently used first, until the cache is within its bytes; running ones stay. */
  trim(): void;
  /** Forgets everything kept. @returns how many sequences that were */
  forget(): number;
  /** What is kept, the least recently used first; places that begin a longer one of the same salt are left out. */
  kept(): readonly Place[];
  /** Keeps a sequence that was saved, as one used before all that are kept, unless it is there already or there is no room. */
  adopt(salt: string, tokens: readonly number[], layers: readonly SavedLayer[]): boolean;
  readonly keptSequences: number;
}

/** A fork for fewer tokens than this costs more than it saves. */
const FEWEST_SHARED = 8;

/**
 * All sequences of a cache; more than `running` so that some can be kept beside them.
 * @param running requests at once, at most
 * @param bytes of the whole cache, above which kept sequences are forgotten
 */
export function createSequences(cache: KVCache, running: number, bytes: number): Sequences {
  const empty = Array.from({ length: cache.shape.maxSequences }, (_, sequence) => sequence).reverse();
  const used = new Set<Place>();
  let kept: Place[] = []; // least recently used first

  const free = (place: Place): void => {
    cache.truncate(place.sequence, 0);
    empty.push(place.sequence);
  };
  /** Forgets the least recently used one, but not `except`. */
  const evict = (except?: Place): boolean => {
    const at = kept.findIndex(place => place !== except);
    if (at < 0) return false;
    free(kept.splice(at, 1)[0]!);
    return true;
  };
  const begins = (place: Place, other: Place): boolean =>
    place.salt === other.salt &&
    place.tokens.length <= other.tokens.length &&
    commonLength(place.tokens, other.tokens, Infinity) === place.tokens.length;

  return {
    take(tokens, reusable, salt) {
      if (used.size >= running) return null;
      let source: Place | undefined;
      let alike = FEWEST_SHARED - 1;
      for (const place of [...used, ...kept]) {
        if (place.salt !== salt) continue;
        const length = commonLength(place.tokens, tokens, reusable);
        if (length <= alike) continue;
        alike = length;
        source = place;
      }
      if (empty.length === 0) evict(source);
      const sequence = empty.pop()!;
      let length = 0;
      if (source) {
        length = cache.fork(source.sequence, sequence, alike);
        if (kept.includes(source)) {
          kept = kept.filter(place => place !== source);
          // A conversation that goes on takes the place of what it went on from; a beginning that others have too is of use again.
          if (length === source.tokens.length) kept.unshift(source);
          else kept.push(source);
        }
      }
      const place: Place = { sequence, tokens: tokens.slice(0, length), salt };
      used.add(place);
      return place;
    },
    release(place) {
      used.delete(place);
      if (place.tokens.length >= FEWEST_SHARED) kept.push(place);
      else free(place);
    },
    discard(place) {
      used.delete(place);
      free(place);
    },
    trim() {
      while (cache.bytes > bytes && evict());
    },
    forget() {
      const { length } = kept;
      for (const place of kept.splice(0)) free(place);
      return length;
    },
    kept() {
      const chosen: Place[] = [];
      for (const place of kept.toSorted((a, b) => b.tokens.length - a.tokens.length))
        if (!chosen.some(other => begins(place, other))) chosen.push(place);
      return kept.filter(place => chosen.includes(place));
    },
    adopt(salt, tokens, layers) {
      const known = (place: Place): boolean =>
        place.salt === salt && commonLength(place.tokens, tokens, Infinity) === tokens.length;
      if (empty.length <= running - used.size || [...used, ...kept].some(known)) return false;
      const size = layers.reduce((sum, layer) => sum + layer.bytes.byteLength, 0);
      if (cache.bytes + size > bytes) return false;
      const sequence = empty.pop()!;
      try {
        cache.restore(sequence, layers);
      } catch (error) {
        empty.push(sequence);
        throw error;
      }
      kept.unshift({ sequence, tokens: [...tokens], salt });
      return true;
    },
    get keptSequences() {
      return kept.length;
    },
  };
}

function commonLength(a: readonly number[], b: readonly number[], most: number): number {
  const length = Math.min(a.length, b.length, most);
  let i = 0;
  while (i < length && a[i] === b[i]) i++;
  return i;
}
