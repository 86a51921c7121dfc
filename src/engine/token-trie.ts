// The bytes of a vocabulary's tokens as one tree, laid out in the order in which it is walked.

/** The bytes of every token, end to end; tokens that steer, and are no text, have none. */
export interface TokenBytes {
  readonly bytes: Uint8Array;
  /** [tokens + 1], where each begins. */
  readonly offsets: Uint32Array;
}

/** Node i is a byte behind the nodes above it. Nodes follow each other as a walk in depth meets them. */
export interface TokenTrie extends TokenBytes {
  readonly size: number;
  readonly byte: Uint8Array;
  /** 0 for first bytes. */
  readonly depth: Uint16Array;
  /** The node behind all that are below this one. */
  readonly skip: Uint32Array;
  /** The first token in `tokens` that ends with this node; those of the next node begin where its end. */
  readonly first: Uint32Array;
  readonly tokens: Uint32Array;
  readonly vocab: number;
  /** Bytes of the longest token. */
  readonly deepest: number;
}

/** Tokens longer than this are left out: none that says something is. */
const LONGEST = 1024;

/** @param vocab tokens in all, those without bytes at the end included */
export function createTokenTrie({ bytes, offsets }: TokenBytes, vocab: number = offsets.length - 1): TokenTrie {
  const named = offsets.length - 1;
  const lengthOf = (token: number): number => offsets[token + 1]! - offsets[token]!;
  const ids: number[] = [];
  let nodes = 0;
  for (let token = 0; token < named; token++) {
    const length = lengthOf(token);
    if (length === 0 || length > LONGEST) continue;
    ids.push(token);
    nodes += length;
  }
  const order = sorted(Uint32Array.from(ids), bytes, offsets);
  const byte = new Uint8Array(nodes);
  const depth = new Uint16Array(nodes);
  const skip = new Uint32Array(nodes);
  const first = new Uint32Array(nodes + 1);
  const path: number[] = [];
  let size = 0;
  let deepest = 0;
  order.forEach((token, i) => {
    const start = offsets[token]!;
    const length = lengthOf(token);
    let common = 0;
    while (common < path.length && common < length && byte[path[common]!] === bytes[start + common]) common++;
    while (path.length > common) skip[path.pop()!] = size;
    for (let d = common; d < length; d++) {
      byte[size] = bytes[start + d]!;
      depth[size] = d;
      // A node made for a token further down the path has none of its own.
      first[size] = i;
      path.push(size++);
    }
    deepest = Math.max(deepest, length);
  });
  while (path.length > 0) skip[path.pop()!] = size;
  first[size] = order.length;
  return {
    bytes,
    offsets,
    size,
    byte: byte.slice(0, size),
    depth: depth.slice(0, size),
    skip: skip.slice(0, size),
    first: first.slice(0, size + 1),
    tokens: order,
    vocab,
    deepest,
  };
}

/** Tokens in the order of their bytes, like ones by id: parted by one byte after the other until few are left. */
function sorted(tokens: Uint32Array, bytes: Uint8Array, offsets: Uint32Array): Uint32Array {
  const spare = new Uint32Array(tokens.length);
  const starts = new Uint32Array(258);
  const open: [from: number, to: number, depth: number][] = [[0, tokens.length, 0]];
  for (let part = open.pop(); part; part = open.pop()) {
    const [from, to, depth] = part;
    const compare = (x: number, y: number): number => {
      let i = offsets[x]! + depth;
      let j = offsets[y]! + depth;
      while (i < offsets[x + 1]! && j < offsets[y + 1]! && bytes[i] === bytes[j]) {
        i++;
        j++;
      }
      if (i === offsets[x + 1]! || j === offsets[y + 1]!) return offsets[x + 1]! - i - (offsets[y + 1]! - j) || x - y;
      return bytes[i]! - bytes[j]!;
    };
    if (to - from <= 64) {
      tokens.subarray(from, to).sort(compare);
      continue;
    }
    const keyOf = (token: number): number =>
      offsets[token]! + depth < offsets[token + 1]! ? bytes[offsets[token]! + depth]! + 1 : 0;
    starts.fill(0);
    for (let i = from; i < to; i++) starts[keyOf(tokens[i]!) + 1]!++;
    for (let key = 1; key < 258; key++) starts[key]! += starts[key - 1]!;
    for (let key = 1; key < 257; key++)
      if (starts[key + 1]! - starts[key]! > 1) open.push([from + starts[key]!, from + starts[key + 1]!, depth + 1]);
    for (let i = from; i < to; i++) {
      const token = tokens[i]!;
      spare[from + starts[keyOf(token)]!++] = token;
    }
    tokens.set(spare.subarray(from, to), from);
  }
  return tokens;
}
