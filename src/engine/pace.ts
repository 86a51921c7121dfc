// How many tokens a pass takes, so that it ends soon enough for an abort or a new request to be heard.

/** Fewer tokens than this waste a pass: its weights are read once, whatever it computes. */
const FEWEST = 32;
/** So many times as long may a pass take that nobody waits for: it reads weights less often. Who comes meanwhile waits for its end. */
const ALONE = 4;

export interface Pace {
  /**
   * Tokens of the next pass, at most.
   * @param alone tokens that are all there is to compute, for one who shares the passes with nobody: they are cut evenly
   */
  tokens(alone?: number): number;
  /** A pass of so many tokens took so long, ms. */
  measured(tokens: number, ms: number): void;
}

/**
 * Learns from the passes themselves; until one is measured they are small.
 * @param passMs how long a pass should take that several share or wait for, ms
 * @param most tokens of a pass, at most
 */
export function createPace(passMs: number, most: number): Pace {
  let msPerToken = Infinity;
  const within = (ms: number): number =>
    ms === Infinity ? most : Math.min(most, Math.max(FEWEST, Math.floor(ms / msPerToken)));
  return {
    tokens: alone => {
      if (!alone) return within(passMs);
      return Math.ceil(alone / Math.ceil(alone / within(ALONE * passMs)));
    },
    measured(tokens, ms) {
      // What a token costs in a small pass says nothing of a large one.
      if (tokens < Math.min(FEWEST, most)) return;
      const now = ms / tokens;
      msPerToken = msPerToken === Infinity ? now : (msPerToken + now) / 2;
    },
  };
}
