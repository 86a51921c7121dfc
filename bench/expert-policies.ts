// Which expert should leave memory when another needs its place? Policies on traces of routing, by the share of wants found in memory.
//   node bench/expert-policies.ts [--experts 128] [--layers 24] [--tokens 20000]
// Traces: even (every expert alike), skewed (Zipf within each layer, another order in each), drifting (skewed, and the order changes slowly), and
// prompts (passes of 512 tokens among single ones). Belady knows the future: nothing can be better. Quotas give every layer its own part of
// memory; pinned experts are those that the first third of the trace wanted most, and never leave.
import { parseArgs } from 'node:util';
import { seededRandom } from '../src/backends/reference/random.ts';
import { ExpertUse } from '../src/model/expert-policy.ts';

const { values } = parseArgs({
  options: {
    experts: { type: 'string', default: '128' },
    layers: { type: 'string', default: '24' },
    tokens: { type: 'string', default: '6000' },
  },
});
const [experts, layers, tokens] = [Number(values.experts), Number(values.layers), Number(values.tokens)];
const random = seededRandom(7);

const share = 0.41; // of all experts in memory
const slots = Math.floor(share * layers * experts);

/** What each pass wants of each layer: rows of the pass, and how often each expert is wanted. */
type Pass = { readonly rows: number; readonly wants: readonly Map<number, number>[] };

function sampler(weights: readonly number[]): () => number {
  const sums: number[] = [];
  let total = 0;
  for (const weight of weights) {
    total += weight;
    sums.push(total);
  }
  return () => {
    const at = random() * total;
    let [low, high] = [0, sums.length - 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sums[middle]! > at) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
const shuffled = (): number[] => {
  const order = Array.from({ length: experts }, (_, i) => i);
  for (let i = experts - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
};

function trace(skew: number, drift: number, promptEvery: number): Pass[] {
  const weights = Array.from({ length: experts }, (_, rank) => 1 / (rank + 1) ** skew);
  const draw = sampler(weights);
  const orders = Array.from({ length: layers }, shuffled);
  const passes: Pass[] = [];
  for (let seen = 0, pass = 0; seen < tokens; pass++) {
    const rows = promptEvery > 0 && pass % promptEvery === promptEvery - 1 ? 512 : 1;
    seen += rows;
    const wants = orders.map(order => {
      const times = new Map<number, number>();
      for (let row = 0; row < rows; row++) {
        const expert = order[draw()]!;
        times.set(expert, (times.get(expert) ?? 0) + 1);
      }
      for (let change = 0; change < rows; change++)
        if (random() < drift) {
          const [a, b] = [Math.floor(random() * experts), Math.floor(random() * experts)];
          [order[a], order[b]] = [order[b]!, order[a]!];
        }
      return times;
    });
    passes.push({ rows, wants });
  }
  return passes;
}

interface Policy {
  /** Whether each layer has its own part of memory. */
  readonly quotas?: boolean;
  used(key: number, now: number): void;
  seen?(layer: number, rows: number, times: Map<number, number>): void;
  /** The higher, the sooner it goes. */
  score(key: number, layer: number, now: number): number;
}
const lastUse = (): Policy => {
  const last = new Map<number, number>();
  return { used: (key, now) => void last.set(key, now), score: (key, _, now) => now - last.get(key)! };
};
const leastOften = (): Policy => {
  const count = new Map<number, number>();
  return { used: key => void count.set(key, (count.get(key) ?? 0) + 1), score: key => -count.get(key)! };
};
/** Of `part` of memory the experts wanted most in the recording, which is the first third; the rest is for the least recently used. */
function pinned(passes: readonly Pass[], part: number): Policy {
  const times = new Map<number, number>();
  for (const { wants } of passes.slice(0, Math.floor(passes.length / 3)))
    for (const [layer, wanted] of wants.entries())
      for (const [expert, count] of wanted) {
        const key = layer * experts + expert;
        times.set(key, (times.get(key) ?? 0) + count);
      }
  const most = [...times].sort(([, a], [, b]) => b - a).slice(0, Math.floor(part * slots));
  const stay = new Set(most.map(([key]) => key));
  const rest = lastUse();
  return { used: rest.used, score: (key, layer, now) => (stay.has(key) ? -1 : rest.score(key, layer, now)) };
}
const policies: Record<string, (passes: readonly Pass[]) => Policy> = {
  random: () => ({ used() {}, score: () => random() }),
  'least recently used': lastUse,
  'least often used': leastOften,
  'quotas, least recently used': () => ({ ...lastUse(), quotas: true }),
  'quotas, least often used': () => ({ ...leastOften(), quotas: true }),
  'half pinned by frequency': passes => pinned(passes, 0.5),
  'nine tenths pinned': passes => pinned(passes, 0.9),
  'ours: expected wait': () => {
    const use = new ExpertUse(layers, experts);
    return {
      used() {},
      seen: (layer, rows, times) => use.seen(layer, rows, times),
      score: (key, layer) => use.waitOf(key, layer),
    };
  },
  'Belady (the future)': passes => {
    const uses = new Map<number, number[]>();
    let now = 0;
    for (const { wants } of passes)
      for (const [layer, times] of wants.entries())
        for (const expert of times.keys()) {
          const key = layer * experts + expert;
          const list = uses.get(key);
          if (list) list.push(now++);
          else uses.set(key, [now++]);
        }
    return {
      used: key => void uses.get(key)!.shift(),
      score: key => uses.get(key)?.[0] ?? Infinity,
    };
  },
};

function hitRate(passes: readonly Pass[], policy: Policy, slots: number): number {
  const held = new Set<number>();
  const ofLayer = new Int32Array(layers);
  const quota = Math.floor(slots / layers);
  let [hits, wanted, now] = [0, 0, 0];
  for (const [at, { rows, wants }] of passes.entries())
    for (const [layer, times] of wants.entries()) {
      policy.seen?.(layer, rows, times);
      for (const expert of times.keys()) {
        const key = layer * experts + expert;
        const counted = at >= passes.length / 3; // the first third fills memory
        if (counted) wanted++;
        if (held.has(key)) {
          if (counted) hits++;
        } else {
          const own = policy.quotas === true;
          if (own ? ofLayer[layer]! >= quota : held.size >= slots) {
            let victim = -1;
            let worst = -Infinity;
            for (const other of held) {
              if (own && Math.floor(other / experts) !== layer) continue;
              const score = policy.score(other, layer, now);
              if (score > worst) [worst, victim] = [score, other];
            }
            held.delete(victim);
            ofLayer[Math.floor(victim / experts)]!--;
          }
          held.add(key);
          ofLayer[layer]!++;
        }
        policy.used(key, now++);
      }
    }
  return hits / wanted;
}

const traces: Record<string, Pass[]> = {
  even: trace(0, 0, 0),
  'skewed (Zipf 0.7)': trace(0.7, 0, 0),
  'skewed (Zipf 1.1)': trace(1.1, 0, 0),
  'drifting (Zipf 1.1)': trace(1.1, 0.02, 0),
  'prompts of 512, even': trace(0, 0, 64),
  'prompts of 512, Zipf 1.1': trace(1.1, 0, 64),
};
console.log(
  `${layers} layers of ${experts} experts, ${slots} held (${100 * share} %): share of wants found in memory, %`,
);
for (const [name, passes] of Object.entries(traces)) {
  const rates = Object.entries(policies).map(
    ([policy, create]) => `${policy} ${(100 * hitRate(passes, create(passes), slots)).toFixed(1)}`,
  );
  console.log(`${name}: ${rates.join(', ')}`);
}
