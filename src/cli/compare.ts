// maverick compare: how far one model is from another over a text, as a report.
import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Comparison } from '../eval/compare.ts';
import { readTextFile } from './input.ts';
import { modelArgument, modelPath } from './model-argument.ts';
import { addEngineOptions, type EngineFlags, engineOptions, positiveInteger } from './options.ts';
import { columns, note, print, progressBar, type Terminal } from './terminal.ts';

interface Flags extends EngineFlags {
  tokens?: number;
  tasks: boolean;
  json?: string | true;
  markdown?: string;
}

export const addCompare = (program: Command, terminal: Terminal): Command =>
  addEngineOptions(
    program
      .command('compare')
      .summary('measure how far one model is from another')
      .description(
        'Measures B against A over a text: KL divergence, agreement on the likeliest token, perplexities, drift of each layer, and whether calls of tools and JSON keep their form. The models are loaded one after the other; A’s predictions wait on disk (4 bytes a token of the vocabulary at every position).',
      )
      .argument('<a>', `the model that is measured against: ${modelArgument[1]}`)
      .argument('<b>', 'the other')
      .argument('<file>', 'a text file (UTF-8)')
      .option('--tokens <number>', 'compare so many tokens of the text (default: 2048)', positiveInteger)
      .option('--no-tasks', 'ask no questions with tools and JSON')
      .option('--json [file]', 'write all numbers as JSON (without FILE: print them)')
      .option('--markdown <file>', 'write the report as Markdown, plots included')
      .addHelpText('after', `\n${examples}`)
      .action((a: string, b: string, file: string, flags: Flags) => compare(a, b, file, flags, terminal)),
  );

const examples = `Examples:
  maverick compare model-F16.gguf model-Q4_K_M.gguf text.txt
  maverick compare model-F16.gguf model-Q4_K_M.gguf text.txt --json report.json --markdown report.md`;

const doing = { loading: 'loading', predicting: 'predicting', answering: 'answering' } as const;

async function compare(a: string, b: string, file: string, flags: Flags, terminal: Terminal): Promise<void> {
  const text = await readTextFile(file);
  const [pathA, pathB] = [await modelPath(a, terminal), await modelPath(b, terminal)];
  const [{ compareModels }, { comparisonMarkdown }] = await Promise.all([
    import('../eval/compare.ts'),
    import('../eval/report.ts'),
  ]);
  const { contextTokens, ...engine } = engineOptions(flags);
  let comparison: Comparison;
  {
    using bar = progressBar(terminal, 'Comparing');
    comparison = await compareModels(pathA, pathB, text, {
      engine,
      ...(contextTokens && { contextTokens }),
      ...(flags.tokens && { maxTokens: flags.tokens }),
      tasks: flags.tasks,
      signal: terminal.signal,
      onProgress: (model, phase, done, total) =>
        bar.update(done, total, `${model}: ${doing[phase]} ${phase === 'loading' ? '' : `${done} of ${total}`}`),
    });
  }
  const written: string[] = [];
  const write = async (path: string, content: string): Promise<void> => {
    await writeFile(path, content);
    written.push(path);
  };
  const json = `${JSON.stringify(comparison, null, 2)}\n`;
  if (typeof flags.json === 'string') await write(flags.json, json);
  if (flags.markdown) await write(flags.markdown, comparisonMarkdown(comparison, new Date()));
  print(terminal, flags.json === true ? json.trimEnd() : summary(comparison));
  if (written.length > 0) note(terminal, `Written: ${written.join(', ')}`);
}

function summary({ kl, top1, perplexity: p, drift, tasks, predictions, contextTokens }: Comparison): string {
  const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
  const last = drift?.layers.at(-1);
  return columns([
    [
      'KL divergence',
      `${kl.mean.toFixed(6)} ± ${kl.error.toFixed(6)} nats (median ${kl.median.toFixed(6)}, 99 % ${kl.p99.toFixed(5)}, most ${kl.max.toFixed(5)})`,
    ],
    ['same likeliest', `${percent(top1.agreement)} ± ${percent(top1.error)}`],
    ['perplexity', `${p.a.toFixed(4)} → ${p.b.toFixed(4)}, ratio ${p.ratio.toFixed(5)} ± ${p.ratioError.toFixed(5)}`],
    [
      'last layer',
      last
        ? `drifts by ${last.relativeError.toPrecision(3)}, cosine ${last.cosine.toFixed(6)}`
        : 'not compared: layers or widths differ',
    ],
    ...(tasks
      ? ([
          ['calls of tools', `${tasks.tools.a} → ${tasks.tools.b} of ${tasks.tools.asked} in form`],
          ['JSON', `${tasks.json.a} → ${tasks.json.b} of ${tasks.json.asked} in form`],
        ] as const)
      : []),
    ['compared', `${predictions} predictions in windows of ${contextTokens} tokens`],
  ]);
}
