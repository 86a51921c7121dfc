// What reading experts from disk cost, as a table: --stats of every command that opens a model.
import type { EngineStats } from '../engine/types.ts';
import { bytesText, durationText } from './quantities.ts';
import { columns, table } from './terminal.ts';

const percent = (part: number, whole: number): string => (whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : '–');

/** @returns null where all experts are in memory: then there is nothing to say. */
export function streamReport({ experts, prefillTokens, decodeTokens }: EngineStats): string | null {
  if (!experts) return null;
  const tokens = prefillTokens + decodeTokens;
  const { busyMs, bytesRead, guesses, guessesRight } = experts;
  return [
    columns([
      [
        'experts in memory',
        `${experts.held} of ${experts.experts} (${bytesText(experts.heldBytes)}), places for ${experts.slots}`,
      ],
      ['found in memory', `${percent(experts.hits, experts.wanted)} of ${experts.wanted} wanted`],
      ['read', `${bytesText(bytesRead)}${tokens > 0 ? `, ${bytesText(bytesRead / tokens)} a token` : ''}`],
      [
        'disk',
        busyMs > 0 ? `${bytesText((bytesRead / busyMs) * 1000)}/s while reading, ${durationText(busyMs)}` : 'not read',
      ],
      ['waited for it', durationText(experts.stalledMs)],
      [
        'guesses',
        `${percent(guessesRight, guesses)} of ${guesses} right, ${experts.foreseenRight} of ${experts.foreseen} read ahead were wanted`,
      ],
      ...(experts.failures > 0 ? [['failed reads', String(experts.failures)] as [string, string]] : []),
    ]),
    '',
    table(
      [
        ['LAYER', 'WANTED', 'IN MEMORY', 'READ', 'WAITED'],
        ...experts.layers.map(layer => [
          String(layer.layer),
          String(layer.wanted),
          percent(layer.hits, layer.wanted),
          bytesText(layer.bytesRead),
          durationText(layer.stalledMs),
        ]),
      ],
      [0, 1, 2, 3, 4],
    ),
  ].join('\n');
}
