// maverick chat: a conversation in the terminal, or a scripted one from standard input.
import type { Command } from 'commander';
import { modelArgument, openChatModel } from './model-argument.ts';
import {
  addEngineOptions,
  addSamplingOptions,
  addStatsOption,
  type EngineFlags,
  positiveInteger,
  type SamplingFlags,
  samplingOptions,
} from './options.ts';
import type { Terminal } from './terminal.ts';

interface Flags extends EngineFlags, SamplingFlags {
  system?: string;
  maxTokens?: number;
  load?: string;
}

export function addChat(program: Command, terminal: Terminal): Command {
  const command = program
    .command('chat')
    .summary('talk to a model')
    .description(
      'Talks to a model. Ctrl-C stops an answer; at the prompt, Ctrl-C twice or Ctrl-D leaves. Where standard input is no terminal, each of its lines is a message.',
    )
    .argument(...modelArgument)
    .option('--system <text>', 'the system message: who the model is, how it answers')
    .option('-n, --max-tokens <number>', 'most tokens of one answer', positiveInteger)
    .option('--load <file>', 'go on with a conversation that /save wrote')
    .addHelpText('after', `\n${examples}`)
    .action((model: string, flags: Flags) => chat(model, flags, terminal));
  return addStatsOption(
    addEngineOptions(
      addSamplingOptions(command, { temperature: "the model's, else 0.6", topP: "the model's, else 0.9" }),
    ),
  );
}

const examples = `Examples:
  maverick chat smollm2
  maverick chat smollm2 --system "Answer in one sentence." --temperature 0
  printf 'Hello\\nWhat did I say?\\n' | maverick chat smollm2

/help lists what can be typed in a conversation.`;

async function chat(name: string, flags: Flags, terminal: Terminal): Promise<void> {
  const { Conversation } = await import('./conversation.ts');
  const conversation = new Conversation(flags.system);
  if (flags.load) await conversation.load(flags.load);
  await using model = await openChatModel(name, flags, terminal);
  const { talk } = await import('./chat-session.ts');
  const { maxTokens } = flags;
  // Where the checkpoint suggests nothing, what Meta recommends for Llama 4.
  const sampling = { temperature: 0.6, topP: 0.9, ...model.suggested, ...samplingOptions(flags) };
  await talk(model, conversation, { ...sampling, ...(maxTokens && { maxTokens }) }, name, terminal);
}
