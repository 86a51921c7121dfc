// maverick route: which experts a text's tokens go to, token by token, and what that says of each layer.
import { rename, rm, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Command } from 'commander';
import { foundBy, type LayerFigures, routingFigures } from '../plan/routing-figures.ts';
import { UsageError } from './failures.ts';
import { readTextFile } from './input.ts';
import { modelArgument, openChatModel } from './model-argument.ts';
import { addEngineOptions, type EngineFlags, positiveInteger } from './options.ts';
import { amount, durationText, perSecond, rateText } from './quantities.ts';
import { columns, note, print, progressBar, styled, type Terminal, table } from './terminal.ts';

interface Flags extends EngineFlags {
  maxTokens?: number;
  out?: string;
  json?: boolean;
}

export const addRoute = (program: Command, terminal: Terminal): Command =>
  addEngineOptions(
    program
      .command('route')
      .summary('record which experts a text goes to')
      .description(
        'Reads FILE and records, for each token and each layer with experts, which expert it goes to: with counts, entropy and reuse distances of each layer. A text longer than the context is read in windows that know nothing of each other. What it writes, plan takes as --trace.',
      )
      .argument(...modelArgument)
      .argument('<file>', 'a text file (UTF-8)')
      .option('-n, --max-tokens <number>', 'read only so many tokens', positiveInteger)
      .option('--out <file>', 'write the whole record as JSON')
      .option('--json', 'print the whole record as JSON')
      .action((model: string, file: string, flags: Flags) => route(model, file, flags, terminal)),
  );

async function route(name: string, file: string, flags: Flags, terminal: Terminal): Promise<void> {
  const text = await readTextFile(file);
  await using model = await openChatModel(name, flags, terminal);
  const { engine, tokenizer } = model;
  const { experts, expertsPerToken } = engine.info.config;
  if (experts === 0)
    throw new UsageError(
      `${basename(engine.info.path)} has no experts: every token uses all of it. Take Llama 4 Scout or Maverick.`,
    );
  const bos = tokenizer.bos === null ? [] : [tokenizer.bos];
  const size = engine.info.contextTokens - bos.length;
  if (size < 1)
    throw new UsageError(`--context: wanted at least ${bos.length + 1} tokens; got ${engine.info.contextTokens}.`);
  const tokens = tokenizer.encode(text).slice(0, flags.maxTokens);
  if (tokens.length === 0) throw new UsageError(`${file}: the text has no tokens.`);

  const start = performance.now();
  const ids: number[] = [];
  let layers: readonly number[] = [];
  {
    using bar = progressBar(terminal, 'Reading');
    for (let from = 0; from < tokens.length; from += size) {
      const window = tokens.slice(from, from + size);
      const routing = await engine.routing([...bos, ...window], { from: bos.length, signal: terminal.signal });
      ({ layers } = routing);
      for (const id of routing.ids) ids.push(id);
      bar.update(from + window.length, tokens.length, `${from + window.length} of ${tokens.length} tokens`);
    }
  }
  const ms = performance.now() - start;
  const figures = routingFigures({ layers, experts, expertsPerToken, ids: Uint16Array.from(ids) });
  const width = layers.length * expertsPerToken;
  const record = {
    model: engine.info.path,
    file,
    experts,
    expertsPerToken,
    layers,
    context: engine.info.contextTokens,
    ms,
    figures: figures.map(layer => ({ ...layer, evenEntropy: Math.log2(experts) })),
    tokens: tokens.map((token, at) => ({
      token,
      text: tokenizer.decode([token], { special: 'show' }),
      experts: layers.map((_, layer) =>
        ids.slice(at * width + layer * expertsPerToken, at * width + (layer + 1) * expertsPerToken),
      ),
    })),
  };
  if (flags.out !== undefined) {
    const temporary = `${flags.out}.${process.pid}.tmp`;
    try {
      await writeFile(temporary, `${JSON.stringify(record)}\n`);
      await rename(temporary, flags.out);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
  if (flags.json) print(terminal, JSON.stringify(record));
  else print(terminal, describe(record, figures, terminal));
  if (flags.out !== undefined) note(terminal, `Written: ${flags.out}`);
}

interface Record {
  readonly model: string;
  readonly experts: number;
  readonly expertsPerToken: number;
  readonly layers: readonly number[];
  readonly ms: number;
  readonly tokens: readonly unknown[];
}

function describe(
  { model, experts, layers, ms, tokens }: Record,
  figures: readonly LayerFigures[],
  terminal: Terminal,
): string {
  const quarter = Math.max(1, Math.round(experts / 4));
  const half = Math.max(1, Math.round(experts / 2));
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  const rows = figures.map(layer => {
    const most = layer.counts.indexOf(Math.max(...layer.counts));
    return [
      String(layer.layer),
      `${layer.used} of ${experts}`,
      layer.entropy.toFixed(2),
      `${most} (${percent(layer.counts[most]! / tokens.length)})`,
      median(layer),
      percent(foundBy(layer, quarter)),
      percent(foundBy(layer, half)),
    ];
  });
  return [
    styled(terminal.stdout, 'bold', basename(model)),
    columns([
      [
        'read',
        `${amount(tokens.length, 'token')} in ${durationText(ms)} (${rateText(perSecond(tokens.length, ms))} tok/s)`,
      ],
      [
        'experts',
        `${experts} in each of ${amount(layers.length, 'layer')}; even routing has an entropy of ${Math.log2(experts).toFixed(2)} bits`,
      ],
    ]),
    '',
    table(
      [['LAYER', 'USED', 'ENTROPY', 'MOST USED', 'REUSED AFTER', `IN ${quarter}`, `IN ${half}`], ...rows],
      [0, 1, 2, 3, 4, 5, 6],
    ),
    '',
    `REUSED AFTER: how many other experts the layer used before one was used again, in the median. IN ${quarter}, IN ${half}: how often the wanted`,
    'expert is among that many used last.',
  ].join('\n');
}

/** Of the distances; – where half of the uses were first ones. */
function median({ reuse, first }: LayerFigures): string {
  const all = reuse.reduce((sum, n) => sum + n, first);
  let seen = 0;
  for (const [distance, n] of reuse.entries()) {
    seen += n;
    if (2 * seen >= all) return String(distance);
  }
  return '–';
}
