// The card of a derived model as Markdown: only what its file says or what was measured, nothing that somebody hopes.
import { basename } from 'node:path';
import type { ExpertCoverage } from '../calibrate/calibrate.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { Comparison } from '../eval/compare.ts';
import { derivedTerms } from '../licence/derived.ts';
import { type Kind, kindOf, kinds, summarize } from './checkpoint-summary.ts';
import { bytesText, countText } from './quantities.ts';

export interface CardFacts {
  readonly checkpoint: Pick<Checkpoint, 'path' | 'metadata' | 'tensors'>;
  /** All parts, in order; the hash null where it was not computed. */
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256: string | null }[];
  readonly imatrix: {
    readonly file: string;
    readonly datasets: readonly string[];
    readonly chunks: number;
    readonly chunkSize: number;
    readonly experts: readonly ExpertCoverage[];
  } | null;
  /** This file is its B. */
  readonly comparison: Comparison | null;
  /** The program that writes it. */
  readonly program: string;
}

export function modelCard(facts: CardFacts): string {
  const { checkpoint, comparison } = facts;
  const summary = summarize(checkpoint);
  const text = textsOf(checkpoint.metadata);
  const terms = derivedTerms(checkpoint.metadata, checkpoint.path);
  const name = terms?.metadata.get('general.name') ?? text('general.name') ?? basename(checkpoint.path);
  const sections = [
    frontMatter(checkpoint.metadata, terms?.terms.id ?? null, terms?.terms.link ?? null),
    `# ${name}`,
    ...(terms ? [`**${terms.terms.attribution}**`] : []),
    '## What it is',
    table([
      ['', ''],
      ...sources(checkpoint.metadata),
      ['architecture', summary.architecture ?? 'not stated'],
      [
        'parameters',
        `${countText(summary.parameters)}${summary.experts > 0 ? `, of which a token uses ${countText(summary.activeParameters)}` : ''}`,
      ],
      ['layers', `${summary.layers ?? '?'} of width ${summary.dim ?? '?'}`],
      ...(summary.experts > 0
        ? [['experts', `${summary.experts}, of which a token uses ${summary.expertsPerToken}`]]
        : []),
      ['vocabulary', `${summary.vocab ?? '?'} tokens`],
      ['context', `${summary.contextLength ?? '?'} tokens`],
      ['bits a weight', ((8 * summary.bytes) / summary.parameters).toFixed(3)],
    ]),
    '## Files',
    table([
      ['file', 'bytes', 'sha256'],
      ...facts.files.map(({ name, bytes, sha256 }) => [
        `\`${name}\``,
        bytes.toLocaleString('en'),
        sha256 === null ? 'not computed' : `\`${sha256}\``,
      ]),
    ]),
    '## Formats of the tensors',
    formats(checkpoint),
    ...importance(facts),
    ...(comparison ? compared(comparison) : []),
    ...(terms
      ? [
          '## Licence',
          `${terms.terms.title}, ${terms.terms.version}: ${terms.terms.link}. Use follows the Acceptable Use Policy: ${terms.terms.usePolicy}.`,
          `> ${terms.terms.notice}`,
          'A copy of the licence and the file `Notice` belong to every copy of these files; a model made with them that is passed on has a name that begins with ' +
            `"${terms.terms.namePrefix}".`,
        ]
      : text('general.license')
        ? [
            '## Licence',
            `${text('general.license.name') ?? text('general.license')}${text('general.license.link') ? `: ${text('general.license.link')}` : ''}`,
          ]
        : ['## Licence', 'The file does not state one.']),
    `---\n\nWritten by ${facts.program} from the file itself and from measurements.`,
  ];
  return `${sections.join('\n\n')}\n`;
}

const textsOf =
  (metadata: Checkpoint['metadata']) =>
  (key: string): string | null => {
    const value = metadata.get(key);
    return typeof value === 'string' && value !== '' ? value : null;
  };

/** What hubs read: YAML. Texts are quoted as JSON, which YAML contains. */
function frontMatter(metadata: Checkpoint['metadata'], licence: string | null, link: string | null): string {
  const text = textsOf(metadata);
  const own = text('general.license');
  const lines = licence
    ? ['license: other', `license_name: ${licence}`, `license_link: ${link}`]
    : own
      ? [`license: ${JSON.stringify(own)}`]
      : [];
  const bases = basesOf(metadata)
    .map(({ url }) => url && /^https?:\/\/[^/]+\/([^/]+\/[^/]+)\/?$/.exec(url)?.[1])
    .filter(base => base);
  if (bases.length > 0)
    lines.push('base_model:', ...bases.map(base => `  - ${JSON.stringify(base)}`), 'base_model_relation: quantized');
  return `---\n${[...lines, 'library_name: gguf', 'tags:', '  - gguf', ...(licence ? ['  - llama', '  - llama4'] : [])].join('\n')}\n---`;
}

interface Base {
  readonly name: string | null;
  readonly url: string | null;
}

function basesOf(metadata: Checkpoint['metadata']): Base[] {
  const text = textsOf(metadata);
  const count = metadata.get('general.base_model.count');
  return Array.from({ length: Math.min(16, typeof count === 'number' && count > 0 ? count : 0) }, (_, i) => ({
    name: text(`general.base_model.${i}.name`),
    url: text(`general.base_model.${i}.repo_url`),
  }));
}

function sources(metadata: Checkpoint['metadata']): string[][] {
  const text = textsOf(metadata);
  const rows = basesOf(metadata).map(({ name, url }) => ['made from', [name, url].filter(Boolean).join(', ')]);
  for (const [key, what] of [
    ['general.source.repo_url', 'source'],
    ['general.source.url', 'source'],
    ['general.quantized_by', 'quantized by'],
    ['general.finetune', 'tuned'],
  ] as const) {
    const value = text(key);
    if (value !== null) rows.push([what, value]);
  }
  return rows.map(row => row.map(plain));
}

const partNames: Readonly<Record<Kind, string>> = {
  embeddings: 'embeddings and output',
  dense: 'dense',
  shared: 'shared experts',
  experts: 'routed experts',
  vision: 'encoder of images',
};

function formats({ tensors }: Pick<Checkpoint, 'tensors'>): string {
  const groups = new Map<string, { kind: Kind; dtype: string; tensors: number; parameters: number; bytes: number }>();
  for (const { name, dtype, shape, byteLength } of tensors.values()) {
    const kind = kindOf(name);
    const group = groups.get(`${kind} ${dtype}`) ?? { kind, dtype, tensors: 0, parameters: 0, bytes: 0 };
    group.tensors++;
    group.parameters += shape.reduce((a, b) => a * b, 1);
    group.bytes += byteLength;
    groups.set(`${kind} ${dtype}`, group);
  }
  const order = (kind: Kind): number => kinds.indexOf(kind);
  const rows = [...groups.values()].sort((a, b) => order(a.kind) - order(b.kind) || b.bytes - a.bytes);
  return table([
    ['part', 'format', 'tensors', 'parameters', 'size'],
    ...rows.map(({ kind, dtype, tensors, parameters, bytes }) => [
      partNames[kind],
      dtype,
      String(tensors),
      countText(parameters),
      bytesText(bytes),
    ]),
  ]);
}

/** What the file says of the importance matrix it was made with, and what that one says itself. */
function importance({ checkpoint: { metadata }, imatrix }: CardFacts): string[] {
  const text = textsOf(metadata);
  const file = text('quantize.imatrix.file');
  if (file === null && !imatrix) return [];
  const number = (key: string): string | null => {
    const value = metadata.get(key);
    return typeof value === 'number' || typeof value === 'bigint' ? String(value) : null;
  };
  const dataset = text('quantize.imatrix.dataset') ?? imatrix?.datasets.join(', ') ?? null;
  const rows = [
    ['', ''],
    ['file', basename(file ?? imatrix!.file)],
    ...(dataset ? [['text', basename(dataset)]] : []),
    ...(number('quantize.imatrix.entries_count') ? [['tensors', number('quantize.imatrix.entries_count')!]] : []),
    [
      'chunks',
      imatrix
        ? `${imatrix.chunks} of ${imatrix.chunkSize} tokens`
        : (number('quantize.imatrix.chunks_count') ?? 'not stated'),
    ],
  ];
  const unseen = imatrix?.experts.filter(({ unseen }) => unseen.length > 0) ?? [];
  if (imatrix && imatrix.experts.length > 0)
    rows.push([
      'experts that saw no token of it',
      unseen.length === 0
        ? 'none'
        : unseen
            .map(({ layer, unseen, counts }) => `${unseen.length} of ${counts.length} in layer ${layer}`)
            .join(', '),
    ]);
  return ['## Importance matrix', table(rows.map(row => row.map(plain)))];
}

function compared({ a, b, kl, top1, perplexity, predictions, drift, tasks }: Comparison): string[] {
  const last = drift?.layers.at(-1);
  const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
  return [
    '## Measured against its source',
    `${predictions} predictions of one text: \`${basename(b.path)}\` (${bytesText(b.weightBytes)}) against \`${basename(a.path)}\` (${bytesText(a.weightBytes)}).`,
    table([
      ['', ''],
      ['KL divergence, mean', `${kl.mean.toFixed(6)} ± ${kl.error.toFixed(6)} nats`],
      ['… median, 99 %, most', `${kl.median.toFixed(6)}, ${kl.p99.toFixed(6)}, ${kl.max.toFixed(6)}`],
      ['same likeliest token', `${percent(top1.agreement)} ± ${percent(top1.error)}`],
      [
        'perplexity',
        `${perplexity.a.toFixed(4)} → ${perplexity.b.toFixed(4)}, ratio ${perplexity.ratio.toFixed(5)} ± ${perplexity.ratioError.toFixed(5)}`,
      ],
      ...(last
        ? [['drift of the last layer', `${last.relativeError.toPrecision(3)}, cosine ${last.cosine.toFixed(6)}`]]
        : []),
      ...(tasks
        ? [
            ['calls of tools in form', `${tasks.tools.a} → ${tasks.tools.b} of ${tasks.tools.asked}`],
            ['JSON in form', `${tasks.json.a} → ${tasks.json.b} of ${tasks.json.asked}`],
          ]
        : []),
    ]),
  ];
}

/** A text from a file within a cell: it cannot end the cell, and is no markup. */
const plain = (text: string): string => text.replace(/\s+/g, ' ').replace(/[\\`*_[\]<>|]/g, '\\$&');

const table = (rows: readonly (readonly string[])[]): string => {
  const [head, ...rest] = rows.map(row => `| ${row.join(' | ')} |`);
  return [head, `|${' --- |'.repeat(rows[0]!.length)}`, ...rest].join('\n');
};
