// A server in a process of its own, as 'maverick serve' starts it, and what the benchmarks ask of it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';

export interface Served extends AsyncDisposable {
  readonly model: string;
  readonly port: number;
  /** A value of /metrics, summed over its labels. */
  metric(name: string): Promise<number>;
}

const agent = new Agent({ keepAlive: true, maxSockets: 2000 });

/** @param flags of 'maverick serve' */
export async function serve(path: string, flags: readonly string[]): Promise<Served> {
  const child: ChildProcess = spawn(process.execPath, ['bin/maverick.mjs', 'serve', path, '--port', '0', ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  const port = await new Promise<number>((resolve, reject) => {
    child.stdout!.on('data', data => {
      printed += data;
      const found = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(printed);
      if (found) resolve(Number(found[1]));
    });
    child.once('exit', code => reject(new Error(`The server ended with code ${code}: ${printed}`)));
  });
  const get = async (route: string) => (await fetch(`http://127.0.0.1:${port}${route}`)).text();
  const { data } = JSON.parse(await get('/v1/models')) as { data: [{ id: string }] };
  await ask(port, { model: data[0].id, prompt: 'x', max_tokens: 1 }).whole;
  return {
    model: data[0].id,
    port,
    async metric(name) {
      const lines = (await get('/metrics'))
        .split('\n')
        .filter(line => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

export interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: string;
  /** ms from the request to the status, to the first byte of the body, and to the last. */
  readonly headMs: number;
  readonly firstMs: number;
  readonly endMs: number;
}

/** Sends a completion over plain HTTP, so that little of the client is measured. */
export function ask(port: number, body: object): { readonly whole: Promise<Answer>; leave(): void } {
  const text = JSON.stringify(body);
  const start = performance.now();
  const since = (): number => performance.now() - start;
  const call = request({
    port,
    host: '127.0.0.1',
    agent,
    method: 'POST',
    path: '/v1/completions',
    headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
  });
  const whole = new Promise<Answer>((resolve, reject) => {
    call.once('error', reject);
    call.once('response', response => {
      const headMs = since();
      let firstMs = 0;
      let received = '';
      response.setEncoding('utf8');
      response.on('data', piece => {
        firstMs ||= since();
        received += piece;
      });
      response.once('error', reject);
      response.once('end', () => {
        const { statusCode = 0, headers } = response;
        resolve({
          status: statusCode,
          retryAfter: headers['retry-after'],
          body: received,
          headMs,
          firstMs,
          endMs: since(),
        });
      });
    });
  });
  call.end(text);
  return { whole, leave: () => call.destroy() };
}

/** The text of a whole answer, or of a streamed one. */
export function textOf({ body }: Answer): string {
  const events = body.startsWith('data: ')
    ? body
        .split('\n\n')
        .filter(event => event.startsWith('data: {'))
        .map(event => event.slice(6))
    : [body];
  return events.map(event => (JSON.parse(event) as { choices: { text: string }[] }).choices[0]?.text ?? '').join('');
}

export const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
