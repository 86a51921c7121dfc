// Where the program begins: the process's own streams and signals around `run`.
import { exitCodes } from './failures.ts';
import { run } from './program.ts';

/** One Ctrl-C can arrive more than once: from the terminal, and from each program around this one that passes it on. */
const samePressMs = 300;

/** Runs the command line `argv` (as in process.argv) and sets the exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  const { stdin, stdout, stderr } = process;
  // A reader that has seen enough (`maverick inspect … | head`) is no failure.
  for (const stream of [stdout, stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(exitCodes.ok);
      throw error;
    });
  const interrupted = new AbortController();
  let first = 0;
  const interrupt = () => {
    if (!interrupted.signal.aborted) {
      first = performance.now();
      interrupted.abort();
    } else if (performance.now() - first > samePressMs) process.exit(exitCodes.interrupted); // the second one does not wait
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  process.exitCode = await run(argv.slice(2), {
    stdin,
    stdout,
    stderr,
    environment: process.env,
    signal: interrupted.signal,
  });
  stdin.unref?.(); // a terminal that was read keeps the process alive otherwise
}
