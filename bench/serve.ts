// The server under load, each bar by itself; prints figures.
//   node bench/serve.ts streams|throughput|overload|gone|turns [--model FILE.gguf] [--backend native|wasm] [--rounds 3] [--tokens 64]
// The model is SmolLM2 where test/large/models has it. The server is a process of its own; it shares the machine with the clients.
import { parseArgs } from 'node:util';
import { readVocabulary } from '../src/engine/chat.ts';
import { openEngine } from '../src/engine/client.ts';
import { type Answer, ask, hangUp } from './serve/client.ts';
import { overload, told } from './serve/overload.ts';
import { eventsOf, percentile, serve, textOf } from './serve/served.ts';

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

/**
 * Tokens a second of 1 and of 16 streams, in turns: over HTTP, and of the engine alone in a process without a server, which is
 * what HTTP can reach at most. Also what HTTP costs, in processor time a token.
 */
async function throughput(): Promise<void> {
  const length = 2 * tokens;
  await using server = await serve(values.model, [...backend, '--parallel', '16', '--context', '1024']);
  const { tokenizer } = await readVocabulary(values.model);
  await using engine = await openEngine(values.model, {
    backend: values.backend as 'native',
    maxSequences: 16,
    contextTokens: 1024,
  });
  const overHttp = async (i: number): Promise<number> => {
    const body = { model: server.model, prompt: promptOf(i), max_tokens: length, temperature: 0, stream: true };
    const answer = await ask(server.port, { ...body, ignore_eos: true, stream_options: { include_usage: true } }).whole;
    const usage = /"completion_tokens":(\d+)/.exec(answer.body)?.[1];
    if (!answer.body.endsWith('data: [DONE]\n\n')) throw new Error(`Not a whole answer: ${answer.body.slice(0, 200)}`);
    return Number(usage);
  };
  const bos = tokenizer.bos === null ? [] : [tokenizer.bos];
  const alone = async (i: number): Promise<number> => {
    let count = 0;
    const prompt = [...bos, ...tokenizer.encode(promptOf(i))];
    for await (const _ of engine.generate(prompt, { maxTokens: length, temperature: 0 })) count++;
    return count;
  };
  const rate = async (count: number, one: (i: number) => Promise<number>): Promise<number> => {
    const start = performance.now();
    const counts = await Promise.all(Array.from({ length: count }, (_, i) => one(i)));
    const wrong = counts.find(said => said !== length);
    if (wrong !== undefined) throw new Error(`An answer has ${wrong} tokens, wanted ${length}.`);
    return (count * 1000 * length) / (performance.now() - start);
  };
  const rates: Record<string, number[]> = {};
  const measure = async (name: string, count: number, one: (i: number) => Promise<number>) => {
    rates[name] ??= [];
    rates[name].push(await rate(count, one));
  };
  for (const one of [overHttp, alone]) for (const count of [1, 16]) await rate(count, one);
  let said = 0;
  const cost = { server: 0, client: 0 };
  for (let i = 0; i < rounds; i++) {
    await measure('http 1', 1, overHttp);
    await measure('engine 1', 1, alone);
    const [main, client] = [server.cpuMs().main, process.cpuUsage()];
    await measure('http 16', 16, overHttp);
    cost.server += server.cpuMs().main - main;
    const { user, system } = process.cpuUsage(client);
    cost.client += (user + system) / 1000;
    said += 16 * length;
    await measure('engine 16', 16, alone);
  }
  for (const name of ['http', 'engine']) {
    const [a, b] = [1, 16].map(count => percentile(rates[`${name} ${count}`]!, 0.5)) as [number, number];
    console.log(
      `${name}: 1 stream ${a.toFixed(0)} tok/s, 16 streams ${b.toFixed(0)} tok/s (${values.backend}): ${(b / a).toFixed(2)} ×`,
    );
  }
  const us = (ms: number): string => `${((1000 * ms) / said).toFixed(0)} µs`;
  console.log(`processor time a token, 16 streams: server's main thread ${us(cost.server)}, client ${us(cost.client)}`);
}

/** Arrivals at ten times what can be answered. */
async function overloaded(): Promise<void> {
  const inside = 16;
  await using server = await serve(values.model, [
    ...backend,
    '--parallel',
    '8',
    '--queue',
    `${inside}`,
    '--context',
    '1024',
  ]);
  console.log(told(await overload(server, inside, 8 * rounds)));
}

/**
 * A client leaves a stream: passes that ended after it had. The engine's count is read while nothing runs, before and after: what
 * the client had received when it left is compared with what was computed in all. One pass is always under way.
 */
async function gone(): Promise<void> {
  await using server = await serve(values.model, [...backend, '--parallel', '4', '--context', '2048']);
  const computed = () => server.metric('maverick:engine_decode_tokens_total');
  const request = (prompt: string, max_tokens: number) =>
    ask(server.port, { model: server.model, prompt, max_tokens, temperature: 0, stream: true, ignore_eos: true });
  // A token that is part of a character, or steers, is no event of its own: answers with such are of no use here.
  const most = 128;
  const prompts: string[] = [];
  for (let i = 0; prompts.length < 10; i++) {
    const { body } = await request(promptOf(i), most).whole;
    if (eventsOf(body).length === most + 1) prompts.push(promptOf(i)); // and one tells why it ended
  }
  const after: number[] = [];
  for (let i = 0; i < 100 * rounds; i++) {
    const before = await computed();
    const call = request(prompts[i % prompts.length]!, most);
    call.whole.catch(() => {});
    await new Promise(resolve => setTimeout(resolve, 50 + Math.random() * 100));
    await new Promise(resolve => setImmediate(resolve)); // timers come first: what lies in the socket is read now
    const received = call.events();
    call.leave();
    // Asked at once, the server would have the counters to write before it could look whether the client left.
    await new Promise(resolve => setTimeout(resolve, 100));
    while ((await server.metric('vllm:num_requests_running')) > 0);
    // The first token came from the prompt.
    if (received > 0 && received < most) after.push((await computed()) - before - (received - 1));
  }
  const begun = after.map(passes => passes - 1);
  const histogram = Object.entries(Object.groupBy(after, passes => passes)).map(
    ([passes, all]) => `${passes}: ${all!.length}`,
  );
  console.log(
    `client gone (${after.length} times): passes that ended after, p50 ${percentile(after, 0.5)}, p99 ${percentile(after, 0.99)}, most ${Math.max(...after)} ` +
      `(${histogram.join(', ')}); begun after, p99 ${percentile(begun, 0.99)}`,
  );
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

const all: Record<string, () => Promise<void>> = { streams, throughput, overload: overloaded, gone, turns };
for (const name of positionals) {
  const run = all[name];
  if (!run) throw new Error(`There is no '${name}'. There are: ${Object.keys(all).join(', ')}.`);
  await run();
  hangUp();
}
if (positionals.length === 0) console.log(`Name what to measure: ${Object.keys(all).join(', ')}.`);
