// Reads what torch.save pickles of a dictionary of tensors, as data: nothing is called, and what is not known is refused by name.
// Sources: CPython Lib/pickletools.py (opcodes); PyTorch torch/serialization.py and torch/_utils.py (what a saved tensor is).

/** Numbers of a storage, the archive's entry `data/KEY`: the pickle names its type, and the entry has its bytes. */
export interface PickledTensor {
  readonly kind: 'tensor';
  /** As PyTorch calls it: "BFloat16Storage", or a type that has no storage of its own, "float8_e4m3fn". */
  readonly storage: string;
  readonly key: string;
  /** Numbers of the storage before the tensor's first. */
  readonly start: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** Something known to be harmless that is no tensor: the state of an extension, bytes, a type. */
interface Opaque {
  readonly kind: 'opaque';
}
interface Global {
  readonly kind: 'global';
  readonly name: string;
}
interface Storage {
  readonly kind: 'storage';
  readonly type: string;
  readonly key: string;
}
type Value = null | boolean | number | string | PickledTensor | Opaque | Global | Storage | Value[] | Map<Value, Value>;

/** A pickle that cannot be read: what stands at which byte. */
export class PickleError extends Error {
  override readonly name = 'PickleError';
}

/** What a file of tensors may name. Python would call these; here each is a word with a meaning, or without one. */
const rebuilders = new Set(['tensor_v2', 'tensor_v3', 'parameter'].map(what => `torch._utils._rebuild_${what}`));
const harmless =
  /^(collections\.OrderedDict|_io\.BytesIO|_codecs\.encode|torch\.Size|torch\.storage\.UntypedStorage|torch\.(\w+Storage|bfloat16|float16|float32|float64|u?int\d+|bool|float8_e4m3fn|float8_e5m2))$/;

const MARK = Symbol('mark');
const maxDepthOfStack = 2 ** 16;

/**
 * The tensors of a dictionary by name; other values in it are left out.
 * @throws PickleError when it is no such pickle, or names something that a file of tensors has no need of
 */
export function readTensorPickle(bytes: Uint8Array): Map<string, PickledTensor> {
  const value = new Unpickler(bytes).run();
  if (!(value instanceof Map)) throw new PickleError('it holds no dictionary of tensors');
  const tensors = new Map<string, PickledTensor>();
  for (const [key, item] of value) {
    if (typeof key !== 'string') throw new PickleError(`a key is ${typeof key}, wanted names of tensors`);
    if (typeof item === 'object' && item !== null && 'kind' in item && item.kind === 'tensor') tensors.set(key, item);
  }
  return tensors;
}

const nameOf = (value: Value): string | null =>
  typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'global' ? value.name : null;

class Unpickler {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #stack: (Value | typeof MARK)[] = [];
  readonly #memo = new Map<number, Value>();
  readonly #text = new TextDecoder('utf-8', { fatal: true });
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): Value {
    for (;;) {
      const at = this.#at;
      const opcode = String.fromCharCode(this.#byte());
      if (opcode === '.') return this.#pop();
      try {
        const value = this.#step(opcode);
        if (value !== undefined) this.#stack.push(value);
      } catch (error) {
        if (error instanceof PickleError) throw error;
        throw new PickleError(`opcode ${JSON.stringify(opcode)} at byte ${at}: ${(error as Error).message}`);
      }
      if (this.#stack.length > maxDepthOfStack)
        throw new PickleError(`more than ${maxDepthOfStack} values are open at byte ${at}`);
    }
  }

  /** @returns what the opcode puts on the stack, undefined where it is nothing */
  #step(opcode: string): Value | undefined {
    switch (opcode) {
      case '\x80': // PROTO
        if (this.#byte() > 5) throw new PickleError(`protocol ${this.#bytes[this.#at - 1]} is not known`);
        return undefined;
      case '\x95': // FRAME: its length is of no use here
        this.#take(8);
        return undefined;
      case '(':
        this.#stack.push(MARK);
        return undefined;
      case 'N':
        return null;
      case '\x88':
        return true;
      case '\x89':
        return false;
      case 'K':
        return this.#byte();
      case 'M':
        return this.#view.getUint16(this.#take(2), true);
      case 'J':
        return this.#view.getInt32(this.#take(4), true);
      case '\x8a':
        return this.#long(this.#byte());
      case 'G':
        return this.#view.getFloat64(this.#take(8));
      case 'X':
        return this.#string(this.#view.getUint32(this.#take(4), true));
      case '\x8c':
        return this.#string(this.#byte());
      case 'U':
        return this.#string(this.#byte());
      case 'B':
        return this.#bytesOf(this.#view.getUint32(this.#take(4), true));
      case 'C':
        return this.#bytesOf(this.#byte());
      case 'c':
        return this.#global(`${this.#line()}.${this.#line()}`);
      case '\x93': {
        const name = this.#pop();
        return this.#global(`${String(this.#pop())}.${String(name)}`);
      }
      case '}':
        return new Map();
      case ']':
      case ')':
        return [];
      case 't':
        return this.#marked();
      case '\x85':
      case '\x86':
      case '\x87': {
        const items: Value[] = [];
        for (let i = opcode.charCodeAt(0) - 0x84; i > 0; i--) items.unshift(this.#pop());
        return items;
      }
      case 'a': {
        const item = this.#pop();
        this.#list().push(item);
        return undefined;
      }
      case 'e': {
        const items = this.#marked();
        const list = this.#list();
        for (const item of items) list.push(item);
        return undefined;
      }
      case 's': {
        const value = this.#pop();
        const key = this.#pop();
        this.#dictionary()?.set(key, value);
        return undefined;
      }
      case 'u': {
        const items = this.#marked();
        const dictionary = this.#dictionary();
        for (let i = 0; i + 1 < items.length; i += 2) dictionary?.set(items[i]!, items[i + 1]!);
        return undefined;
      }
      case 'q':
        return this.#remember(this.#byte(), this.#top());
      case 'r':
        return this.#remember(this.#view.getUint32(this.#take(4), true), this.#top());
      case '\x94':
        return this.#remember(this.#memo.size, this.#top());
      case 'h':
        return this.#remembered(this.#byte());
      case 'j':
        return this.#remembered(this.#view.getUint32(this.#take(4), true));
      case 'Q':
        return this.#persistent(this.#pop());
      case 'R':
      case '\x81': {
        const args = this.#pop();
        return this.#reduce(this.#pop(), args);
      }
      case 'b': // BUILD: the state of what is below; a dictionary of tensors has none that matters
        this.#pop();
        return undefined;
      default:
        throw new PickleError(
          `opcode 0x${opcode.charCodeAt(0).toString(16)} at byte ${this.#at - 1} is none that files of tensors have`,
        );
    }
  }

  #take(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length)
      throw new PickleError(`it ends at byte ${this.#bytes.length}, in the middle of a value`);
    this.#at += count;
    return at;
  }

  #byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  #string(length: number): string {
    const at = this.#take(length);
    return this.#text.decode(this.#bytes.subarray(at, at + length));
  }

  #bytesOf(length: number): Opaque {
    this.#take(length);
    return { kind: 'opaque' };
  }

  #remember(index: number, value: Value): undefined {
    this.#memo.set(index, value);
  }

  #line(): string {
    const end = this.#bytes.indexOf(10, this.#at);
    if (end < 0 || end - this.#at > 200) throw new PickleError(`a name at byte ${this.#at} has no end`);
    const text = this.#string(end - this.#at);
    this.#at++;
    return text;
  }

  #long(length: number): number {
    const at = this.#take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[at + i]!);
    const number = Number(BigInt.asIntN(8 * Math.max(1, length), value));
    if (!Number.isSafeInteger(number)) throw new PickleError(`a number of ${length} bytes at byte ${at} is too large`);
    return number;
  }

  #pop(): Value {
    const value = this.#stack.pop();
    if (value === undefined || value === MARK) throw new PickleError(`a value is missing before byte ${this.#at}`);
    return value;
  }

  #top(): Value {
    const value = this.#pop();
    this.#stack.push(value);
    return value;
  }

  #marked(): Value[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) throw new PickleError(`a mark is missing before byte ${this.#at}`);
    const items = this.#stack.splice(mark) as Value[];
    items.shift();
    return items;
  }

  #list(): Value[] {
    const list = this.#top();
    if (!Array.isArray(list)) throw new PickleError(`a list is missing before byte ${this.#at}`);
    return list;
  }

  /** Null for what is opaque, whose items are of no interest. */
  #dictionary(): Map<Value, Value> | null {
    const value = this.#top();
    if (value instanceof Map) return value;
    if (typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'opaque') return null;
    throw new PickleError(`a dictionary is missing before byte ${this.#at}`);
  }

  #remembered(index: number): Value {
    const value = this.#memo.get(index);
    if (value === undefined) throw new PickleError(`memo ${index} is asked for at byte ${this.#at} before it is made`);
    return value;
  }

  #global(name: string): Global {
    if (!rebuilders.has(name) && !harmless.test(name))
      throw new PickleError(
        `it names ${JSON.stringify(name.slice(0, 100))}, which Python would call when it loads the file and no file of tensors needs. Do not load it`,
      );
    return { kind: 'global', name };
  }

  /** ('storage', type, key, device, count), the way PyTorch refers to an entry of the archive. */
  #persistent(id: Value): Storage {
    const [what, type, key] = Array.isArray(id) ? id : [];
    const named = nameOf(type ?? null);
    if (what !== 'storage' || !named || typeof key !== 'string')
      throw new PickleError(`a reference before byte ${this.#at} is none to a storage`);
    return { kind: 'storage', type: named.replace(/^torch\./, ''), key };
  }

  #reduce(callable: Value, args: Value): Value {
    if (
      typeof callable !== 'object' ||
      callable === null ||
      !('kind' in callable) ||
      callable.kind !== 'global' ||
      !Array.isArray(args)
    )
      throw new PickleError(`something that has no name is called before byte ${this.#at}`);
    if (callable.name === 'collections.OrderedDict') return new Map();
    if (!rebuilders.has(callable.name)) return { kind: 'opaque' };
    const [storage, start, shape, strides, , , dtype] = args;
    if (callable.name.endsWith('_rebuild_parameter')) return storage ?? null;
    const sizes = (value: Value | undefined): value is number[] =>
      Array.isArray(value) && value.length <= 8 && value.every(n => Number.isSafeInteger(n) && (n as number) >= 0);
    const isStorage =
      typeof storage === 'object' && storage !== null && 'kind' in storage && storage.kind === 'storage';
    if (
      !isStorage ||
      !Number.isSafeInteger(start) ||
      (start as number) < 0 ||
      !sizes(shape) ||
      !sizes(strides) ||
      shape.length !== strides.length
    )
      throw new PickleError(`a tensor before byte ${this.#at} lacks its storage, its place or its shape`);
    // The third version has the type beside a storage of bytes.
    const type = callable.name.endsWith('_v3') ? nameOf(dtype ?? null) : storage.type;
    if (type === null) throw new PickleError(`a tensor before byte ${this.#at} lacks its type`);
    return {
      kind: 'tensor',
      storage: type.replace(/^torch\./, ''),
      key: storage.key,
      start: start as number,
      shape: [...shape],
      strides: [...strides],
    };
  }
}
