// Licences that ask to be accepted: shown once, and the acceptance of each version is kept in the library's folder.
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type LicenceTerms, termsOfLicence } from '../licence/llama4.ts';
import type { RepoFile, RepoInfo } from './api.ts';
import { type DownloadOptions, download } from './download.ts';

/** A licence of a repository, as it is put to the user. */
export interface Agreement {
  /** As the model's card says: `llama4`, `gemma` … */
  readonly licence: string;
  readonly version: string;
  readonly link: string | null;
  /** What we know of what it asks. */
  readonly terms: LicenceTerms | null;
  /** The texts that the repository has: licence, use policy, notices. Paths on this machine. */
  readonly texts: readonly { readonly name: string; readonly path: string; readonly text: string }[];
  readonly repo: string;
  readonly commit: string;
}

/** Licences that leave use to the user; nobody asks for them to be accepted. */
const open =
  /^(apache-2\.0|mit|bsd(-[23]-clause(-clear)?)?|isc|zlib|unlicense|wtfpl|cc0-1\.0|cc-by(-sa)?-[234]\.0|(a|l)?gpl(-[23]\.[01])?|mpl-2\.0|artistic-2\.0|bsl-1\.0|ms-pl|epl-[12]\.0)$/i;

/** Texts of a repository that are fetched with a model. */
export const licenceTexts = (files: readonly RepoFile[]): RepoFile[] =>
  files.filter(
    file => /^(LICEN[CS]E|NOTICE|USE_POLICY|ACCEPTABLE_USE_POLICY)[^/]*$/i.test(file.path) && file.bytes <= 2 ** 20,
  );

/** What of a repository must be accepted, its texts fetched; null where nothing must. */
export async function agreementOf(
  repo: RepoInfo,
  files: readonly RepoFile[],
  options: DownloadOptions,
): Promise<Agreement | null> {
  const { name, link } = repo.licence;
  if (name === null || open.test(name)) return null;
  const texts: Agreement['texts'][number][] = [];
  for (const file of licenceTexts(files)) {
    const path = await download(repo, file, options);
    texts.push({ name: file.path, path, text: await readFile(path, 'utf8') });
  }
  const terms = termsOfLicence(name);
  const text = texts.find(({ name }) => /^LICEN[CS]E/i.test(name))?.text;
  const dated = text && /Version (?:Effective|Release) Date:\s*([A-Za-z0-9 ,]{4,40})/.exec(text)?.[1]?.trim();
  const version = dated || terms?.version || (text === undefined ? 'unstated' : sha256(text).slice(0, 12));
  return { licence: name, version, link: terms?.link ?? link, terms, texts, repo: repo.repo, commit: repo.commit };
}

/** How a licence was accepted: typed at the terminal, or by the option that says so. */
export type Acceptance = 'typed' | '--accept-licence';

export async function isAccepted(cache: string, agreement: Agreement): Promise<boolean> {
  const record = await readFile(recordPath(cache, agreement), 'utf8').catch(() => null);
  try {
    const kept: unknown = JSON.parse(record ?? 'null');
    return (
      typeof kept === 'object' &&
      kept !== null &&
      'licence' in kept &&
      'version' in kept &&
      kept.licence === agreement.licence &&
      kept.version === agreement.version
    );
  } catch {
    return false; // half a record is none
  }
}

/** @returns where the record is */
export async function recordAcceptance(cache: string, agreement: Agreement, how: Acceptance): Promise<string> {
  const { licence, version, link, terms, texts, repo, commit } = agreement;
  const path = recordPath(cache, agreement);
  const record = {
    licence,
    version,
    link,
    usePolicy: terms?.usePolicy ?? null,
    texts: texts.map(({ name, text }) => ({ name, sha256: sha256(text) })),
    repo,
    commit,
    acceptedAt: new Date().toISOString(),
    how,
  };
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, `${JSON.stringify(record, null, 2)}\n`);
  await rename(temporary, path);
  return path;
}

/** One file for each licence and version, whatever characters these have. */
const recordPath = (cache: string, { licence, version }: Agreement): string => {
  const plain = `${licence}-${version}`
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, '-')
    .slice(0, 80);
  return join(cache, '.maverick', 'licences', `${plain}-${sha256(`${licence}\n${version}`).slice(0, 8)}.json`);
};

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
