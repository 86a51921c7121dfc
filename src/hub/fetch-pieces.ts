// Fetches a run of pieces of a file of the hub, by range: each is noted as soon as it is there, and a cut goes on where it was.
import { fileUrl, type RepoFile, type RepoInfo } from './api.ts';
import { HubError } from './errors.ts';
import { get, type HttpOptions, retrying } from './http.ts';
import type { PieceFile } from './piece-file.ts';

/**
 * What vouches for a range: the connection (TLS), an address that names the commit, the hub's word that the file there has the promised
 * hash (`x-linked-etag`), and that just the bytes asked for came, of a file as long as promised. The hash is that of the whole file, so
 * the bytes themselves are proven when all are here (`download`).
 * @param onPiece told of each piece, in order
 * @throws HubError as `retrying` and `get` do; `refused` where the hub serves no ranges, `integrity` where it serves another file
 */
export async function fetchPieces(
  repo: Pick<RepoInfo, 'repo' | 'commit'>,
  file: RepoFile,
  pieces: PieceFile,
  first: number,
  end: number,
  options: HttpOptions,
  onPiece?: (index: number, bytes: Uint8Array) => void,
): Promise<void> {
  const what = `hf:${repo.repo}:${file.path}`;
  const url = fileUrl(options.settings.endpoint, repo, file.path);
  let index = first;
  await retrying(what, options, async (watch, progress) => {
    if (index === end) return;
    const start = index * pieces.pieceBytes;
    const stop = Math.min(end * pieces.pieceBytes, file.bytes);
    const response = await get(what, url, options, watch, { range: `bytes=${start}-${stop - 1}` }, hop =>
      checkEtag(what, file, hop),
    );
    checkRange(what, response, start, stop, file.bytes);
    let piece = new Uint8Array(pieces.lengthOf(index));
    let filled = 0;
    for await (const chunk of response.body ?? []) {
      watch.alive();
      for (let at = 0; at < chunk.length; ) {
        if (index === end)
          throw new HubError('integrity', `${what}: the hub sent more than the range asked for. Check HF_ENDPOINT.`);
        const part = chunk.subarray(at, at + piece.length - filled);
        piece.set(part, filled);
        filled += part.length;
        at += part.length;
        if (filled < piece.length) continue;
        await pieces.write(index, piece);
        onPiece?.(index, piece);
        progress();
        index++;
        filled = 0;
        if (index < end) piece = new Uint8Array(pieces.lengthOf(index));
      }
    }
    if (index < end) throw new TypeError('terminated: the connection ended early');
  });
}

function checkEtag(what: string, file: RepoFile, response: Response): void {
  const etag = response.headers.get('x-linked-etag')?.replace(/^W\//, '').replaceAll('"', '');
  if (etag !== undefined && etag !== file.hash.hex)
    throw new HubError(
      'integrity',
      `${what}: the hub now has another file there (${etag}, promised ${file.hash.hex}). Run the command again.`,
    );
}

function checkRange(what: string, response: Response, start: number, stop: number, bytes: number): void {
  if (response.status !== 206)
    throw new HubError(
      'refused',
      `${what}: the hub serves no ranges, so a model cannot be run before it is all here. Get it whole with: maverick pull`,
    );
  const got = response.headers.get('content-range') ?? 'nothing';
  if (got !== `bytes ${start}-${stop - 1}/${bytes}`)
    throw new HubError(
      'integrity',
      `${what}: bytes ${start}-${stop - 1}/${bytes} were asked for, and the hub sent ${got}. Check HF_ENDPOINT.`,
    );
}
