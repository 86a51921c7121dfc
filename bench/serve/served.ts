// A server in a process of its own, as 'maverick serve' starts it, and what the benchmarks ask of it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

export interface Served extends AsyncDisposable {
  readonly model: string;
  readonly port: number;
  /** A value of /metrics, summed over its labels. */
  metric(name: string): Promise<number>;
  /** Processor time that the server has taken, ms: all of it, and its main thread's alone (HTTP, not computing). */
  cpuMs(): { readonly all: number; readonly main: number };
}

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
  await fetch(`http://127.0.0.1:${port}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: data[0].id, prompt: 'x', max_tokens: 1 }),
  });
  return {
    model: data[0].id,
    port,
    async metric(name) {
      const lines = (await get('/metrics'))
        .split('\n')
        .filter(line => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    },
    cpuMs: () => ({
      all: ticksOf(`/proc/${child.pid}/stat`) * MS_PER_TICK,
      main: ticksOf(`/proc/${child.pid}/task/${child.pid}/stat`) * MS_PER_TICK,
    }),
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

const MS_PER_TICK = 10; // of Linux's user-facing clock

/** User and system time: the 14th and 15th field, counted behind the name in brackets. */
function ticksOf(stat: string): number {
  const text = readFileSync(stat, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

/** The text of a whole answer, or of a streamed one. */
export function textOf({ body }: { readonly body: string }): string {
  return eventsOf(body)
    .map(event => (JSON.parse(event) as { choices: { text: string }[] }).choices[0]?.text ?? '')
    .join('');
}

export function eventsOf(body: string): string[] {
  if (!body.startsWith('data: ')) return [body];
  return body
    .split('\n\n')
    .filter(event => event.startsWith('data: {'))
    .map(event => event.slice(6));
}

export const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
