// Licences that were agreed to on this machine: a file each in the cache, so that people are asked once.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** What was agreed to, for which model first, when and how. */
export interface Agreement {
  readonly licence: string;
  /** As the licence dates itself: a new version is asked for anew. */
  readonly version: string;
  readonly links: readonly string[];
  readonly repo: string;
  readonly commit: string;
  /** ISO 8601. */
  readonly at: string;
  readonly by: 'answer' | 'option';
}

type Named = Pick<Agreement, 'licence' | 'version'>;

const pathOf = (cache: string, { licence, version }: Named): string =>
  join(cache, '.maverick', 'licences', `${`${licence} ${version}`.replaceAll(/[^\w.]+/g, '-')}.json`);

/** Null where it was not agreed to, or what says so cannot be read. */
export async function agreementTo(cache: string, named: Named): Promise<Agreement | null> {
  try {
    const kept = JSON.parse(await readFile(pathOf(cache, named), 'utf8')) as Agreement;
    return kept.licence === named.licence && kept.version === named.version && typeof kept.at === 'string'
      ? kept
      : null;
  } catch {
    return null;
  }
}

export async function keepAgreement(cache: string, agreement: Agreement): Promise<void> {
  const path = pathOf(cache, agreement);
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, `${JSON.stringify(agreement, null, 2)}\n`);
  await rename(temporary, path);
}
