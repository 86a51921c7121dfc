// For tests: a server on loopback that behaves like the hub, its CDN included, and misbehaves where it is told to.
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FakeRepo {
  readonly commit: string;
  readonly files: Readonly<Record<string, Buffer>>;
  readonly card?: Readonly<Record<string, string>>;
  readonly gated?: boolean;
}

/** What to do with one request; undefined behaves well. */
export type Misbehaviour =
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  /** Cuts the connection after so many bytes of the body. */
  | { readonly cutAfter: number }
  /** Sends so many bytes and then nothing more. */
  | { readonly stallAfter: number }
  | { readonly wrongBytes: true }
  /** Sends one bit of the body, counted from its start, the other way round. */
  | { readonly flip: number }
  | { readonly tooLong: true }
  | { readonly ignoreRange: true };

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export interface FakeHub extends AsyncDisposable {
  readonly endpoint: string;
  readonly requests: Seen[];
  /** Taken one a request to a file's bytes (on the CDN), in order. */
  readonly cdn: Misbehaviour[];
  /** Taken one a request to the API. */
  readonly api: Misbehaviour[];
  /** Bytes of file bodies sent so far. */
  sent: number;
  /** Sends bodies in pieces of so many bytes, with so many ms between them. */
  slow: { readonly bytes: number; readonly ms: number } | null;
}

/** Files of 1 KiB and more are LFS files, as the hub keeps large ones. */
export const isLarge = (content: Buffer): boolean => content.length >= 1024;
export const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
export const gitSha1 = (content: Buffer): string =>
  createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');

/** @param pageSize entries of the file list in one answer. */
export async function fakeHub(repos: Readonly<Record<string, FakeRepo>>, pageSize = 3): Promise<FakeHub> {
  const hub = {
    requests: [] as Seen[],
    cdn: [] as Misbehaviour[],
    api: [] as Misbehaviour[],
    sent: 0,
    slow: null as FakeHub['slow'],
  };
  const cdn = await listen((request, response) => {
    note(request);
    const [, owner, name, ...rest] = decodeURIComponent(request.url!.split('?')[0]!).split('/');
    const content = repos[`${owner}/${name}`]?.files[rest.join('/')];
    if (!content || request.headers.authorization) return end(response, 403); // a CDN refuses what it did not sign
    serve(request, response, content, hub.cdn.shift());
  });
  const main = await listen((request, response) => {
    note(request);
    const url = new URL(request.url!, 'http://hub');
    const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname);
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(decodeURIComponent(url.pathname));
    const repo = repos[api?.[1] ?? resolve?.[1] ?? ''];
    if (!repo)
      return end(response, 401, { 'x-error-code': 'RepoNotFound', 'x-error-message': 'Invalid username or password.' });
    if (api) {
      const bad = hub.api.shift();
      if (bad && 'status' in bad) return end(response, bad.status, bad.headers);
      const revision = api[3]!;
      if (revision !== 'main' && revision !== repo.commit)
        return end(response, 404, { 'x-error-code': 'RevisionNotFound' });
      return api[2] === 'revision' ? info(response, repo) : tree(response, url, repo);
    }
    const [, owner, commit, path] = resolve!;
    if (repo.gated && request.headers.authorization !== 'Bearer good')
      return end(response, request.headers.authorization ? 403 : 401, { 'x-error-code': 'GatedRepo' });
    const content = repo.files[path!];
    if (!content || commit !== repo.commit) return end(response, 404, { 'x-error-code': 'EntryNotFound' });
    const headers = { 'x-repo-commit': repo.commit, etag: `"${gitSha1(content)}"` };
    if (!isLarge(content)) return serve(request, response, content, hub.cdn.shift(), headers);
    end(response, 302, {
      ...headers,
      location: `${cdn.address}/${owner}/${path}?signature=x`,
      'x-linked-etag': `"${sha256(content)}"`,
      'x-linked-size': String(content.length),
    });
  });

  function note(request: IncomingMessage): void {
    const { range, authorization } = request.headers;
    hub.requests.push({ method: request.method!, path: request.url!, range, authorization });
  }

  function serve(
    request: IncomingMessage,
    response: ServerResponse,
    content: Buffer,
    bad: Misbehaviour | undefined,
    headers: Record<string, string> = {},
  ): void {
    if (bad && 'status' in bad) {
      end(response, bad.status, bad.headers);
      return;
    }
    const from = bad && 'ignoreRange' in bad ? null : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const start = Number(from?.[1] ?? 0);
    if (from && start >= content.length) {
      end(response, 416);
      return;
    }
    const stop = from?.[2] ? Math.min(content.length, Number(from[2]) + 1) : content.length;
    let body = content.subarray(start, stop);
    if (bad && 'wrongBytes' in bad) body = Buffer.from(body).fill(0, 0, Math.min(8, body.length));
    if (bad && 'flip' in bad) {
      body = Buffer.from(body);
      body[bad.flip >> 3]! ^= 1 << (bad.flip & 7);
    }
    if (bad && 'tooLong' in bad) body = Buffer.concat([body, Buffer.from('more')]);
    const length = { 'content-length': String(body.length), 'accept-ranges': 'bytes' };
    const range = from ? { 'content-range': `bytes ${start}-${stop - 1}/${content.length}` } : {};
    response.writeHead(from ? 206 : 200, { ...headers, ...length, ...range });
    const cut = bad && 'cutAfter' in bad ? bad.cutAfter : bad && 'stallAfter' in bad ? bad.stallAfter : null;
    if (cut === null && hub.slow) {
      void trickle(response, body, hub.slow);
      return;
    }
    if (cut === null) {
      hub.sent += body.length;
      response.end(body);
      return;
    }
    hub.sent += Math.min(cut, body.length);
    response.write(body.subarray(0, cut), () => {
      // Give the bytes time to arrive before the connection breaks.
      if (bad && 'cutAfter' in bad) setTimeout(() => response.destroy(), 20);
    });
  }

  async function trickle(
    response: ServerResponse,
    body: Buffer,
    { bytes, ms }: NonNullable<FakeHub['slow']>,
  ): Promise<void> {
    for (let at = 0; at < body.length && !response.destroyed; at += bytes) {
      const part = body.subarray(at, at + bytes);
      hub.sent += part.length;
      response.write(part);
      await new Promise(resolve => setTimeout(resolve, ms));
    }
    response.end();
  }

  function info(response: ServerResponse, repo: FakeRepo): void {
    json(response, { sha: repo.commit, gated: repo.gated ? 'manual' : false, cardData: repo.card ?? {}, tags: [] });
  }

  function tree(response: ServerResponse, url: URL, repo: FakeRepo): void {
    const all = Object.entries(repo.files).map(([path, content]) => {
      const lfs = isLarge(content) ? { lfs: { oid: sha256(content), size: content.length, pointerSize: 134 } } : {};
      return { type: 'file', path, size: content.length, oid: gitSha1(content), ...lfs };
    });
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const more = from + pageSize < all.length;
    const next = `${main.address}${url.pathname}?recursive=true&cursor=${from + pageSize}`;
    json(response, all.slice(from, from + pageSize), more ? { link: `<${next}>; rel="next"` } : {});
  }

  return {
    ...hub,
    get sent() {
      return hub.sent;
    },
    get slow() {
      return hub.slow;
    },
    set slow(slow: FakeHub['slow']) {
      hub.slow = slow;
    },
    endpoint: main.address,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([close(main.server), close(cdn.server)]);
    },
  };
}

function end(response: ServerResponse, status: number, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, headers);
  response.end();
}

function json(response: ServerResponse, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

async function listen(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ server: Server; address: string }> {
  const server = createServer(handler);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return { server, address: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise(resolve => server.close(resolve));
}
