// Before a model comes whose licence asks to be agreed to: licence and use policy are shown once, and that they were agreed to is kept.
import { createInterface } from 'node:readline/promises';
import { agreementTo, keepAgreement } from '../hub/agreements.ts';
import { type LicenceTerms, termsOfLicence } from '../licence/llama4.ts';
import { UsageError } from './failures.ts';
import { columns, type Terminal } from './terminal.ts';

export interface LicensedModel {
  /** As the model's page names the licence. */
  readonly licence: string | null;
  readonly repo: string;
  readonly commit: string;
}

/**
 * Asks where it was not agreed before. A licence that asks for nothing is not asked about.
 * @param accepted by an option of the command line
 * @throws UsageError where nobody can be asked, or the answer is no: nothing was fetched then
 */
export async function agreeToLicence(
  model: LicensedModel,
  cache: string,
  terminal: Terminal,
  accepted = false,
): Promise<void> {
  const terms = termsOfLicence(model.licence);
  if (!terms) return;
  const { title: licence, version, link, usePolicy } = terms;
  if (await agreementTo(cache, { licence, version })) return;
  terminal.stderr.write(`${shown(terms)}\n`);
  const by = accepted ? 'option' : 'answer';
  if (!accepted && !(await answersYes(terminal)))
    throw new UsageError(
      `hf:${model.repo} is under the ${licence}; it is fetched when you agree to that and to its use policy. Agree once, with: maverick pull hf:${model.repo} --accept-licence`,
    );
  const { repo, commit } = model;
  await keepAgreement(cache, {
    ...{ licence, version, links: [link, usePolicy], repo, commit },
    ...{ at: new Date().toISOString(), by },
  });
}

const shown = ({ title, version, link, usePolicy, points }: LicenceTerms): string =>
  `${columns([
    ['Licence', `${title}, ${version}: ${link}`],
    ['Policy', `Acceptable Use Policy: ${usePolicy}`],
  ])}\n${points.map(point => `  · ${point}`).join('\n')}`;

/** False where nobody is there to answer. */
async function answersYes({ stdin, stderr, signal }: Terminal): Promise<boolean> {
  if (!stdin.isTTY || !stderr.isTTY) return false;
  const reader = createInterface({ input: stdin, output: stderr });
  try {
    return /^y(es)?$/i.test((await reader.question('Do you agree to both? [y/N] ', { signal })).trim());
  } finally {
    reader.close();
  }
}
