// A lean HTTP client over sockets that are used again: it shares the machine with the server, and what it takes it takes from it.
// An answer is put together and read only when it has ended.
import { connect, type Socket } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: string;
  /** ms from the request to the first byte of the body, and to the last of all. */
  readonly firstMs: number;
  readonly endMs: number;
}

export interface Call {
  readonly whole: Promise<Answer>;
  /** Events of the stream that have come so far. */
  events(): number;
  leave(): void;
}

const idle: Socket[] = [];
const END_OF_CHUNKS = Buffer.from('0\r\n\r\n');

/** Sends a completion. */
export function ask(port: number, body: object): Call {
  const text = JSON.stringify(body);
  const head = `POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n`;
  const socket = idle.pop() ?? opened(port);
  const start = performance.now();
  const pieces: Buffer[] = [];
  let firstMs = 0;
  /** Where the body begins and how long it is; length −1: it comes in chunks. */
  let found: { readonly head: string; readonly from: number; readonly length: number } | null = null;
  let size = 0;
  const received = (): string => Buffer.concat(pieces).toString('utf8');

  const whole = new Promise<Answer>((resolve, reject) => {
    const onData = (piece: Buffer): void => {
      pieces.push(piece);
      size += piece.length;
      found ??= headOf(Buffer.concat(pieces));
      if (!found || size === found.from) return;
      firstMs ||= performance.now() - start;
      const { length, from } = found;
      if (length < 0 ? !piece.subarray(-END_OF_CHUNKS.length).equals(END_OF_CHUNKS) : size < from + length) return;
      stop();
      idle.push(socket);
      const all = Buffer.concat(pieces).subarray(from);
      resolve({
        status: Number(/^HTTP\/1\.1 (\d{3})/.exec(found.head)?.[1]),
        retryAfter: /\r\nretry-after: (.+)\r\n/i.exec(found.head)?.[1],
        body: (length < 0 ? unchunked(all) : all).toString('utf8'),
        firstMs,
        endMs: performance.now() - start,
      });
    };
    const onClose = (): void => {
      stop();
      reject(new Error(`The connection ended in the middle of an answer: ${received().slice(0, 200)}`));
    };
    const onError = (): void => {}; // 'close' follows
    const stop = (): void => void socket.off('data', onData).off('close', onClose).off('error', onError);
    socket.on('data', onData).on('close', onClose).on('error', onError);
  });
  socket.write(head + text);
  return { whole, events: () => received().split('data: {').length - 1, leave: () => void socket.destroy() };
}

function opened(port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.once('close', () => {
    const at = idle.indexOf(socket);
    if (at >= 0) idle.splice(at, 1);
  });
  return socket;
}

/** Closes the connections that nobody uses. */
export function hangUp(): void {
  for (const socket of idle.splice(0)) socket.destroy();
}

function headOf(received: Buffer) {
  const end = received.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const head = received.subarray(0, end + 2).toString('latin1');
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1];
  return { head, from: end + 4, length: length === undefined ? -1 : Number(length) };
}

function unchunked(body: Buffer): Buffer {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = body.indexOf('\r\n', at);
    const length = Number.parseInt(body.subarray(at, line).toString('latin1'), 16);
    if (!(length > 0)) return Buffer.concat(chunks);
    chunks.push(body.subarray(line + 2, line + 2 + length));
    at = line + 2 + length + 2;
  }
}
