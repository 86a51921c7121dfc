// What a hub says about a repository: its commit, its licence, its files.
// Source: the Hub API, /api/models/{repo}/revision/{revision} and /api/models/{repo}/tree/{revision}.
import { HubError } from './errors.ts';
import { get, type HttpOptions, retrying } from './http.ts';
import { assertPlainPath } from './reference.ts';

export interface Licence {
  /** As the model card says, e.g. `apache-2.0`, `llama4`; null where it says nothing. */
  readonly name: string | null;
  readonly link: string | null;
}

export interface RepoInfo {
  readonly repo: string;
  readonly commit: string;
  /** The model's page asks people to accept its licence first. */
  readonly gated: boolean;
  readonly licence: Licence;
}

export interface RepoFile {
  readonly path: string;
  readonly bytes: number;
  /** What its bytes hash to: sha256 for large files, git's blob sha1 for small ones. It names the blob in the cache. */
  readonly hash: { readonly kind: 'sha256' | 'git-sha1'; readonly hex: string };
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const at = (value: Json | undefined, key: string): Json | undefined =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? value[key] : undefined;
const text = (value: Json | undefined): string | null => (typeof value === 'string' && value !== '' ? value : null);
const encode = (path: string): string => path.split('/').map(encodeURIComponent).join('/');

const largestAnswer = 32 * 2 ** 20;

async function json(what: string, url: string, options: HttpOptions): Promise<{ body: Json; next: string | null }> {
  return retrying(what, options, async watch => {
    const response = await get(what, url, options, watch, { accept: 'application/json' });
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      watch.alive();
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > largestAnswer)
        throw new HubError(
          'refused',
          `${what}: the answer of ${url} is longer than ${largestAnswer} bytes. Check HF_ENDPOINT.`,
        );
    }
    const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1] ?? null;
    try {
      return {
        body: JSON.parse(Buffer.concat(chunks).toString('utf8')) as Json,
        next: next && new URL(next, url).href,
      };
    } catch (cause) {
      throw new HubError('refused', `${what}: ${url} gave something that is not JSON. Check HF_ENDPOINT.`, { cause });
    }
  });
}

/** Which commit a revision is now, and under which licence the model comes. */
export async function repoInfo(repo: string, revision: string, options: HttpOptions): Promise<RepoInfo> {
  const url = `${options.settings.endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}`;
  const { body } = await json(`hf:${repo}`, url, options);
  const commit = text(at(body, 'sha'));
  if (!commit || !/^[0-9a-f]{40}$/.test(commit))
    throw new HubError('refused', `hf:${repo}: the hub names no commit for '${revision}'. Check HF_ENDPOINT.`);
  const card = at(body, 'cardData');
  const tags = at(body, 'tags');
  const tag = Array.isArray(tags)
    ? tags.find(value => typeof value === 'string' && value.startsWith('license:'))
    : undefined;
  const name =
    text(at(card, 'license_name')) ?? text(at(card, 'license')) ?? (text(tag)?.slice('license:'.length) || null);
  const gated = at(body, 'gated');
  return {
    repo,
    commit,
    gated: gated !== undefined && gated !== false && gated !== null,
    licence: { name, link: text(at(card, 'license_link')) },
  };
}

/** Every file of a commit. */
export async function repoFiles({ repo, commit }: RepoInfo, options: HttpOptions): Promise<RepoFile[]> {
  const what = `hf:${repo}`;
  const files: RepoFile[] = [];
  let url: string | null = `${options.settings.endpoint}/api/models/${repo}/tree/${commit}?recursive=true`;
  for (let page = 0; url !== null; page++) {
    if (page === 1000)
      throw new HubError('refused', `${what}: the list of files has more than 1000 pages. Check HF_ENDPOINT.`);
    const { body, next } = await json(what, url, options);
    if (!Array.isArray(body))
      throw new HubError('refused', `${what}: the list of files is no list. Check HF_ENDPOINT.`);
    for (const entry of body) if (at(entry, 'type') === 'file') files.push(repoFile(what, entry));
    url = next;
  }
  return files;
}

function repoFile(what: string, entry: Json): RepoFile {
  const path = text(at(entry, 'path')) ?? '';
  assertPlainPath(path);
  const lfs = at(entry, 'lfs');
  const hex = text(at(lfs ?? entry, 'oid')) ?? '';
  const bytes = at(lfs ?? entry, 'size');
  const kind = lfs ? 'sha256' : 'git-sha1';
  if (
    typeof bytes !== 'number' ||
    !Number.isSafeInteger(bytes) ||
    bytes < 0 ||
    !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hex)
  )
    throw new HubError('refused', `${what}: the hub gives no usable size and hash for ${path}. Check HF_ENDPOINT.`);
  if (hex.length !== (kind === 'sha256' ? 64 : 40))
    throw new HubError('refused', `${what}: the hash of ${path} (${hex}) is no ${kind}. Check HF_ENDPOINT.`);
  return { path, bytes, hash: { kind, hex } };
}

/** Where a file of a commit is downloaded. */
export const fileUrl = (endpoint: string, { repo, commit }: Pick<RepoInfo, 'repo' | 'commit'>, path: string): string =>
  `${endpoint}/${repo}/resolve/${commit}/${encode(path)}`;
