// How many tokens a pass takes, so that it ends soon enough for an abort or a new request to be heard.

/** Fewer tokens than this waste a pass: its weights are read once, whatever it computes. */
const FEWEST = 32;

export interface Pace {
  /** Tokens of the next pass. */
  readonly tokens: number;
  /** A pass of so many tokens took so long, ms. */
  measured(tokens: number, ms: number): void;
}

/**
 * Learns from the passes themselves; until one is measured they are small.
 * @param passMs how long a pass should take, ms
 * @param most tokens of a pass, at most
 */
export function createPace(passMs: number, most: number): Pace {
  let msPerToken = Infinity;
  return {
    get tokens() {
      return passMs === Infinity ? most : Math.min(most, Math.max(FEWEST, Math.floor(passMs / msPerToken)));
    },
    measured(tokens, ms) {
      // What a token costs in a small pass says nothing of a large one.
      if (tokens < Math.min(FEWEST, most)) return;
      const now = ms / tokens;
      msPerToken = msPerToken === Infinity ? now : (msPerToken + now) / 2;
    },
  };
}
