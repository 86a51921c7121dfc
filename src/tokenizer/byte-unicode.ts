// GPT-2's way of writing bytes as characters, which GGUF and tokenizer.json keep their vocabularies in (OpenAI, gpt-2 encoder.py).

/** The character of each byte: itself if it is printable Latin-1, else from U+0100 on in order. */
const characterOf = new Uint16Array(256);
/** The byte of each character below 512, −1 for those that stand for none. */
const byteOf = new Int16Array(512).fill(-1);

for (let byte = 0, next = 256; byte < 256; byte++) {
  const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  characterOf[byte] = printable ? byte : next++;
  byteOf[characterOf[byte]!] = byte;
}

const encoder = new TextEncoder();

/** Writes the bytes that text[start, end) stands for to `into` at `at`; returns where they end, −1 for a character that is no byte. */
export function writeBytes(text: string, start: number, end: number, into: Uint8Array, at: number): number {
  for (let i = start; i < end; i++) {
    const c = text.charCodeAt(i);
    const byte = c < 512 ? byteOf[c]! : -1;
    if (byte < 0) return -1;
    into[at++] = byte;
  }
  return at;
}

/** The bytes a token's text stands for; if it has characters that stand for none, its UTF-8 (as the ByteLevel decoder does). */
export function tokenBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  return writeBytes(text, 0, text.length, bytes, 0) < 0 ? encoder.encode(text) : bytes;
}

/** The text in which vocabularies write these bytes. */
export function byteText(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(characterOf[byte]!);
  return text;
}
