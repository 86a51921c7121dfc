// The messages of a conversation, and what can be done with them.
import { writeFile } from 'node:fs/promises';
import type { Message } from '../tokenizer/tokenizer.ts';
import { readTextFile } from './input.ts';

const roles: readonly string[] = ['system', 'user', 'assistant', 'tool', 'ipython'];

export class Conversation {
  #messages: Message[] = [];
  #system: string | undefined;

  constructor(system?: string) {
    this.#system = system;
  }

  /** What the model is given. */
  get messages(): readonly Message[] {
    return this.#system === undefined ? this.#messages : [{ role: 'system', content: this.#system }, ...this.#messages];
  }

  get system(): string | undefined {
    return this.#system;
  }

  set system(text: string | undefined) {
    this.#system = text;
  }

  add(role: 'user' | 'assistant', content: string): void {
    this.#messages.push({ role, content });
  }

  /** Forgets all but the system message. */
  reset(): void {
    this.#messages = [];
  }

  /** Takes back the last user message and what followed; gives its text, or null where there is none. */
  undo(): string | null {
    const index = this.#messages.findLastIndex(message => message.role === 'user');
    if (index < 0) return null;
    const { content } = this.#messages[index]!;
    this.#messages.length = index;
    return content;
  }

  async save(path: string): Promise<number> {
    try {
      await writeFile(path, `${JSON.stringify(this.messages, null, 2)}\n`);
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
      const reason =
        code === 'ENOENT'
          ? 'its folder is not there'
          : code === 'EISDIR'
            ? 'this is a folder; wanted a file'
            : String(cause);
      throw new Error(`${path}: nothing was saved, ${reason}.`, { cause });
    }
    return this.messages.length;
  }

  /** @throws when the file is no array of messages. */
  async load(path: string): Promise<number> {
    const text = await readTextFile(path);
    let content: unknown;
    try {
      content = JSON.parse(text);
    } catch (cause) {
      throw new Error(`${path}: this is no JSON. Wanted: a conversation as /save writes it.`, { cause });
    }
    if (!Array.isArray(content) || !content.every(isMessage))
      throw new Error(
        `${path}: wanted an array of {"role", "content"} as /save writes it; roles are ${roles.join(', ')}.`,
      );
    const [first, ...rest] = content;
    if (first?.role === 'system') {
      this.#system = first.content;
      this.#messages = rest;
    } else this.#messages = content;
    return content.length;
  }
}

function isMessage(value: unknown): value is Message {
  if (typeof value !== 'object' || value === null || !('role' in value) || !('content' in value)) return false;
  return typeof value.role === 'string' && roles.includes(value.role) && typeof value.content === 'string';
}
