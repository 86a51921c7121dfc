// How often an expert that a text wants is in memory already, when so many of them are: by a recorded routing.
import { ExpertUse } from '../model/expert-policy.ts';

/** A routing as `maverick route` writes it, or a part of it. */
export interface Trace {
  readonly experts: number;
  /** How many layers have experts. */
  readonly layers: number;
  /** By token and layer, the strongest expert. */
  readonly tokens: readonly (readonly number[])[];
}

/** @throws Error naming the file and what it lacks */
export function readTrace(text: string, path: string): Trace {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Error(
      `${path}: this is no JSON (${(cause as Error).message}); give a file that 'maverick route --out' wrote.`,
      { cause },
    );
  }
  const { experts, layers, tokens } = (value ?? {}) as { experts?: unknown; layers?: unknown; tokens?: unknown };
  const isId = (id: unknown): id is number =>
    Number.isInteger(id) && (id as number) >= 0 && (id as number) < (experts as number);
  const rows = Array.isArray(tokens) ? tokens.map(token => (token as { experts?: unknown })?.experts) : [];
  if (
    !Number.isInteger(experts) ||
    !Array.isArray(layers) ||
    rows.length === 0 ||
    !rows.every(
      row =>
        Array.isArray(row) && row.length === layers.length && row.every(ids => Array.isArray(ids) && ids.every(isId)),
    )
  )
    throw new Error(`${path}: this is no routing; give a file that 'maverick route --out' wrote.`);
  return {
    experts: experts as number,
    layers: layers.length,
    tokens: (rows as number[][][]).map(row => row.map(ids => ids[0]!)),
  };
}

/**
 * Share of wanted experts that are held, when `share` of all are and places are given as a streamed model's are (`ExpertStream`): to
 * whoever will be wanted soonest, as far as the past tells. The text is gone through once to fill memory and once more to count, as
 * long runs on texts of its kind would.
 */
export function hitRate({ experts, layers, tokens }: Trace, share: number): number {
  const slots = Math.max(1, Math.floor(share * experts * layers));
  const use = new ExpertUse(layers, experts);
  const held: number[] = [];
  const slotOf = new Map<number, number>();
  let hits = 0;
  let wanted = 0;
  for (const counts of [false, true])
    for (const token of tokens)
      for (const [layer, expert] of token.entries()) {
        const key = layer * experts + expert;
        use.seen(layer, 1, [[expert, 1]]);
        const hit = slotOf.has(key);
        if (!hit) {
          const slot = held.length < slots ? held.length : lastWanted(held, other => use.waitOf(other, layer));
          if (slot < held.length) slotOf.delete(held[slot]!);
          held[slot] = key;
          slotOf.set(key, slot);
        }
        if (!counts) continue;
        wanted++;
        if (hit) hits++;
      }
  return wanted === 0 ? 1 : hits / wanted;
}

function lastWanted(held: readonly number[], waitOf: (key: number) => number): number {
  let longest = -1;
  let found = 0;
  for (const [slot, key] of held.entries()) {
    const wait = waitOf(key);
    if (wait > longest) {
      longest = wait;
      found = slot;
    }
  }
  return found;
}
