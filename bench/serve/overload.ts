// Arrivals at ten times what can be answered: how soon the others are told, and what is still answered.
import { type Answer, ask } from './client.ts';
import { percentile, type Served } from './served.ts';

/** One that ended. Times are of performance.now(). */
interface Ended extends Answer {
  readonly length: number;
  readonly at: number;
}

interface Phase {
  readonly from: number;
  readonly to: number;
  /** Processor time, shares of a core. */
  readonly server: number;
  readonly client: number;
}

export interface OverloadResult {
  /** Of each pair of phases, one of either kind: tokens a second of answers, and the share of the one in the other. */
  readonly pairs: readonly { readonly capacity: number; readonly goodput: number; readonly share: number }[];
  readonly perSecond: number;
  readonly shed: readonly Answer[];
  readonly idle: { readonly server: number; readonly client: number };
  readonly loaded: { readonly server: number; readonly client: number };
}

/** How long a phase is, and how much of its beginning does not count, ms: a machine's speed changes within seconds, so phases are short. */
const PHASE_MS = 2500;
const SETTLE_MS = 500;

/**
 * The server is full all the time. In one phase a request comes when one has been answered, so nobody is refused: that is its
 * capacity. In the next requests come ten times as fast as that, whatever comes back. And so on, in turns.
 * @param inside requests that the server takes in
 */
export async function overload(server: Served, inside: number, pairs: number): Promise<OverloadResult> {
  const ended: Ended[] = [];
  // Different lengths, so that answers end one by one. Their mean is 64.
  const requests = Array.from({ length: 65 }, (_, i) => {
    const length = 32 + ((i * 37) % 65);
    return {
      length,
      body: { model: server.model, prompt: 'The sea', max_tokens: length, temperature: 0, ignore_eos: true },
    };
  });
  let asked = 0;
  let underWay = 0;
  let closed = true;
  let over = false;
  const send = async (): Promise<void> => {
    const { length, body } = requests[asked++ % requests.length]!;
    underWay++;
    const answer = await ask(server.port, body).whole;
    underWay--;
    ended.push({ ...answer, length, at: performance.now() });
    if (closed && !over && underWay < inside) void send();
  };
  const until = (at: number): Promise<void> => new Promise(resolve => setTimeout(resolve, at - performance.now()));
  const counted = async (from: number): Promise<Phase> => {
    await until(from);
    const [main, client] = [server.cpuMs().main, process.cpuUsage()];
    await until(from + PHASE_MS - SETTLE_MS);
    const to = performance.now();
    const { user, system } = process.cpuUsage(client);
    return {
      from,
      to,
      server: (server.cpuMs().main - main) / (to - from),
      client: (user + system) / 1000 / (to - from),
    };
  };

  for (let i = 0; i < inside; i++) void send();
  await until(performance.now() + 2 * PHASE_MS);
  const phases: { readonly full: Phase; readonly flooded: Phase }[] = [];
  let perSecond = 0;
  for (let i = 0; i < pairs; i++) {
    closed = true;
    while (underWay < inside) void send();
    const full = await counted(performance.now() + SETTLE_MS);
    perSecond = (10 * tokensWithin(ended, full)) / 64;
    closed = false;
    const start = performance.now();
    const counting = counted(start + SETTLE_MS);
    for (let sent = 0; sent < (perSecond * PHASE_MS) / 1000; sent++) {
      const due = start + (1000 * sent) / perSecond;
      if (due > performance.now()) await until(due);
      void send();
    }
    phases.push({ full, flooded: await counting });
  }
  over = true;
  while (underWay > 0) await until(performance.now() + 10);
  const mean = (kind: 'full' | 'flooded') => ({
    server: phases.reduce((sum, phase) => sum + phase[kind].server, 0) / pairs,
    client: phases.reduce((sum, phase) => sum + phase[kind].client, 0) / pairs,
  });
  return {
    pairs: phases.map(({ full, flooded }) => {
      const [capacity, goodput] = [tokensWithin(ended, full), tokensWithin(ended, flooded)];
      return { capacity, goodput, share: goodput / capacity };
    }),
    perSecond,
    shed: ended.filter(({ status }) => status === 429),
    idle: mean('full'),
    loaded: mean('flooded'),
  };
}

/** Tokens a second of answers, each spread evenly over the time in which it was made. */
function tokensWithin(ended: readonly Ended[], { from, to }: Phase): number {
  let tokens = 0;
  for (const { status, body, length, at } of ended) {
    if (status !== 200) continue;
    const made = Number(/"predicted_ms":([\d.]+)/.exec(body)?.[1]);
    const inside = Math.min(at, to) - Math.max(at - made, from);
    if (inside > 0) tokens += (length * inside) / made;
  }
  return (1000 * tokens) / (to - from);
}

/** In words. */
export function told({ pairs, perSecond, shed, idle, loaded }: OverloadResult): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const times = shed.map(({ endMs }) => endMs);
  const median = (name: 'capacity' | 'goodput' | 'share'): number =>
    percentile(
      pairs.map(pair => pair[name]),
      0.5,
    );
  const sum = (name: 'capacity' | 'goodput'): number => pairs.reduce((total, pair) => total + pair[name], 0);
  return (
    `overload: ${pairs.length} pairs of phases; capacity ${median('capacity').toFixed(0)} tok/s, ${perSecond.toFixed(0)} requests a second, ` +
    `${shed.length} shed, ${shed.filter(({ retryAfter }) => Number(retryAfter) >= 1).length} with retry-after, ` +
    `p50 ${percentile(times, 0.5).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms; ` +
    `goodput ${percent(median('share'))} of capacity in the median, ${percent(sum('goodput') / sum('capacity'))} in sum, ` +
    `single ones ${pairs.map(({ share }) => (100 * share).toFixed(0)).join(' ')}; of a core: server's main thread ${percent(idle.server)} → ` +
    `${percent(loaded.server)}, client ${percent(idle.client)} → ${percent(loaded.client)}`
  );
}
