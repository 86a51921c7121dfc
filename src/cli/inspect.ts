// maverick inspect: what a checkpoint holds, read from its header alone.
import type { Command } from 'commander';
import type { Checkpoint, MetadataValue } from '../checkpoint/checkpoint.ts';
import {
  type CheckpointSummary,
  type KeysAndValues,
  keysAndValues,
  kindOf,
  kinds,
  summarize,
} from './checkpoint-summary.ts';
import { modelArgument, modelPath } from './model-argument.ts';
import { positiveInteger } from './options.ts';
import { bytesText, countText } from './quantities.ts';
import { columns, print, styled, type Terminal, table } from './terminal.ts';

interface Flags {
  tensors?: boolean;
  metadata?: boolean;
  context?: number;
  json?: boolean;
}

export const addInspect = (program: Command, terminal: Terminal): Command =>
  program
    .command('inspect')
    .summary('show what a model file holds')
    .description(
      'Shows metadata, parameters (all, and those a token uses) and memory by kind. It reads the header alone, so it is quick with any size.',
    )
    .argument(...modelArgument)
    .option('--tensors', 'also list every tensor')
    .option('--context <tokens>', 'show the memory of keys and values at this length', positiveInteger)
    .option('--json', 'print JSON')
    .action((model: string, flags: Flags) => inspect(model, flags, terminal));

async function inspect(name: string, flags: Flags, terminal: Terminal): Promise<void> {
  const path = await modelPath(name, terminal);
  const { openCheckpoint } = await import('../checkpoint/open.ts');
  await using checkpoint = await openCheckpoint(path);
  const summary = summarize(checkpoint);
  const kv = keysAndValues(summary, checkpoint.metadata);
  const context = flags.context ?? Math.min(summary.contextLength ?? 8192, 8192);
  if (flags.json) {
    const keyValue = kv && { bytesPerToken: kv.bytesPerToken, context, bytesAtContext: kv.at(context) };
    const metadata = Object.fromEntries([...checkpoint.metadata].map(([key, value]) => [key, plain(value)]));
    const tensors = flags.tensors && { tensors: tensorRows(checkpoint) };
    print(terminal, JSON.stringify({ path, ...summary, keyValue, metadata, ...tensors }, null, 2));
    return;
  }
  print(terminal, describe(path, summary, kv, context, terminal));
  print(terminal, `\n${heading(terminal, `Metadata (${checkpoint.metadata.size} keys)`)}`);
  print(
    terminal,
    columns(
      [...checkpoint.metadata].map(([key, value]) => [key, brief(value)]),
      '  ',
    ),
  );
  if (!flags.tensors) return;
  print(terminal, `\n${heading(terminal, `Tensors (${checkpoint.tensors.size})`)}`);
  const rows = tensorRows(checkpoint).map(({ name, dtype, shape, bytes, kind }) => [
    name,
    dtype,
    shape.join(' × '),
    bytesText(bytes),
    kind,
  ]);
  print(terminal, table([['NAME', 'FORMAT', 'SHAPE', 'SIZE', 'KIND'], ...rows], [3]));
}

const heading = (terminal: Terminal, text: string): string => styled(terminal.stdout, 'bold', text);

const tensorRows = (checkpoint: Checkpoint) =>
  [...checkpoint.tensors.values()].map(({ name, dtype, shape, byteLength }) => ({
    name,
    dtype,
    shape,
    bytes: byteLength,
    kind: kindOf(name),
  }));

function describe(
  path: string,
  s: CheckpointSummary,
  kv: KeysAndValues | null,
  context: number,
  terminal: Terminal,
): string {
  const formats = s.byFormat.map(({ dtype, bytes }) => `${dtype} ${bytesText(bytes)}`).join(', ');
  const experts = s.experts > 0 ? `, ${s.experts} experts of which a token uses ${s.expertsPerToken}` : '';
  const overview = columns([
    ['file', path],
    ['architecture', s.architecture ?? 'not stated'],
    [
      'parameters',
      `${countText(s.parameters)}${s.experts > 0 ? `, of which a token uses ${countText(s.activeParameters)}` : ''}`,
    ],
    [
      'layers',
      `${s.layers ?? '?'} of width ${s.dim ?? '?'}, ${s.heads ?? '?'} heads (${s.kvHeads ?? '?'} of keys and values) of ${s.headDim ?? '?'}${experts}`,
    ],
    ['vocabulary', `${s.vocab ?? '?'} tokens`],
    ['context', `${s.contextLength ?? '?'} tokens`],
    ['formats', formats],
  ]);
  const share = (part: number) => `${((100 * part) / Math.max(1, s.bytes)).toFixed(1)} %`;
  const rows = kinds
    .filter(kind => s.byKind[kind].tensors > 0)
    .map(kind => [
      kind,
      countText(s.byKind[kind].parameters),
      bytesText(s.byKind[kind].bytes),
      share(s.byKind[kind].bytes),
    ]);
  const memory = table(
    [['', 'PARAMETERS', 'SIZE', ''], ...rows, ['all', countText(s.parameters), bytesText(s.bytes), '']],
    [1, 2, 3],
  );
  const keys = kv
    ? `keys and values: ${bytesText(kv.bytesPerToken)} a token, ${bytesText(kv.at(context))} for a sequence of ${context} tokens`
    : 'keys and values: the header does not say';
  const title = s.name ?? s.architecture ?? path;
  return [heading(terminal, title), overview, '', heading(terminal, 'Memory'), memory, keys].join('\n');
}

/** At most so many entries of an array are shown; vocabularies have hundreds of thousands. */
const shown = 8;

type PlainValue = string | number | boolean | PlainValue[] | { length: number; first: PlainValue[] };

/** JSON knows neither bigints nor patience. */
function plain(value: MetadataValue): PlainValue {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object') return value;
  if (value.length > 64) return { length: value.length, first: Array.from(value.slice(0, shown), plain) };
  return Array.from(value, plain);
}

function brief(value: MetadataValue): string {
  if (typeof value === 'string') {
    const line = JSON.stringify(value).slice(1, -1);
    return line.length > 100 ? `${line.slice(0, 100)}… (${value.length} characters)` : line;
  }
  // Float32 in the file: no more digits than it has.
  if (typeof value === 'number') return String(Number.isInteger(value) ? value : Number(value.toPrecision(7)));
  if (typeof value !== 'object') return String(value);
  const first = Array.from(value.slice(0, shown), brief).join(', ');
  return value.length > shown ? `[${value.length}] ${first}, …` : `[${first}]`;
}
