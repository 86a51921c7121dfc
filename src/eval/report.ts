// A comparison as Markdown that needs nothing beside it: tables, and plots made of text.
import { basename } from 'node:path';
import type { ComparedModel, Comparison, Validity } from './compare.ts';

/** @param date of the report; the numbers have none */
export function comparisonMarkdown(comparison: Comparison, date: Date): string {
  const { a, b, kl, top1, perplexity: p, probabilityChange, drift, tasks } = comparison;
  const sections = [
    `# ${nameOf(b)} against ${nameOf(a)}`,
    `${comparison.predictions} predictions of one text, in windows of ${comparison.contextTokens} tokens, measured ${date.toISOString().slice(0, 10)} by open-maverick.`,
    table([
      ['', 'A', 'B'],
      ['file', code(nameOf(a)), code(nameOf(b))],
      ['parameters', a.parameters.toLocaleString('en'), b.parameters.toLocaleString('en')],
      ['bytes of weights', a.weightBytes.toLocaleString('en'), b.weightBytes.toLocaleString('en')],
      ['bits a weight', bits(a), bits(b)],
      ['computed by', computedBy(a), computedBy(b)],
      ['perplexity', plusMinus(p.a, p.aError, 4), plusMinus(p.b, p.bError, 4)],
    ]),
    '## How far B is from A',
    table([
      ['', ''],
      ['KL divergence, mean', `${plusMinus(kl.mean, kl.error, 6)} nats`],
      ['… median, 99 %, most', `${number(kl.median)}, ${number(kl.p99)}, ${number(kl.max)}`],
      ['same likeliest token', `${percent(top1.agreement)} ± ${percent(top1.error)}`],
      ['perplexity, B / A', plusMinus(p.ratio, p.ratioError, 5)],
      ['perplexity, B − A', plusMinus(p.difference, p.differenceError, 5)],
      [
        'probability of the next token, B − A',
        `mean ${percent(probabilityChange.mean)}, root mean square ${percent(probabilityChange.rms)}`,
      ],
    ]),
    'Predictions by their KL divergence:',
    fence(histogram(comparison)),
    '## Layer by layer',
    drift
      ? `The residual stream after each layer at ${drift.positions} positions: ‖B − A‖ / ‖A‖, mean and most, and the mean cosine.`
      : 'The models differ in layers or width, so their layers were not compared.',
    ...(drift ? [fence(driftPlot(drift.layers))] : []),
    '## Answers with a form',
    ...(tasks ? taskSections(tasks) : ['No questions were asked.']),
    '## Where they differ most',
    table([
      ['position', 'text before', 'next', 'KL', 'p A', 'p B'],
      ...comparison.worst.map(worst => [
        String(worst.position),
        code(worst.before),
        code(worst.token),
        number(worst.kl),
        percent(worst.a),
        percent(worst.b),
      ]),
    ]),
  ];
  return `${sections.join('\n\n')}\n`;
}

function taskSections({ tools, json, changed }: NonNullable<Comparison['tasks']>): string[] {
  const row = (name: string, { asked, a, b }: Validity): string[] => [
    name,
    String(asked),
    `${a} (${percent(a / asked)})`,
    `${b} (${percent(b / asked)})`,
    b === a ? '0' : b > a ? `+${b - a}` : `−${a - b}`,
  ];
  return [
    'Greedy answers, without a grammar that would force the form.',
    table([['', 'asked', 'in form: A', 'B', 'change'], row('calls of tools', tools), row('JSON', json)]),
    changed.length === 0
      ? 'Each question was answered in form by both or by neither.'
      : table([['changed', 'A', 'B'], ...changed.map(({ id, a, b }) => [id, a ?? 'in form', b ?? 'in form'])]),
  ];
}

const WIDTH = 40;

function histogram({ klHistogram: bins }: Comparison): string {
  const used = bins.map(({ count }, i) => (count > 0 ? i : -1)).filter(i => i >= 0);
  const shown = bins.slice(used[0] ?? 0, (used.at(-1) ?? 0) + 1);
  const most = Math.max(...shown.map(({ count }) => count));
  return shown
    .map(({ from, to, count }, i) => {
      const low = i === 0 && used[0] === 0 ? 'below  ' : power(from);
      return `${low} … ${power(to)}  ${bar(count / most)} ${count}`;
    })
    .join('\n');
}

const power = (exponent: number): string => (10 ** exponent).toExponential(0).padEnd(7);

function driftPlot(layers: NonNullable<Comparison['drift']>['layers']): string {
  const most = Math.max(...layers.map(({ relativeError }) => relativeError), Number.MIN_VALUE);
  return [
    `layer  ${'mean'.padEnd(10)}${'most'.padEnd(10)}${'cosine'.padEnd(10)}`,
    ...layers.map(
      ({ layer, relativeError, worstRelativeError, cosine }) =>
        `${String(layer).padStart(5)}  ${number(relativeError).padEnd(10)}${number(worstRelativeError).padEnd(10)}${cosine
          .toFixed(6)
          .padEnd(10)}${bar(relativeError / most)}`,
    ),
  ].join('\n');
}

/** A bar in eighths of a character, so that small shares are seen. */
function bar(share: number): string {
  const eighths = Math.round(Math.max(0, Math.min(1, share)) * WIDTH * 8);
  if (share > 0 && eighths === 0) return '▏';
  return '█'.repeat(Math.floor(eighths / 8)) + (['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8] ?? '');
}

const fence = (text: string): string => `\`\`\`text\n${text}\n\`\`\``;

const nameOf = ({ path }: ComparedModel): string => basename(path);

const bits = ({ weightBytes, parameters }: ComparedModel): string => ((8 * weightBytes) / parameters).toFixed(2);

const computedBy = ({ backend, variant, threads }: ComparedModel): string =>
  `${backend}${variant ? ` ${variant}` : ''}, ${threads} thread${threads === 1 ? '' : 's'}`;

const percent = (share: number): string => `${(100 * share).toFixed(2).replace('-', '−')} %`;

const number = (value: number): string =>
  value === 0 ? '0' : Math.abs(value) >= 0.001 && Math.abs(value) < 1e6 ? value.toPrecision(4) : value.toExponential(2);

const plusMinus = (value: number, error: number, digits: number): string =>
  `${value.toFixed(digits).replace('-', '−')} ± ${error.toFixed(digits)}`;

/** Text in a cell as it is: line breaks are shown, and neither bars nor backticks end it. */
function code(text: string): string {
  const line = JSON.stringify(text).slice(1, -1).replaceAll('|', '\\|');
  const longest = Math.max(0, ...[...line.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const ticks = '`'.repeat(longest + 1);
  return longest > 0 || line.trim() === '' ? `${ticks} ${line} ${ticks}` : `${ticks}${line}${ticks}`;
}

const table = (rows: readonly (readonly string[])[]): string => {
  const [head, ...rest] = rows.map(row => `| ${row.join(' | ')} |`);
  return [head, `|${' --- |'.repeat(rows[0]!.length)}`, ...rest].join('\n');
};
