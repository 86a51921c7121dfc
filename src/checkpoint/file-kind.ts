// Guesses from a file's first bytes what it is, for those who named another file than they meant.

const startsWith = (bytes: Uint8Array, text: string): boolean =>
  [...text].every((character, i) => bytes[i] === character.charCodeAt(0));

/** Other things than GGUF that come in a model's place, how they begin, and what to do. */
const kinds: readonly (readonly [starts: readonly string[], look: string])[] = [
  [['version https://'], 'it looks like a Git LFS pointer; fetch the file itself (git lfs pull)'],
  [['<!DOC', '<!doc', '<html', '<HTML', '<?xml'], 'it looks like a web page saved in its place; fetch the file again'],
  [
    ['PK\u0003\u0004'],
    "it looks like a PyTorch or zip archive; of these only Meta's consolidated.NN.pth are read, by the folder with their params.json",
  ],
  [
    ['\u0080\u0002', '\u0080\u0004'],
    'it looks like a Python pickle, which is not read; get the model as safetensors or GGUF',
  ],
  [
    ['lmgg', 'fmgg', 'tjgg', 'algg'],
    'it looks like GGML, which came before GGUF; make it again with a current converter',
  ],
  [['FUGG'], 'it looks like GGUF with its bytes swapped; make it again on, or for, a little-endian machine'],
];

/** What a file that is no GGUF looks like, and what to do. `head` is its first bytes, 16 if it has them. */
export function lookOf(head: Uint8Array, size: number): string {
  if (size === 0) return 'the file is empty; fetch it again';
  if (isSafetensors(head, size))
    return 'it looks like safetensors; name the folder it is in, which must have its config.json too';
  const known = kinds.find(([starts]) => starts.some(start => startsWith(head, start)));
  if (known) return known[1];
  const bytes = Array.from(head.subarray(0, 4), byte => byte.toString(16).padStart(2, '0')).join(' ');
  return `it begins with the bytes ${bytes} where 47 47 55 46 ("GGUF") must stand; GGUF is what can be read`;
}

/** Eight bytes of length, then JSON of that length. Source: huggingface/safetensors README. */
function isSafetensors(head: Uint8Array, size: number): boolean {
  if (head.length < 10 || head[8] !== '{'.charCodeAt(0)) return false;
  const length = new DataView(head.buffer, head.byteOffset).getBigUint64(0, true);
  return length >= 2n && length <= size - 8;
}
