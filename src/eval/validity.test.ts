// Verdicts on answers: what is in form and what is not, and that every built-in question can be answered.
import { describe, expect, test } from 'vitest';
import { fakeModel } from '../cli/fake-model.cases.ts';
import { type Form, tasks } from './tasks.ts';
import { faultOfCalls, faultOfText, judge } from './validity.ts';

const form: Form = {
  type: 'object',
  properties: {
    name: { type: 'string', enum: ['a', 'b'] },
    ages: { type: 'array', items: { type: 'integer' } },
    note: { type: 'object', properties: { good: { type: 'boolean' } }, required: ['good'] },
  },
  required: ['name'],
};

describe('JSON', () => {
  test.each([
    '{"name":"a"}',
    ' {"name": "b", "ages": [1, 2], "more": null}\n',
    '```json\n{"name":"a","note":{"good":true}}\n```',
    '```\n{"name":"a"}\n```\n',
  ])('in form: %s', text => expect(faultOfText(form, text)).toBeNull());

  test.each([
    ['', 'no JSON'],
    ['Here you are: {"name":"a"}', 'no JSON'],
    ['{"name":"a"', 'no JSON'],
    ['["a"]', 'the value is no object'],
    ['null', 'the value is no object'],
    ['{}', 'name is missing'],
    ['{"name":"c"}', 'name is none of a, b'],
    ['{"name":1}', 'name is no string'],
    ['{"name":"a","ages":[1,2.5]}', 'ages[1] is no integer'],
    ['{"name":"a","note":{}}', 'note.good is missing'],
    ['{"name":"a","note":{"good":"yes"}}', 'note.good is no boolean'],
  ])('not in form: %s', (text, fault) => expect(faultOfText(form, text)).toBe(fault));
});

describe('calls', () => {
  const tools = [{ name: 'find', parameters: form }];
  const call = (name: string, text: string, complete = true) => ({ name, arguments: text, complete });
  test('in form: all of them', () => {
    expect(faultOfCalls(tools, [call('find', '{"name":"a"}'), call('find', '{"name":"b"}')])).toBeNull();
  });
  test.each([
    [[], 'no call'],
    [[call('seek', '{"name":"a"}')], 'a call of seek, which is no tool'],
    [[call('find', '{"name":"a"', false)], 'the call of find breaks off'],
    [[call('find', '{"name":"a"}'), call('find', '{}')], 'find: name is missing'],
  ])('not in form: %j', (calls, fault) => expect(faultOfCalls(tools, calls)).toBe(fault));
});

describe('the questions', () => {
  test('have names of their own, eight of each kind', () => {
    expect(new Set(tasks.map(({ id }) => id)).size).toBe(tasks.length);
    expect(tasks.filter(({ tools }) => tools).length).toBe(8);
    expect(tasks.filter(({ form }) => form).length).toBe(8);
  });

  test('a model that answers in form is told so, and one that chats is not', async () => {
    const exampleOf = (form: Form): unknown => {
      if (form.enum) return form.enum[0];
      if (form.type === 'array') return [exampleOf(form.items!)];
      if (form.type === 'object')
        return Object.fromEntries(Object.entries(form.properties!).map(([name, part]) => [name, exampleOf(part)]));
      return { string: 'x', number: 1.5, integer: 2, boolean: true }[form.type];
    };
    const good = fakeModel(messages => {
      const task = tasks.find(({ messages: [...asked] }) => asked.at(-1)!.content === messages.at(-1)!.content)!;
      return task.form ? JSON.stringify(exampleOf(task.form)) : 'I call nobody.';
    });
    const verdicts = await judge(good.model);
    expect(verdicts.filter(({ kind }) => kind === 'json').map(({ fault }) => fault)).toEqual(Array(8).fill(null));
    expect(verdicts.filter(({ kind }) => kind === 'tools').map(({ fault }) => fault)).toEqual(Array(8).fill('no call'));
    const chatty = await judge(fakeModel(() => 'Sure! Here is your JSON.').model);
    expect(chatty.map(({ fault }) => fault).filter(fault => fault === null)).toEqual([]);
  });
});
