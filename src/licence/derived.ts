// What a file that is made from another one owes to that one's licence: metadata to write, a notice to keep beside it, a name.
// Pure functions over GGUF metadata: whoever derives a file (quantizing, adapting, converting) calls `derivedTerms` and obeys.
import { type LicenceTerms, termsOfLicence } from './llama4.ts';

/** Metadata as checkpoints give it. */
type Metadata = ReadonlyMap<string, unknown>;

export interface DerivedTerms {
  readonly terms: LicenceTerms;
  /** To be written over the source's metadata, in this order: `general.license*`, `general.name`, the notice, the attribution. */
  readonly metadata: ReadonlyMap<string, string>;
  /** The text file that must lie beside every copy. */
  readonly notice: { readonly fileName: 'Notice'; readonly text: string };
  /** What the one who derives should be told, a sentence each; empty where everything is in order. */
  readonly warnings: readonly string[];
}

/**
 * The licence that a checkpoint is under, as its metadata tell: by `general.license` or `general.license.name`, else by the name of the
 * model, or of one it is based on. Null where it is another one, or none that asks for anything.
 */
export function licenceOf(metadata: Metadata): LicenceTerms | null {
  const text = (key: string): string | null => {
    const value = metadata.get(key);
    return typeof value === 'string' && value !== '' ? value : null;
  };
  const licences = [text('general.license'), text('general.license.name')];
  for (const licence of licences) if (termsOfLicence(licence)) return termsOfLicence(licence);
  // A licence that is stated and is another one is taken at its word; "other" states nothing.
  if (licences.some(licence => licence !== null && licence.toLowerCase() !== 'other')) return null;
  const names: (string | null | undefined)[] = [text('general.name'), text('general.basename')];
  const bases = metadata.get('general.base_model.count');
  for (let i = 0; i < Math.min(16, typeof bases === 'number' ? bases : 0); i++) {
    const url = text(`general.base_model.${i}.repo_url`);
    names.push(text(`general.base_model.${i}.name`), url?.slice(url.lastIndexOf('/') + 1));
  }
  return names.map(name => termsOfLicence(name ?? null)).find(terms => terms !== null) ?? null;
}

/**
 * What the file at `path`, derived from a checkpoint with this metadata, owes to the source's licence; null where it owes nothing
 * that we know of.
 */
export function derivedTerms(metadata: Metadata, path: string): DerivedTerms | null {
  const terms = licenceOf(metadata);
  if (!terms) return null;
  const name = metadata.get('general.name');
  const warnings: string[] = [];
  if (!beginsWith(fileNameOf(path), terms.namePrefix))
    warnings.push(
      `${path}: the ${terms.title} asks that the name of a derived model that is passed on begins with "${terms.namePrefix}"; ` +
        `for this file that would be ${prefixed(fileNameOf(path), terms.namePrefix)}.`,
    );
  return {
    terms,
    metadata: new Map([
      ['general.name', prefixed(typeof name === 'string' && name !== '' ? name : fileNameOf(path), terms.namePrefix)],
      ['general.license', terms.id],
      ['general.license.name', terms.title],
      ['general.license.link', terms.link],
      ['maverick.notice', terms.notice],
      ['maverick.attribution', terms.attribution],
    ]),
    notice: {
      fileName: 'Notice',
      text: `${terms.notice}\n\n${terms.attribution}\n${terms.link}\n${terms.usePolicy}\n`,
    },
    warnings,
  };
}

const fileNameOf = (path: string): string => path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);

const beginsWith = (name: string, prefix: string): boolean => name.toLowerCase().startsWith(prefix.toLowerCase());

/** `maverick-q4.gguf` → `Llama-maverick-q4.gguf`; `Meta-Llama-4 …` → `Llama-4 …`. */
function prefixed(name: string, prefix: string): string {
  if (beginsWith(name, prefix)) return name;
  const inside = name.replace(/^meta[\s_-]*/i, '');
  return beginsWith(inside, prefix) ? inside : `${prefix}${name.includes(' ') ? ' ' : '-'}${name}`;
}
