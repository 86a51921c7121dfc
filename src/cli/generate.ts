// maverick generate: one answer to one prompt, for people and for programs.
import { type Command, Option } from 'commander';
import type { ChatModel, ChatOptions } from '../engine/chat-types.ts';
import type { ChatEvent, GenerationStats, TokenEvent } from '../engine/types.ts';
import type { Message } from '../tokenizer/tokenizer.ts';
import { readStandardInput } from './input.ts';
import { modelArgument, openChatModel } from './model-argument.ts';
import {
  addEngineOptions,
  addSamplingOptions,
  addStatsOption,
  collectText,
  type EngineFlags,
  numberBetween,
  positiveInteger,
  type SamplingFlags,
  samplingOptions,
} from './options.ts';
import { amount, durationText, perSecond, rateText } from './quantities.ts';
import { note, print, type Terminal, table } from './terminal.ts';
import { tokenText } from './tokenize.ts';

interface Flags extends EngineFlags, SamplingFlags {
  chat?: boolean;
  system?: string;
  maxTokens?: number;
  stop?: string[];
  logprobs?: number | true;
  json?: boolean;
}

export function addGenerate(program: Command, terminal: Terminal): Command {
  const command = program
    .command('generate')
    .summary('continue a text, or answer one question')
    .description(
      'Continues PROMPT and writes the text as it is computed. With --chat the prompt is a question that the model answers.',
    )
    .argument(...modelArgument)
    .argument('[prompt]', 'the text (standard input when not given)')
    .addOption(new Option('--raw', 'continue the text as it is (the default)').conflicts('chat'))
    .option('--chat', "put the prompt into the model's chat format")
    .option('--system <text>', 'with --chat: the system message')
    .option(
      '-n, --max-tokens <number>',
      'most tokens to generate (default: what the context has room for)',
      positiveInteger,
    )
    .option('--stop <text>', 'end before this text; may be given several times; \\n is a line break', collectText)
    .option(
      '--logprobs [number]',
      'print the tokens with their log-probabilities, and those of the number likeliest',
      numberBetween(0, 20, 'integer'),
    )
    .option('--json', 'print one JSON object at the end')
    .addHelpText('after', `\n${examples}`)
    .action((model: string, prompt: string | undefined, flags: Flags) => generate(model, prompt, flags, terminal));
  return addStatsOption(addEngineOptions(addSamplingOptions(command, { temperature: '0', topP: '1' })));
}

const examples = `Examples:
  maverick generate smollm2 "Once upon a time" -n 100 --temperature 0.8 --seed 1
  maverick generate smollm2 --chat "What is the capital of France?"
  cat article.txt | maverick generate smollm2 --json --logprobs 5`;

async function generate(name: string, given: string | undefined, flags: Flags, terminal: Terminal): Promise<void> {
  const prompt = given ?? (await readStandardInput(terminal));
  await using model = await openChatModel(name, flags, terminal);
  const top = flags.logprobs === true ? 0 : flags.logprobs;
  const options: ChatOptions = {
    ...samplingOptions(flags),
    ...(flags.maxTokens && { maxTokens: flags.maxTokens }),
    ...(flags.stop && { stop: flags.stop }),
    ...(top !== undefined && { topLogprobs: top }),
    signal: terminal.signal,
  };
  const events = flags.chat ? model.chat(messagesOf(prompt, flags.system), options) : model.complete(prompt, options);
  const streams = !flags.json && flags.logprobs === undefined;
  let text = '';
  const tokens: TokenEvent[] = [];
  let end: Extract<ChatEvent, { type: 'end' }> | undefined;
  for await (const event of events) {
    if (event.type === 'end') end = event;
    else if (event.type === 'text') {
      text += event.text;
      tokens.push(...event.tokens);
      if (streams) terminal.stdout.write(event.text);
    }
  }
  if (streams) terminal.stdout.write(text.endsWith('\n') ? '' : '\n');
  terminal.signal.throwIfAborted();
  if (!end) throw new Error('The generation ended without a reason.');
  if (flags.json) print(terminal, JSON.stringify(report(model, text, tokens, end, flags.logprobs !== undefined)));
  else if (!streams) print(terminal, logprobTable(model, tokens));
  if (!flags.json) note(terminal, statsLine(end.stats, end.reason));
}

const messagesOf = (prompt: string, system: string | undefined): Message[] => [
  ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]),
  { role: 'user', content: prompt },
];

/** 42 tokens · 31.2 tok/s · 20 of 28 guesses right · prompt 12 tokens (4 cached) in 0.3 s */
export function statsLine(stats: GenerationStats, reason?: string): string {
  const { promptTokens, cachedTokens, generatedTokens, prefillMs, decodeMs, draftedTokens } = stats;
  const speed = generatedTokens > 1 ? ` · ${rateText(perSecond(generatedTokens - 1, decodeMs))} tok/s` : '';
  const cached = cachedTokens > 0 ? ` (${cachedTokens} cached)` : '';
  const guesses = draftedTokens > 0 ? ` · ${stats.acceptedTokens} of ${draftedTokens} guesses right` : '';
  const why: Record<string, string> = {
    length: ' · stopped at --max-tokens',
    context: ' · the context is full',
    deadline: ' · out of time',
    abort: ' · stopped',
  };
  return `${amount(generatedTokens, 'token')}${speed}${guesses} · prompt ${amount(promptTokens, 'token')}${cached} in ${durationText(prefillMs)}${why[reason ?? ''] ?? ''}`;
}

function report(
  model: ChatModel,
  text: string,
  tokens: readonly TokenEvent[],
  end: Extract<ChatEvent, { type: 'end' }>,
  withLogprobs: boolean,
): object {
  const { stats, reason } = end;
  const textOf = (token: number) => model.tokenizer.decode([token], { special: 'show' });
  const logprobs = tokens.map(({ token, logprob, topLogprobs }) => ({
    token,
    text: textOf(token),
    logprob,
    top: topLogprobs.map(other => ({ ...other, text: textOf(other.token) })),
  }));
  return {
    text,
    tokens: tokens.map(({ token }) => token),
    finishReason: reason,
    ...(withLogprobs && { logprobs }),
    stats: {
      ...stats,
      promptTokensPerSecond: perSecond(stats.promptTokens - stats.cachedTokens, stats.prefillMs),
      tokensPerSecond: perSecond(Math.max(0, stats.generatedTokens - 1), stats.decodeMs),
    },
  };
}

function logprobTable(model: ChatModel, tokens: readonly TokenEvent[]): string {
  const textOf = (token: number) => tokenText(model.tokenizer, token);
  const rows = tokens.map(({ token, logprob, topLogprobs }) => [
    String(token),
    logprob.toFixed(4),
    textOf(token),
    topLogprobs.map(other => `${textOf(other.token)} ${other.logprob.toFixed(2)}`).join('  '),
  ]);
  return table([['TOKEN', 'LOGPROB', 'TEXT', 'LIKELIEST'], ...rows], [0, 1]);
}
