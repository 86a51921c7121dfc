// Where the program begins: the process's own streams and signals around `run`.
import { exitCodes } from './failures.ts';
import { run } from './program.ts';

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
  const interrupt = (code: number) => () => {
    if (interrupted.signal.aborted) process.exit(code); // the second one does not wait
    interrupted.abort();
  };
  process.on('SIGINT', interrupt(exitCodes.interrupted));
  process.on('SIGTERM', interrupt(exitCodes.interrupted));
  process.exitCode = await run(argv.slice(2), {
    stdin,
    stdout,
    stderr,
    environment: process.env,
    signal: interrupted.signal,
  });
  stdin.unref?.(); // a terminal that was read keeps the process alive otherwise
}
