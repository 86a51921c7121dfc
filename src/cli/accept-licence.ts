// Puts a licence to the user, once for each version: what it asks, where it is, and whether it is accepted.
import { createInterface } from 'node:readline/promises';
import type { Agreement } from '../hub/agreement.ts';
import { UsageError } from './failures.ts';
import { columns, note, styled, type Terminal } from './terminal.ts';

export const acceptOption = [
  '--accept-licence',
  "accept the model's licence and use policy without being asked",
] as const;

/**
 * Returns when the licence is accepted, now or earlier.
 * @throws UsageError where it is not, or nobody can be asked
 */
export async function acceptLicence(
  agreement: Agreement,
  cache: string,
  accepted: boolean,
  terminal: Terminal,
): Promise<void> {
  const { isAccepted, recordAcceptance } = await import('../hub/agreement.ts');
  if (await isAccepted(cache, agreement)) return;
  const { stdin, stderr } = terminal;
  stderr.write(`${described(agreement, terminal)}\n`);
  if (accepted) {
    note(
      terminal,
      `Accepted by --accept-licence; noted in ${await recordAcceptance(cache, agreement, '--accept-licence')}`,
    );
    return;
  }
  if (!stdin.isTTY)
    throw new UsageError(
      `The licence of hf:${agreement.repo} (${titleOf(agreement)}) has not been accepted on this machine. Read it, and say so with --accept-licence.`,
    );
  const lines = createInterface({ input: stdin, output: stderr });
  try {
    for (;;) {
      const question = `Do you accept it? Type yes, no${agreement.texts.length > 0 ? ', or r to read it' : ''}: `;
      const answer = (await lines.question(question, { signal: terminal.signal })).trim().toLowerCase();
      if (/^r(ead)?$/.test(answer))
        for (const { name, text } of agreement.texts) stderr.write(`\n── ${name}\n\n${text}\n`);
      else if (answer === 'yes') break;
      else if (/^no?$/.test(answer)) throw new UsageError('The licence was not accepted, so nothing was fetched.');
    }
  } finally {
    lines.close();
  }
  note(terminal, `Noted in ${await recordAcceptance(cache, agreement, 'typed')}`);
}

const titleOf = ({ terms, licence, version }: Agreement): string => `${terms?.title ?? licence}, ${version}`;

function described(agreement: Agreement, terminal: Terminal): string {
  const { terms, link, texts } = agreement;
  const rows: [string, string][] = [
    ['Licence', titleOf(agreement)],
    ...(link ? ([['Text', link]] as [string, string][]) : []),
    ...(terms ? ([['Use policy', terms.usePolicy]] as [string, string][]) : []),
    ...texts.map(({ name, path }): [string, string] => [name, path]),
  ];
  const points = terms ? `\n${terms.points.map(point => `  · ${point}`).join('\n')}` : '';
  return `${styled(terminal.stderr, 'bold', `hf:${agreement.repo} is under a licence that asks to be accepted.`)}\n${columns(rows)}${points}`;
}
