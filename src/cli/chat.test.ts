// Conversations: commands, several lines at once, Ctrl-C during an answer and at the prompt, scripted turns.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { talk } from './chat-session.ts';
import { Conversation } from './conversation.ts';
import { type FakeModel, fakeModel } from './fake-model.cases.ts';
import { typing } from './fake-terminal.cases.ts';

const echo = () => fakeModel(messages => `You said: ${messages.at(-1)!.content}`);
const users = (fake: FakeModel) => fake.asked.map(messages => messages.at(-1)!.content);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-chat-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function scripted(input: string, fake: FakeModel, conversation = new Conversation()) {
  const { terminal, stdout, stderr } = typing();
  const piped = { ...terminal, stdin: Readable.from([Buffer.from(input)]) };
  await talk(fake.model, conversation, {}, 'fake', piped);
  return { stdout: stdout.text, stderr: stderr.text, conversation };
}

describe('scripted turns', () => {
  test('each line is a message, and the model is given all before it', async () => {
    const fake = echo();
    const { stdout, stderr } = await scripted('one\n\ntwo', fake, new Conversation('Be brief.'));
    expect(stdout).toBe('You said: one\nYou said: two\n');
    expect(fake.asked[1]).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'one' },
      { role: 'assistant', content: 'You said: one' },
      { role: 'user', content: 'two' },
    ]);
    expect(stderr).toContain('3 tokens · 2.0 tok/s · prompt 5 tokens (2 cached) in 100 ms');
  });

  test('several lines: a backslash, or three quotes', async () => {
    const fake = echo();
    await scripted('a\\\nb\n"""\nc\n\nd\n"""\n"""e"""\nhe said """f"""\n', fake);
    expect(users(fake)).toEqual(['a\nb', 'c\n\nd', 'e', 'he said """f"""']);
  });

  test('a message of several lines that the input cuts off is still one', async () => {
    const fake = echo();
    await scripted('"""\na\nb', fake);
    expect(users(fake)).toEqual(['a\nb']);
  });

  test('/reset, /system, /undo, /retry and //', async () => {
    const fake = echo();
    const { stderr, conversation } = await scripted(
      'a\n/retry\n/undo\nb\n/reset\n/system Be kind.\n//slash\n/nonsense\n/system -\n',
      fake,
    );
    expect(users(fake)).toEqual(['a', 'a', 'b', '/slash']);
    expect(fake.asked.map(messages => messages.length)).toEqual([1, 1, 1, 2]);
    expect(stderr).toContain('There is no command /nonsense');
    expect(conversation.messages.map(message => message.content)).toEqual(['/slash', 'You said: /slash']);
  });

  test('/save and /load keep a conversation', async () => {
    const path = join(folder, 'saved.json');
    const first = await scripted(`hello\n/save ${path}\n`, echo(), new Conversation('System.'));
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual(first.conversation.messages);
    const second = await scripted(`/load ${path}\n/exit\nnever\n`, echo());
    expect(second.conversation.messages).toEqual(first.conversation.messages);
  });

  test('/save says why nothing was saved', async () => {
    const nowhere = join(folder, 'nowhere', 'saved.json');
    await expect(new Conversation().save(nowhere)).rejects.toThrow(`${nowhere}: nothing was saved, its folder`);
    await expect(new Conversation().save(folder)).rejects.toThrow(/this is a folder/);
  });

  test.each(['{}', '[{"role":"robot","content":"x"}]', '[{"role":"user"}]', 'no'])(
    '%s is no conversation',
    async content => {
      const path = join(folder, 'bad.json');
      await writeFile(path, content);
      await expect(new Conversation().load(path)).rejects.toThrow(/bad\.json: .*\/save/);
    },
  );
});

describe('at a terminal', () => {
  const until = async (condition: () => boolean) => {
    for (let i = 0; i < 400 && !condition(); i++) await new Promise(resolve => setTimeout(resolve, 5));
    expect(condition()).toBe(true);
  };

  test('Ctrl-C stops the answer and not the program; what was said stays', async () => {
    const fake = fakeModel(() => 'word '.repeat(200), 5);
    const conversation = new Conversation();
    const { terminal, type, stdout, stderr } = typing();
    const session = talk(fake.model, conversation, {}, 'fake', terminal);
    type('go on\r');
    await until(() => stdout.text.includes('word word'));
    type('\x03');
    await until(() => stderr.text.includes('stopped'));
    expect(conversation.messages.at(-1)!.content).toMatch(/^(word )+$/);
    expect(conversation.messages.at(-1)!.content.length).toBeLessThan(1000);
    type('again\r');
    await until(() => fake.asked.length === 2);
    type('\x03');
    type('\x04');
    await until(() => stderr.text.split('stopped').length === 3);
    type('\x04');
    await session;
  });

  test('Ctrl-C at the prompt warns, twice it leaves', async () => {
    const { terminal, type, stderr } = typing();
    const session = talk(echo().model, new Conversation(), {}, 'fake', terminal);
    type('\x03');
    await until(() => stderr.text.includes('Ctrl-C again leaves'));
    type('\x03');
    await session;
  });

  test('Ctrl-C, then a message, then Ctrl-C: it warns anew', async () => {
    const fake = echo();
    const { terminal, type, stderr } = typing();
    const session = talk(fake.model, new Conversation(), {}, 'fake', terminal);
    type('\x03');
    type('hello\r');
    await until(() => stderr.text.includes('tok/s'));
    type('\x03');
    await until(() => stderr.text.split('Ctrl-C again leaves').length === 3);
    type('\x04');
    await session;
  });

  test('pasted lines are one message', async () => {
    const fake = echo();
    const { terminal, type, stderr } = typing();
    const session = talk(fake.model, new Conversation(), {}, 'fake', terminal);
    type('first\rsecond\rthird\r');
    await until(() => stderr.text.includes('tok/s'));
    expect(users(fake)).toEqual(['first\nsecond\nthird']);
    type('\x04');
    await session;
  });

  test('a command ends with its line, and what was pasted after it is a message; a comment is no command', async () => {
    const fake = echo();
    const { terminal, type, stderr } = typing();
    const session = talk(fake.model, new Conversation(), {}, 'fake', terminal);
    type('/reset\rhello\r');
    await until(() => stderr.text.includes('tok/s'));
    expect(stderr.text).toContain('begins anew');
    expect(users(fake)).toEqual(['hello']);
    type('//* a comment\rcode();\r');
    await until(() => fake.asked.length === 2);
    expect(users(fake)[1]).toBe('/* a comment\ncode();');
    type('\x04');
    await session;
  });

  test('what is typed during an answer is not shown in it, and is the next message', async () => {
    const fake = fakeModel(() => 'word '.repeat(30), 5);
    const { terminal, type, stdout, stderr } = typing();
    const session = talk(fake.model, new Conversation(), {}, 'fake', terminal);
    type('one\r');
    await until(() => stdout.text.includes('word word'));
    type('two\r');
    await until(() => stderr.text.split('tok/s').length === 3);
    expect(users(fake)).toEqual(['one', 'two']);
    expect(stdout.text).toMatch(/(word\s+){30}[^w]*two\n(word\s+){30}/);
    type('\x04');
    await session;
  });

  test('a pasted last line without its end waits for Enter', async () => {
    const fake = echo();
    const { terminal, type, stderr } = typing();
    const session = talk(fake.model, new Conversation(), {}, 'fake', terminal);
    type('first\rsecond\rthi');
    await new Promise(resolve => setTimeout(resolve, 60));
    expect(fake.asked).toEqual([]);
    type('rd\r');
    await until(() => stderr.text.includes('tok/s'));
    expect(users(fake)).toEqual(['first\nsecond\nthird']);
    type('\x04');
    await session;
  });

  test('an answer that fails is told, and the conversation goes on without it', async () => {
    const conversation = new Conversation();
    const fake = fakeModel(messages => {
      if (messages.at(-1)!.content === 'bad') throw new Error('The context is full.');
      return 'fine';
    });
    const { terminal, type, stdout, stderr } = typing();
    const session = talk(fake.model, conversation, {}, 'fake', terminal);
    type('bad\r');
    await until(() => stderr.text.includes('error: The context is full.'));
    type('good\r');
    await until(() => stdout.text.includes('fine'));
    type('\x04');
    await session;
    expect(conversation.messages.map(message => message.content)).toEqual(['good', 'fine']);
  });

  test('an interrupt from outside ends it', async () => {
    const { terminal, interrupt } = typing();
    const session = talk(echo().model, new Conversation(), {}, 'fake', terminal);
    interrupt.abort();
    await expect(session).rejects.toThrow(/abort/i);
  });
});
