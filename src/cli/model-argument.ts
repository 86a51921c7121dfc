// The argument MODEL: a path, a name in the library, or hf:owner/repo[:file]; and opening what it names.
import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { SourceModule } from '../checkpoint/sources.ts';
import type { ChatModel } from '../engine/chat-types.ts';
import type { Engine, ModelInfo } from '../engine/types.ts';
import { ggufFiles } from '../hub/choose.ts';
import { HubError } from '../hub/errors.ts';
import type { LibraryModel } from '../hub/library.ts';
import { UsageError } from './failures.ts';
import { type EngineFlags, engineOptions, streamingFolder } from './options.ts';
import { bytesText } from './quantities.ts';
import { streamReport } from './stream-report.ts';
import { note, progressBar, type Terminal } from './terminal.ts';

export const modelArgument = [
  '<model>',
  "a GGUF file, a folder of Hugging Face's or Meta's, a name that 'maverick list' shows, or hf:owner/repo[:file]",
] as const;

/** The checkpoint's path. @throws UsageError or HubError that lists near names and says how to get a model. */
export async function modelPath(name: string, terminal: Terminal): Promise<string> {
  const found = statSync(name, { throwIfNoEntry: false });
  if (found?.isDirectory()) return onlyModelIn(name);
  if (found) return name;
  if (!name.startsWith('hf:') && (/[\\/]/.test(name) || /\.(gguf|safetensors|bin|model|json)$/i.test(name))) {
    const byName = /[\\/]/.test(name) ? null : await inLibrary(name, terminal).catch(() => null);
    if (byName) return byName.path;
    throw new UsageError(
      `There is no file ${name}.${modelsBeside(name)} 'maverick list' shows the models on this machine.`,
    );
  }
  return (await inLibrary(name, terminal)).path;
}

async function inLibrary(name: string, terminal: Terminal): Promise<LibraryModel> {
  const [{ findModel }, { hubSettings }] = await Promise.all([
    import('../hub/library.ts'),
    import('../hub/settings.ts'),
  ]);
  return await findModel(name, hubSettings(terminal.environment));
}

/** The folder itself where it is a model, in safetensors or in Meta's shards, else the GGUF file in it. */
function onlyModelIn(folder: string): string {
  const names = new Set(readdirSync(folder));
  if (names.has('config.json') || names.has('params.json')) return folder;
  const models = ggufFiles([...names]);
  if (models.length === 1) return join(folder, models[0]!.path);
  const found = models.map(model => model.path).join(', ');
  throw new UsageError(
    models.length === 0
      ? `${folder} is a folder with no model: no GGUF file, no config.json with safetensors, no params.json with Meta's shards.`
      : `${folder} is a folder with several models (${found}). Name one file.`,
  );
}

function modelsBeside(path: string): string {
  try {
    const names = ggufFiles(readdirSync(dirname(path))).map(model => model.path);
    return names.length > 0
      ? ` ${dirname(path)} holds ${names.slice(0, 8).join(', ')}${names.length > 8 ? ', …' : ''}.`
      : '';
  } catch {
    return ` There is no folder ${dirname(path)}, either.`;
  }
}

/** A model on this machine, or as far as it is here. */
export interface Located extends AsyncDisposable {
  readonly path: string;
  readonly sources?: SourceModule;
  readonly bytes?: number;
}

/** Where a model that is to be run lies: one that is named with hf: may be here in part, or not yet. */
export async function locate(name: string, terminal: Terminal): Promise<Located> {
  try {
    return { path: await modelPath(name, terminal), async [Symbol.asyncDispose]() {} };
  } catch (error) {
    if (!name.startsWith('hf:') || !(error instanceof HubError && error.kind === 'missing')) throw error;
  }
  const [{ agreeToLicence }, { openPartial }, { hubSettings }] = await Promise.all([
    import('./agree.ts'),
    import('../hub/partial.ts'),
    import('../hub/settings.ts'),
  ]);
  const settings = hubSettings(terminal.environment);
  const model = await openPartial(name, {
    settings,
    signal: terminal.signal,
    onListing: ({ info: { licence, repo, commit } }) =>
      agreeToLicence({ licence: licence.name, repo, commit }, settings.cache, terminal),
  });
  if (model.presentBytes < model.bytes)
    note(
      terminal,
      `${name}: ${bytesText(model.presentBytes)} of ${bytesText(model.bytes)} are here; it runs, and the rest comes as it is needed. All of it at once: maverick pull ${name}`,
    );
  return model;
}

/** Opens the model for text, with a progress bar while it loads. */
export async function openChatModel(name: string, flags: EngineFlags, terminal: Terminal): Promise<ChatModel> {
  await using opened = new AsyncDisposableStack();
  const { path, sources } = opened.use(await locate(name, terminal));
  const { openChat } = await import('../engine/chat.ts');
  using bar = progressBar(terminal, `Loading ${basename(path)}`);
  const { signal } = terminal;
  const model = await openChat(path, {
    ...engineOptions(flags),
    streamingFolder: streamingFolder(terminal.environment),
    ...(sources && { sources }),
    onProgress: (done, total) => bar.update(done, total),
    signal,
  });
  if (!sources) sayStreaming(model.engine.info, terminal);
  const held = opened.move();
  held.use(model); // closed before what it reads from
  if (flags.stats) held.defer(() => sayStats(model.engine, terminal));
  return { ...model, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
}

/** Opens the model for tokens. */
export async function openTokenEngine(
  name: string,
  flags: EngineFlags & { maxSequences?: number },
  terminal: Terminal,
): Promise<Engine> {
  const path = await modelPath(name, terminal);
  const { openEngine } = await import('../engine/client.ts');
  using bar = progressBar(terminal, `Loading ${basename(path)}`);
  const options = {
    ...engineOptions(flags),
    streamingFolder: streamingFolder(terminal.environment),
    ...(flags.maxSequences && { maxSequences: flags.maxSequences }),
  };
  const engine = await openEngine(path, {
    ...options,
    onProgress: (done, total) => bar.update(done, total),
    signal: terminal.signal,
  });
  sayStreaming(engine.info, terminal);
  if (flags.stats) {
    const close = engine[Symbol.asyncDispose].bind(engine);
    Object.defineProperty(engine, Symbol.asyncDispose, { value: () => sayStats(engine, terminal).finally(close) });
  }
  return engine;
}

/** Says what reading experts cost. */
async function sayStats(engine: Engine, terminal: Terminal): Promise<void> {
  const stats = await engine.stats().catch(() => null); // an engine that failed has said so
  if (stats) note(terminal, streamReport(stats) ?? 'All experts are in memory: nothing was read for a token.');
}

/** Says, once, that not all of a model is in memory. */
function sayStreaming({ streaming }: ModelInfo, terminal: Terminal): void {
  if (!streaming) return;
  const { heldExperts, experts, heldBytes, memoryBytes } = streaming;
  note(
    terminal,
    `Larger than the memory it may take (${bytesText(memoryBytes)}): ${heldExperts} of ${experts} experts (${bytesText(heldBytes)}) are in memory at once, the others are read from disk as tokens want them.`,
  );
}
