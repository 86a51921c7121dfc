// maverick calibrate: an importance matrix of a model over a text, for quantizers.
import { basename } from 'node:path';
import type { Command } from 'commander';
import type { Calibration } from '../calibrate/calibrate.ts';
import { readTextFile } from './input.ts';
import { modelArgument, modelPath } from './model-argument.ts';
import { addEngineOptions, type EngineFlags, engineOptions, numberBetween, positiveInteger } from './options.ts';
import { amount, durationText, perSecond, rateText } from './quantities.ts';
import { note, print, progressBar, type Terminal, table } from './terminal.ts';

interface Flags extends EngineFlags {
  out?: string;
  chunks?: number;
  saveEvery: number;
  json?: boolean;
}

export const addCalibrate = (program: Command, terminal: Terminal): Command =>
  addEngineOptions(
    program
      .command('calibrate')
      .summary('measure what matters in a model, for quantizing it')
      .description(
        "Runs a text through a model and sums up, column by column and expert by expert, what each matrix is multiplied with: an importance matrix in llama.cpp's form, which 'maverick quantize' and llama.cpp's quantizer take. A run that is broken off goes on where it last saved.",
      )
      .argument(...modelArgument)
      .argument('<file>', 'a text file (UTF-8): the more like what the model will be used for, the better')
      .option(
        '--out <file>',
        'where it goes; a name that ends in .dat gets the older form (default: MODEL.imatrix.gguf here)',
      )
      .option(
        '--chunks <number>',
        'compute so many chunks of --context tokens (512) of the text (default: all)',
        positiveInteger,
      )
      .option('--save-every <seconds>', 'save what is done so often', numberBetween(0, 86_400), 30)
      .option('--json', 'print what was seen as JSON')
      .action((model: string, file: string, flags: Flags) => runCalibrate(model, file, flags, terminal)),
  );

async function runCalibrate(name: string, file: string, flags: Flags, terminal: Terminal): Promise<void> {
  const text = await readTextFile(file);
  const path = await modelPath(name, terminal);
  const out = flags.out ?? `${basename(path).replace(/(-\d{5}-of-\d{5})?\.gguf$/i, '')}.imatrix.gguf`;
  const [{ calibrate }, { readVocabulary }] = await Promise.all([
    import('../calibrate/calibrate.ts'),
    import('../engine/chat.ts'),
  ]);
  const { tokenizer } = await readVocabulary(path);
  const { contextTokens, ...engine } = engineOptions(flags);
  const start = performance.now();
  let calibration: Calibration;
  {
    using bar = progressBar(terminal, 'Calibrating');
    calibration = await calibrate(path, tokenizer.encode(text), tokenizer.bos, out, {
      engine,
      ...(contextTokens && { chunkSize: contextTokens }),
      ...(flags.chunks && { chunks: flags.chunks }),
      dataset: file,
      saveMs: flags.saveEvery * 1000,
      signal: terminal.signal,
      onProgress: (phase, done, total) =>
        bar.update(done, total, phase === 'loading' ? undefined : `chunk ${done} of ${total}`),
      onResume: done => note(terminal, `Going on after ${amount(done, 'chunk')} of an earlier run.`),
    });
  }
  const ms = performance.now() - start;
  const { imatrix, tokens, experts } = calibration;
  if (flags.json) {
    const { chunks, chunkSize, entries } = imatrix;
    print(terminal, JSON.stringify({ out, chunks, chunkSize, tokens, weights: entries.size, experts, ms }));
    return;
  }
  note(
    terminal,
    `${out}: ${amount(imatrix.entries.size, 'weight')}, ${amount(imatrix.chunks, 'chunk')} of ${imatrix.chunkSize} tokens in ${durationText(ms)} (${rateText(perSecond(tokens, ms))} tok/s)`,
  );
  if (experts.length > 0) print(terminal, coverage(calibration));
}

const SHOWN = 12;

/** Which experts saw how much, and what becomes of those that saw nothing. */
function coverage({ experts, tokens }: Calibration): string {
  const rows = experts.map(({ layer, counts, unseen }) => {
    const sorted = [...counts].sort((a, b) => a - b);
    const few = unseen.slice(0, SHOWN).join(' ');
    return [
      String(layer),
      String(unseen.length),
      String(sorted[0]),
      String(sorted[sorted.length >> 1]),
      String(sorted.at(-1)),
      unseen.length > SHOWN ? `${few} … (${unseen.length - SHOWN} more)` : few,
    ];
  });
  const none = experts.reduce((sum, { unseen }) => sum + unseen.length, 0);
  const all = experts.reduce((sum, { counts }) => sum + counts.length, 0);
  const said =
    none === 0
      ? `All ${all} experts saw some of the ${tokens} tokens.`
      : `${none} of ${all} experts saw none of the ${tokens} tokens: they have count 0 in the file, and 'maverick quantize' weighs their columns by the mean of their layer's other experts (llama.cpp's quantizer: all alike). A longer or more varied text reaches more of them.`;
  return `${table([['LAYER', 'UNSEEN', 'FEWEST', 'MEDIAN', 'MOST', 'UNSEEN EXPERTS'], ...rows], [0, 1, 2, 3, 4])}\n${said}`;
}
