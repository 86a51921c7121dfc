// Which experts read each token of an answer: what goes over the wire (POST /v1/routing), checked, and its sums.
import type { WireRouting } from '../server/wire.ts';
import type { ChatBodyMessage } from './chat-request.ts';

export type { WireRouting };

/** The conversation up to and with the assistant's answer that is asked about. */
export interface WireRoutingRequest {
  readonly model: string;
  readonly messages: readonly ChatBodyMessage[];
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Whether an answer can be drawn. */
export function isRouting(value: unknown): value is WireRouting {
  const routing = value as Partial<WireRouting> | null;
  if (routing?.object !== 'routing' || !isCount(routing.experts) || !isCount(routing.experts_per_token)) return false;
  const { experts, layers, tokens } = routing;
  if (!Array.isArray(layers) || !layers.every(isCount) || !Array.isArray(tokens)) return false;
  return tokens.every(
    token =>
      typeof token?.text === 'string' &&
      Array.isArray(token.experts) &&
      token.experts.length === layers.length &&
      token.experts.every((ids: unknown) => Array.isArray(ids) && ids.every(id => isCount(id) && id < experts)),
  );
}

/** How often each expert was chosen, as shares of all choices; of one layer (its position in `layers`) or of all. */
export function sharesOf({ experts, tokens }: WireRouting, layer: number | null = null): number[] {
  const counts = new Array<number>(experts).fill(0);
  let all = 0;
  for (const token of tokens)
    for (const ids of layer === null ? token.experts : [token.experts[layer] ?? []])
      for (const id of ids) {
        counts[id]!++;
        all++;
      }
  return counts.map(times => (all === 0 ? 0 : times / all));
}

/** Hue of an expert, degrees: neighbours in number lie far apart. */
export const hueOf = (expert: number, experts: number): number => {
  const stride = [7, 5, 11, 3, 1].find(step => greatestCommonDivisor(step, experts) === 1)!;
  return (((expert * stride) % experts) / experts) * 360;
};
const greatestCommonDivisor = (a: number, b: number): number => (b === 0 ? a : greatestCommonDivisor(b, a % b));
