// The server under load, each bar by itself; prints figures.
//   node bench/serve.ts streams|throughput|overload|gone|turns [--model FILE.gguf] [--backend native|wasm] [--rounds 3] [--tokens 64]
// The model is SmolLM2 where test/large/models has it. The server is a process of its own; it shares the machine with the clients.
import { parseArgs } from 'node:util';
import { type Answer, ask, percentile, serve, textOf } from './serve/served.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', default: 'test/large/models/SmolLM2-135M-Instruct.Q4_1.gguf' },
    backend: { type: 'string', default: 'native' },
    rounds: { type: 'string', default: '3' },
    tokens: { type: 'string', default: '64' },
  },
});
const rounds = Number(values.rounds);
const tokens = Number(values.tokens);
const backend = ['--backend', values.backend];
const openings = ['The capital of France', 'Once upon a time', 'A recipe for bread', 'In the year 2050', 'The sea is'];
const promptOf = (i: number): string => `${openings[i % openings.length]} (${i}):`;
const shown = (ms: number): string => `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;

/** 64 greedy streams at once, and each alone. */
async function streams(): Promise<void> {
  await using server = await serve(values.model, [...backend, '--parallel', '64', '--context', '1024']);
  const body = (i: number) => ({
    model: server.model,
    prompt: promptOf(i),
    max_tokens: 64,
    temperature: 0,
    stream: true,
  });
  const together = await Promise.all(Array.from({ length: 64 }, (_, i) => ask(server.port, body(i)).whole));
  const alone: Answer[] = [];
  for (let i = 0; i < 64; i++) alone.push(await ask(server.port, body(i)).whole);
  const ended = together.filter(({ status, body }) => status === 200 && body.endsWith('data: [DONE]\n\n')).length;
  const equal = together.filter((answer, i) => textOf(answer) === textOf(alone[i]!)).length;
  const errors = together.filter(({ status, body }) => status !== 200 || body.includes('event: error')).length;
  console.log(`64 streams (${values.backend}): ${ended} complete, ${equal} equal to their solo run, ${errors} errors`);
}

/** Tokens a second of 1 and of 16 streams, in turns. */
async function throughput(): Promise<void> {
  await using server = await serve(values.model, [...backend, '--parallel', '16', '--context', '1024']);
  const rate = async (count: number): Promise<number> => {
    const start = performance.now();
    await Promise.all(
      Array.from({ length: count }, (_, i) => {
        const body = { model: server.model, prompt: promptOf(i), max_tokens: 2 * tokens, temperature: 0, stream: true };
        return ask(server.port, { ...body, logit_bias: { 0: -100, 2: -100 } }).whole;
      }),
    );
    return (count * 2000 * tokens) / (performance.now() - start);
  };
  for (const count of [1, 16]) await rate(count);
  const one: number[] = [];
  const many: number[] = [];
  for (let i = 0; i < rounds; i++) {
    one.push(await rate(1));
    many.push(await rate(16));
  }
  const [a, b] = [percentile(one, 0.5), percentile(many, 0.5)];
  console.log(
    `1 stream ${a.toFixed(0)} tok/s, 16 streams ${b.toFixed(0)} tok/s (${values.backend}): ${(b / a).toFixed(2)} ×`,
  );
}

/** Arrivals at ten times what can be answered: how soon the others are told, and what is still answered. */
async function overload(): Promise<void> {
  await using server = await serve(values.model, [...backend, '--parallel', '8', '--queue', '16', '--context', '1024']);
  const body = {
    model: server.model,
    prompt: 'The sea',
    max_tokens: 64,
    temperature: 0,
    logit_bias: { 0: -100, 2: -100 },
  };
  /** Keeps 16 requests inside for a while: answers a second. */
  const closed = async (ms: number): Promise<number> => {
    const start = performance.now();
    let answered = 0;
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        while (performance.now() - start < ms) if ((await ask(server.port, body).whole).status === 200) answered++;
      }),
    );
    return (answered * 1000) / (performance.now() - start);
  };
  /** Sends so many a second, whatever comes back. */
  const open = async (perSecond: number, ms: number): Promise<{ answers: Answer[]; seconds: number }> => {
    const start = performance.now();
    const sent: Promise<Answer>[] = [];
    for (let now = 0; now < ms; now = performance.now() - start) {
      while (sent.length < (now * perSecond) / 1000) sent.push(ask(server.port, body).whole);
      await new Promise(resolve => setTimeout(resolve, 1));
    }
    const answers = await Promise.all(sent);
    return { answers, seconds: (performance.now() - start) / 1000 };
  };
  await closed(1000);
  for (let i = 0; i < rounds; i++) {
    const capacity = await closed(5000);
    const { answers, seconds } = await open(10 * capacity, 5000);
    const shed = answers.filter(({ status }) => status === 429);
    const told = shed.filter(({ retryAfter }) => Number(retryAfter) >= 1).length;
    const times = shed.map(({ endMs }) => endMs);
    const answered = answers.filter(({ status }) => status === 200).length / seconds;
    console.log(
      `overload: capacity ${capacity.toFixed(1)} a second, ${answers.length} sent; ${shed.length} shed, ${told} with retry-after, ` +
        `p50 ${shown(percentile(times, 0.5))}, p99 ${shown(percentile(times, 0.99))}; goodput ${((100 * answered) / capacity).toFixed(0)} %`,
    );
  }
}

/** A client leaves: tokens computed after that. */
async function gone(): Promise<void> {
  await using server = await serve(values.model, [...backend, '--parallel', '4', '--context', '2048']);
  const after: number[] = [];
  for (let i = 0; i < 100 * rounds; i++) {
    const call = ask(server.port, {
      model: server.model,
      prompt: promptOf(i),
      max_tokens: 1500,
      temperature: 1,
      stream: true,
    });
    call.whole.catch(() => {});
    await new Promise(resolve => setTimeout(resolve, 20 + Math.random() * 60));
    const before = await server.metric('maverick:engine_decode_tokens_total');
    call.leave();
    // Until nobody runs any more.
    while ((await server.metric('vllm:num_requests_running')) > 0);
    after.push((await server.metric('maverick:engine_decode_tokens_total')) - before);
  }
  console.log(`client gone: tokens computed after, p50 ${percentile(after, 0.5)}, p99 ${percentile(after, 0.99)}`);
}

/** The first and the second turn of a conversation of 4,000 tokens: time to the first token. */
async function turns(): Promise<void> {
  await using server = await serve(values.model, [...backend, '--context', '4608']);
  for (let i = 0; i < rounds; i++) {
    const prompt = Array.from({ length: 4000 }, (_, at) => 1000 + ((at * 7919 + i * 104_729) % 30_000));
    const body = { model: server.model, max_tokens: 32, temperature: 0, stream: true };
    const first = await ask(server.port, { ...body, prompt }).whole;
    const next = [...prompt, ...Array.from({ length: 20 }, (_, at) => 2000 + at * 13)];
    const second = await ask(server.port, { ...body, prompt: next }).whole;
    console.log(
      `turns: first token after ${shown(first.firstMs)}, of the second turn ${shown(second.firstMs)}: ${(second.firstMs / first.firstMs).toFixed(3)}`,
    );
  }
}

const all: Record<string, () => Promise<void>> = { streams, throughput, overload, gone, turns };
for (const name of positionals) {
  const run = all[name];
  if (!run) throw new Error(`There is no '${name}'. There are: ${Object.keys(all).join(', ')}.`);
  await run();
}
if (positionals.length === 0) console.log(`Name what to measure: ${Object.keys(all).join(', ')}.`);
