// Names of files on the hub: hf:owner/repo[@revision][:file].
import { HubError } from './errors.ts';

export interface HubReference {
  /** `owner/name`. */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** A path in the repository, a quantization's name (`Q4_K_M`), or null for the usual choice. */
  readonly file: string | null;
}

const pattern = /^hf:(?<repo>[\w.-]+\/[\w.-]+)(?:@(?<revision>[^:]+))?(?::(?<file>.+))?$/;

/** @throws HubError of kind `name` where the text is no reference. */
export function parseReference(text: string): HubReference {
  const { repo, revision = 'main', file = null } = pattern.exec(text)?.groups ?? {};
  if (!repo || repo.split('/').some(part => /^\.+$/.test(part)))
    throw new HubError(
      'name',
      `'${text}' is no model of the hub. Write hf:owner/repository, or hf:owner/repository:file.gguf.`,
    );
  assertPlainPath(revision);
  if (file) assertPlainPath(file);
  return { repo, revision, file };
}

/**
 * A name from a repository becomes a path below the cache, so it must not lead out of it, on any system.
 * @throws HubError of kind `name`.
 */
export function assertPlainPath(path: string): void {
  const parts = path.split(/[\\/]/);
  if (
    path === '' ||
    path.includes('\0') ||
    parts.some(part => part === '' || part === '.' || part === '..' || /^[a-z]:/i.test(part))
  )
    throw new HubError('name', `The file name '${path}' would lead outside its folder, so nothing was written.`);
}

/** `owner/name` as the cache names its folder. */
export const repoFolder = (repo: string): string => `models--${repo.replace('/', '--')}`;
