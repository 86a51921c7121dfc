// The page's files: what the build made, sent with headers that let it load nothing from elsewhere.
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Right from src/server and from dist/server alike. */
export const BUILT_PAGE = new URL('../../dist/web/', import.meta.url);

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

const CONTENT_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const MISSING = `<!doctype html><html lang="en"><meta charset="utf-8"><title>open-maverick</title>
<h1>The page is not built</h1><p>The API answers under <code>/v1</code>. To build the page, run <code>npm run build</code> and reload.</p></html>`;

/** One file of the page, or null where there is none of that name. `folder` ends with a slash. */
export async function pageFile(path: string, folder: URL): Promise<Response | null> {
  const name = path === '/' ? 'index.html' : path.slice(1);
  // One folder level and plain names: no path leads out of the folder.
  if (!/^(?:assets\/)?[\w-][\w.-]*$/.test(name)) return null;
  const type = TYPES[extname(name)];
  if (!type) return null;
  const headers = {
    'content-type': type,
    'content-security-policy': CONTENT_POLICY,
    // Files under assets/ have their content's hash in their name.
    'cache-control': name.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
  };
  try {
    return new Response(await readFile(fileURLToPath(new URL(name, folder))), { headers });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return name === 'index.html' ? new Response(MISSING, { status: 503, headers }) : null;
  }
}
