// Conversations as trees, their store and the answers written into them: laws over random histories, without a browser.
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { type Archive, exportText, importText } from './archive.ts';
import { createChat } from './chat.ts';
import type { ChatChunk } from './chat-request.ts';
import {
  append,
  type ChatMessage,
  type Conversation,
  choose,
  isConversation,
  newConversation,
  pathOf,
  search,
  settled,
  titleOf,
  versionsOf,
} from './conversation.ts';
import { createConversationStore, MOST_CONVERSATIONS } from './conversation-store.ts';
import { DEFAULTS } from './settings.ts';

const message = (id: string, parent: string | null, more: Partial<ChatMessage> = {}): ChatMessage => ({
  id,
  parent,
  role: 'user',
  content: id,
  state: 'done',
  ...more,
});
const ids = (conversation: Conversation) => pathOf(conversation).map(({ id }) => id);

function memoryArchive(stored: readonly Conversation[] = []): Archive & { readonly kept: Map<string, Conversation> } {
  const kept = new Map(stored.map(conversation => [conversation.id, conversation]));
  return {
    kept,
    all: async () => [...kept.values()],
    get: async id => kept.get(id) ?? null,
    put: async conversations => {
      for (const conversation of conversations) kept.set(conversation.id, conversation);
    },
    remove: async removed => {
      for (const id of removed) kept.delete(id);
    },
    leave: () => {},
  };
}

describe('the tree', () => {
  test('a path leads from a first message to a last one; appending shows what was appended; choosing comes back', () => {
    const steps = fc.array(fc.record({ choose: fc.boolean(), at: fc.nat() }), { maxLength: 30 });
    fc.assert(
      fc.property(steps, all => {
        let tree = newConversation('x');
        for (const [index, step] of all.entries()) {
          const at = tree.messages[step.at % Math.max(1, tree.messages.length)];
          if (step.choose && at) {
            const before = pathOf(tree);
            tree = choose(tree, at);
            const version = before.find(({ parent }) => parent === at.parent);
            if (version) {
              expect(pathOf(tree)).toContain(at);
              expect(pathOf(choose(tree, version))).toEqual(before);
            }
          } else {
            const parent = step.at % 3 === 0 ? null : (at?.id ?? null);
            const added = message(`m${index}`, parent);
            tree = append(tree, added);
            expect(versionsOf(tree, added).at(-1)).toBe(added);
            if (parent === null || ids(tree).includes(parent)) expect(pathOf(tree).at(-1)).toBe(added);
          }
          const path = pathOf(tree);
          expect(path.map(({ parent }) => parent)).toEqual([null, ...path.slice(0, -1).map(({ id }) => id)]);
          expect(tree.messages.some(({ parent }) => parent === path.at(-1)!.id)).toBe(false);
          expect(isConversation(JSON.parse(JSON.stringify(tree)))).toBe(true);
        }
      }),
    );
  });

  test('stored values are doubted, and an answer in the making becomes a stopped one', () => {
    const good = append(append(newConversation('a'), message('a', null)), message('b', 'a', { state: 'streaming' }));
    expect(isConversation(good)).toBe(true);
    for (const damaged of [
      null,
      'x',
      [],
      { ...good, title: 5 },
      { ...good, messages: [null] },
      { ...good, messages: [good.messages[1]] },
      { ...good, messages: [good.messages[0], good.messages[0]] },
      { ...good, messages: [{ ...good.messages[0], role: 'system' }] },
      { ...good, messages: [{ ...good.messages[0], figures: { tokens: 'many' } }] },
      { ...good, messages: [{ ...good.messages[0], toolCalls: [{ id: 1 }] }] },
    ])
      expect(isConversation(damaged)).toBe(false);
    expect(settled(good).messages.map(({ state }) => state)).toEqual(['done', 'stopped']);
  });

  test('search finds all words, wherever they stand', () => {
    const one = append(newConversation('Sailing'), message('Wind and waves', null));
    const two = append(newConversation('Snow'), message('Cold WIND', null));
    expect(search([one, two], ' wind ')).toEqual([one, two]);
    expect(search([one, two], 'wind sail')).toEqual([one]);
    expect(search([one, two], '')).toEqual([one, two]);
    expect(titleOf(`\n ${'long '.repeat(30)}\nsecond`)).toMatch(/^long .{40,60}…$/);
  });

  test('a file gives back what was saved, and a wrong one is refused in words', () => {
    const conversation = append(newConversation('a'), message('a', null));
    expect(importText(exportText([conversation]))).toEqual([conversation]);
    expect(() => importText('{')).toThrow(/The file is not JSON/);
    expect(() => importText('[]')).toThrow(/has no "conversations"/);
    expect(() => importText('{"conversations": [{}]}')).toThrow(/Conversation 1 of the file is damaged/);
  });
});

describe('the store', () => {
  const dated = (id: string, updated: number): Conversation => ({ ...newConversation(id), id, updated });

  test('keeps what changes, drops the oldest beyond the bound, and takes only what is newer', async () => {
    const archive = memoryArchive([dated('old', 1)]);
    const store = createConversationStore(archive, null);
    await expect.poll(() => store.state.conversations?.length).toBe(1);
    expect(store.merge([dated('old', 0), dated('new', 2)])).toBe(1);
    store.change('old', conversation => ({ ...conversation, title: 'renamed' }));
    store.leave();
    await expect.poll(() => archive.kept.size).toBe(2);
    expect(archive.kept.get('old')!.title).toBe('renamed');
    store.merge(Array.from({ length: MOST_CONVERSATIONS }, (_, index) => dated(`n${index}`, 10 + index)));
    store.leave();
    await expect.poll(() => archive.kept.size).toBe(MOST_CONVERSATIONS);
    expect(store.find('old')).toBeUndefined();
  });

  test('what is kept of an answer in the making is a stopped one: the tab that writes it may be closed', async () => {
    const archive = memoryArchive();
    const store = createConversationStore(archive, null);
    store.add(append(dated('a', 1), message('q', null, { role: 'assistant', state: 'streaming' })));
    store.leave();
    await expect.poll(() => archive.kept.get('a')?.messages[0]?.state).toBe('stopped');
    expect(store.find('a')!.messages[0]!.state).toBe('streaming');
  });

  test('says when the browser cannot keep them, and works on', async () => {
    const refuse = async () => {
      throw new Error('quota');
    };
    const store = createConversationStore({ ...memoryArchive(), all: refuse, put: refuse }, null);
    store.add(dated('a', 1));
    store.leave();
    await expect.poll(() => store.state.isKept).toBe(false);
    expect(store.find('a')).toBeDefined();
  });
});

describe('an answer', () => {
  const chunk = (delta: ChatChunk['choices'][0]['delta'], finish: string | null = null) =>
    ({ choices: [{ delta, finish_reason: finish }] }) as unknown as ChatChunk;

  async function answered(chunks: readonly ChatChunk[], format: 'text' | 'schema' = 'text') {
    const store = createConversationStore(memoryArchive(), null);
    const conversation = append(newConversation('hi'), message('q', null));
    store.add(conversation);
    const chat = createChat(store, async function* () {
      yield* chunks;
    });
    await chat.answer(conversation.id, 'q', 'm', { ...DEFAULTS, format });
    expect(chat.isAnswering(conversation.id)).toBe(false);
    return pathOf(store.find(conversation.id)!).at(-1)!;
  }

  test('puts pieces together: text, and calls whose arguments come in parts', async () => {
    const reply = await answered([
      chunk({ content: 'Let me ' }),
      chunk({ content: 'look.' }),
      chunk({ tool_calls: [{ index: 0, id: 'c0', function: { name: 'weather', arguments: '' } }] }),
      chunk({ tool_calls: [{ index: 0, function: { arguments: '{"place":' } }] }),
      chunk({ tool_calls: [{ index: 1, id: 'c1', function: { name: 'time', arguments: '{}' } }] }),
      chunk({ tool_calls: [{ index: 0, function: { arguments: '"Bern"}' } }] }),
      chunk({}, 'tool_calls'),
    ]);
    expect(reply).toMatchObject({
      content: 'Let me look.',
      state: 'done',
      toolCalls: [
        { id: 'c0', name: 'weather', arguments: '{"place":"Bern"}' },
        { id: 'c1', name: 'time', arguments: '{}' },
      ],
    });
  });

  test('a setting that cannot be sent fails in words', async () => {
    expect(await answered([], 'schema')).toMatchObject({
      state: 'failed',
      error: expect.stringMatching(/The JSON schema must be JSON/),
    });
  });

  test('a conversation that is deleted meanwhile stays deleted', async () => {
    const store = createConversationStore(memoryArchive(), null);
    const conversation = append(newConversation('hi'), message('q', null));
    store.add(conversation);
    const aborted = vi.fn();
    const chat = createChat(store, async function* (_body, signal) {
      signal.addEventListener('abort', aborted);
      yield chunk({ content: 'a' });
      store.remove(conversation.id);
      yield chunk({ content: 'b' });
      signal.throwIfAborted();
    });
    await chat.answer(conversation.id, 'q', 'm', DEFAULTS);
    expect(store.find(conversation.id)).toBeUndefined();
    expect(aborted).toHaveBeenCalledOnce();
  });
});
