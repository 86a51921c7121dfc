// What the server did as Prometheus counts it, under the names that vLLM's users and their dashboards know.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type Exchange, type Observer, tokensOf } from './exchange.ts';
import type { Models } from './models.ts';

export interface Metrics extends Observer {
  /** The text of /metrics. */
  text(): Promise<string>;
  readonly contentType: string;
}

const SECONDS = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160];
const GAPS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const ANSWERS = [1, 2, 5, 10, 20];
const TOKENS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];

/** @param process also measure the process itself: memory, processor time, the event loop's lag */
export function createMetrics(models: Models, { process = false }: { readonly process?: boolean } = {}): Metrics {
  const registry = new Registry();
  const registers = [registry];
  if (process) collectDefaultMetrics({ register: registry });
  const byModel = ['model_name'] as const;
  const counter = (name: string, help: string) => new Counter({ name, help, labelNames: byModel, registers });
  const gauge = (name: string, help: string) => new Gauge({ name, help, labelNames: byModel, registers });
  const histogram = (name: string, help: string, buckets = SECONDS) =>
    new Histogram({ name, help, labelNames: byModel, buckets, registers });

  const running = gauge('vllm:num_requests_running', 'Requests that the engine computes.');
  const waiting = gauge('vllm:num_requests_waiting', 'Requests that wait for a place in the engine.');
  const cacheBytes = gauge('maverick:kv_cache_bytes', 'Memory that keys and values take.');
  const cacheShare = gauge(
    'vllm:kv_cache_usage_perc',
    'Of what keys and values may take, the share that they do: 1 is all.',
  );
  const passes = counter('maverick:engine_passes_total', 'Forward passes.');
  const decoded = counter('maverick:engine_decode_tokens_total', 'Tokens that the engine computed one by one.');
  const expertsHeld = gauge('maverick:experts_held', 'Experts in memory, of a model larger than that.');
  const expertWants = gauge('maverick:expert_queries', 'Experts that passes wanted, since the model was loaded.');
  const expertHits = gauge('maverick:expert_hits', 'Of these, found in memory.');
  const expertBytes = gauge('maverick:expert_read_bytes', 'Bytes of experts read from disk.');
  const expertSeconds = gauge('maverick:expert_read_seconds', 'Time in which experts were being read.');
  const expertStalls = gauge('maverick:expert_stall_seconds', 'Time in which computing waited for one to be read.');
  const promptTokens = counter('vllm:prompt_tokens_total', 'Tokens of prompts.');
  const generationTokens = counter('vllm:generation_tokens_total', 'Tokens of answers.');
  const cacheQueries = counter('vllm:prefix_cache_queries_total', 'Tokens of prompts looked for in the prefix cache.');
  const cacheHits = counter('vllm:prefix_cache_hits_total', 'Tokens of prompts found in the prefix cache.');
  const drafted = counter('vllm:spec_decode_num_draft_tokens_total', 'Tokens guessed by prompt lookup.');
  const accepted = counter('vllm:spec_decode_num_accepted_tokens_total', 'Guessed tokens that came true.');
  const firstToken = histogram('vllm:time_to_first_token_seconds', 'From a request to its first token.');
  const gaps = histogram('vllm:inter_token_latency_seconds', 'Between one token and the next.', GAPS);
  const whole = histogram('vllm:e2e_request_latency_seconds', 'From a request to the end of its answer.');
  const queue = histogram('vllm:request_queue_time_seconds', 'Waiting for a place in the engine.');
  const prefill = histogram('vllm:request_prefill_time_seconds', 'Computing the prompt.');
  const decode = histogram('vllm:request_decode_time_seconds', 'Computing the answer after its first token.');
  const promptSize = histogram('vllm:request_prompt_tokens', 'Tokens of a prompt.', TOKENS);
  const answerSize = histogram('vllm:request_generation_tokens', 'Tokens of an answer.', TOKENS);
  const perToken = histogram(
    'vllm:request_time_per_output_token_seconds',
    "An answer's mean between its tokens.",
    GAPS,
  );
  const inference = histogram('vllm:request_inference_time_seconds', 'Computing the prompt and the answer.');
  const mostSize = histogram(
    'vllm:request_max_num_generation_tokens',
    'Of a request, the tokens of its longest answer.',
    TOKENS,
  );
  const askedSize = histogram(
    'vllm:request_params_max_tokens',
    'The limit of tokens that a request has, if it has one.',
    TOKENS,
  );
  const asked = histogram('vllm:request_params_n', 'Answers that a request asks for.', ANSWERS);
  const finished = new Counter({
    name: 'vllm:request_success_total',
    help: 'Answers by why they ended.',
    labelNames: ['model_name', 'finished_reason'],
    registers,
  });
  const requests = new Counter({
    name: 'maverick:http_requests_total',
    help: 'Requests by route and status.',
    labelNames: ['route', 'status'],
    registers,
  });

  async function ask(): Promise<void> {
    const ofExperts = [expertsHeld, expertWants, expertHits, expertBytes, expertSeconds, expertStalls];
    for (const measured of [running, waiting, cacheBytes, cacheShare, passes, decoded, ...ofExperts]) measured.reset();
    for (const { id, chat } of await models.list()) {
      const stats = await chat?.engine.stats().catch(() => null); // a dead engine is told by /health
      if (!stats) continue;
      running.set({ model_name: id }, stats.running);
      waiting.set({ model_name: id }, stats.waiting);
      cacheBytes.set({ model_name: id }, stats.cacheBytes);
      cacheShare.set({ model_name: id }, stats.cacheLimitBytes > 0 ? stats.cacheBytes / stats.cacheLimitBytes : 0);
      passes.inc({ model_name: id }, stats.passes);
      decoded.inc({ model_name: id }, stats.decodeTokens);
      if (!stats.experts) continue;
      const { held, wanted, hits, bytesRead, busyMs, stalledMs } = stats.experts;
      const values = [held, wanted, hits, bytesRead, busyMs / 1000, stalledMs / 1000];
      for (const [i, measured] of ofExperts.entries()) measured.set({ model_name: id }, values[i]!);
    }
  }

  function count(exchange: Exchange, labels: { readonly model_name: string }): void {
    const { prompt, answer } = tokensOf(exchange);
    promptTokens.inc(labels, prompt);
    generationTokens.inc(labels, answer);
    if (exchange.firstTokenMs !== null) firstToken.observe(labels, (exchange.firstTokenMs - exchange.startedMs) / 1000);
    whole.observe(labels, (performance.now() - exchange.startedMs) / 1000);
    const { max_tokens: most, 'choice.count': answers = 1 } = exchange.parameters;
    if (most !== undefined) askedSize.observe(labels, most);
    asked.observe(labels, answers);
    mostSize.observe(labels, Math.max(...exchange.generations.map(({ stats }) => stats.generatedTokens)));
    for (const { reason, stats } of exchange.generations) {
      finished.inc({ ...labels, finished_reason: reason });
      cacheQueries.inc(labels, stats.promptTokens);
      cacheHits.inc(labels, stats.cachedTokens);
      drafted.inc(labels, stats.draftedTokens);
      accepted.inc(labels, stats.acceptedTokens);
      if (reason === 'abort' || reason === 'error') continue; // their times are of no whole answer
      queue.observe(labels, stats.queueMs / 1000);
      prefill.observe(labels, stats.prefillMs / 1000);
      decode.observe(labels, stats.decodeMs / 1000);
      inference.observe(labels, (stats.prefillMs + stats.decodeMs) / 1000);
      if (stats.generatedTokens > 1) perToken.observe(labels, stats.decodeMs / 1000 / (stats.generatedTokens - 1));
      promptSize.observe(labels, stats.promptTokens);
      answerSize.observe(labels, stats.generatedTokens);
    }
  }

  return {
    contentType: registry.contentType,
    async text() {
      await ask();
      return registry.metrics();
    },
    tokens(exchange, tokens, seconds) {
      for (let i = 0; i < tokens; i++) gaps.observe({ model_name: exchange.model ?? '' }, seconds / tokens);
    },
    end(exchange) {
      requests.inc({ route: exchange.route, status: exchange.status });
      if (exchange.model !== null && exchange.generations.length > 0) count(exchange, { model_name: exchange.model });
    },
  };
}
