// The loop of a conversation: read a message or a command, stream the answer, say how fast it was.
import { basename } from 'node:path';
import type { ChatModel, ChatOptions } from '../engine/chat-types.ts';
import type { Conversation } from './conversation.ts';
import { messageOf } from './failures.ts';
import { statsLine } from './generate.ts';
import { MessageReader } from './message-reader.ts';
import { computedBy, countText } from './quantities.ts';
import { columns, note, styled, type Terminal } from './terminal.ts';
import { WordWrap } from './word-wrap.ts';

interface Session {
  readonly model: ChatModel;
  readonly conversation: Conversation;
  readonly options: ChatOptions;
  readonly terminal: Terminal;
  readonly reader: MessageReader;
  readonly name: string;
}

/** Runs until the user leaves or the input ends. */
export async function talk(
  model: ChatModel,
  conversation: Conversation,
  options: ChatOptions,
  name: string,
  terminal: Terminal,
): Promise<void> {
  using reader = new MessageReader(terminal);
  const session: Session = { model, conversation, options, terminal, reader, name };
  if (reader.interactive) {
    const { info } = model.engine;
    note(
      terminal,
      `${basename(name)} · ${countText(info.parameters)} parameters · ${computedBy(info)} · ${info.contextTokens} tokens of context`,
    );
    note(terminal, '/help lists what can be typed. Ctrl-C stops an answer, Ctrl-D leaves.');
  }
  for (;;) {
    const text = await reader.next();
    if (text === null) break;
    if (text.trim() === '') continue;
    if (text.startsWith('/') && !text.startsWith('//')) {
      if ((await command(text, session)) === 'leave') break;
    } else await answer(text.startsWith('//') ? text.slice(1) : text, session);
  }
  terminal.signal.throwIfAborted();
}

async function answer(text: string, { model, conversation, options, terminal, reader }: Session): Promise<void> {
  const { stdout } = terminal;
  conversation.add('user', text);
  const stop = new AbortController();
  using _ = reader.onInterrupt(() => stop.abort());
  const wrap = reader.interactive ? new WordWrap(() => stdout.columns ?? 80) : null;
  let said = '';
  try {
    const signal = AbortSignal.any([stop.signal, terminal.signal]);
    for await (const event of model.chat(conversation.messages, { ...options, signal })) {
      if (event.type === 'text') {
        said += event.text;
        stdout.write(wrap ? wrap.push(event.text) : event.text);
      } else if (event.type === 'end') {
        stdout.write(said.endsWith('\n') ? '' : '\n');
        note(terminal, statsLine(event.stats, event.reason));
        if (event.reason === 'context')
          note(terminal, 'The context is full: /reset begins anew, --context gives more room.');
      }
    }
  } catch (error) {
    // A conversation goes on after an answer that failed, unless the user has left.
    if (terminal.signal.aborted) throw error;
    if (!stop.signal.aborted) {
      if (!reader.interactive) throw error;
      conversation.undo();
      if (said !== '') stdout.write('\n');
      terminal.stderr.write(`${styled(terminal.stderr, ['bold', 'red'], 'error:')} ${messageOf(error)}\n`);
      return;
    }
    if (said !== '') stdout.write('\n');
  }
  if (said === '' && stop.signal.aborted) conversation.undo();
  else conversation.add('assistant', said);
}

const help: readonly (readonly [string, string])[] = [
  ['/help', 'this list'],
  ['/reset', 'forget the conversation (the system message stays)'],
  ['/system TEXT', 'change the system message; without TEXT: show it; /system - removes it'],
  ['/retry', 'answer the last message again'],
  ['/undo', 'take the last message and its answer back'],
  ['/save FILE', 'write the conversation as JSON'],
  ['/load FILE', 'go on with a saved conversation'],
  ['/stats', 'tokens, times and memory since the start'],
  ['/exit', 'leave (or Ctrl-D)'],
  ['', ''],
  ['\\ at the end', 'goes on in the next line'],
  ['"""', 'begins and ends a message of several lines'],
  ['//TEXT', 'a message that begins with a slash'],
];

async function command(line: string, session: Session): Promise<'leave' | undefined> {
  const { conversation, terminal } = session;
  const [, verb, rest] = /^\/(\S*)\s*([\s\S]*)$/.exec(line)!;
  const argument = rest!.trim();
  const say = (text: string) => note(terminal, text);
  try {
    switch (verb) {
      case 'help':
      case '?':
        say(columns(help));
        break;
      case 'reset':
      case 'clear':
        conversation.reset();
        say('The conversation begins anew.');
        break;
      case 'system':
        if (argument !== '') conversation.system = argument === '-' ? undefined : argument;
        say(conversation.system === undefined ? 'There is no system message.' : `System: ${conversation.system}`);
        break;
      case 'retry':
      case 'undo': {
        const text = conversation.undo();
        if (text === null) say('There is nothing to take back.');
        else if (verb === 'retry') await answer(text, session);
        else say(`Taken back: ${text.length > 60 ? `${text.slice(0, 60)}…` : text}`);
        break;
      }
      case 'save':
        if (argument === '') say('Wanted: /save FILE');
        else say(`Saved ${await conversation.save(argument)} messages to ${argument}.`);
        break;
      case 'load':
        if (argument === '') say('Wanted: /load FILE');
        else say(`Loaded ${await conversation.load(argument)} messages from ${argument}.`);
        break;
      case 'stats':
        say(await statistics(session));
        break;
      case 'exit':
      case 'quit':
      case 'bye':
        return 'leave';
      default:
        say(`There is no command /${verb}. /help lists them; //${verb} sends it as a message.`);
    }
  } catch (error) {
    if (terminal.signal.aborted || !session.reader.interactive) throw error;
    say(messageOf(error));
  }
  return undefined;
}

async function statistics({ model }: Session): Promise<string> {
  const { bytesText, durationText, perSecond, rateText } = await import('./quantities.ts');
  const stats = await model.engine.stats();
  const phase = (tokens: number, ms: number) =>
    `${tokens} tokens in ${durationText(ms)}, ${rateText(perSecond(tokens, ms))} tok/s`;
  return columns([
    ['prompts', phase(stats.prefillTokens, stats.prefillMs)],
    ['answers', phase(stats.decodeTokens, stats.decodeMs)],
    ['memory', `${bytesText(stats.memoryBytes)}, of which ${bytesText(stats.cacheBytes)} keys and values`],
  ]);
}
