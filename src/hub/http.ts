// Requests to a hub: redirects followed by hand so that the token goes to the hub alone; tried again where that can help.
import { setTimeout as sleep } from 'node:timers/promises';
import { HubError } from './errors.ts';
import type { HubSettings } from './settings.ts';

export interface HttpOptions {
  readonly settings: HubSettings;
  readonly signal?: AbortSignal;
  /** Attempts in a row that bring nothing before giving up. Default 6. */
  readonly attempts?: number;
  /** Wait before the second attempt, ms; doubles each time, to at most 30 s. Default 500. */
  readonly backoffMs?: number;
  /** A connection that is silent for so long is cut and tried again, ms. Default 30 000. */
  readonly stallMs?: number;
  readonly onRetry?: (retry: { reason: string; waitMs: number; attempt: number; attempts: number }) => void;
}

/** An attempt failed in a way that the next may not. */
class Transient extends Error {
  readonly retryAfterMs: number | undefined;
  constructor(message: string, retryAfterMs?: number, options?: ErrorOptions) {
    super(message, options);
    this.retryAfterMs = retryAfterMs;
  }
}

/** Cuts a connection that has been silent for too long. */
export interface Watch {
  readonly signal: AbortSignal;
  /** Something came. */
  alive(): void;
}

/**
 * Runs `attempt` until it succeeds, waiting longer each time. An attempt that brought something on (it called `progress`) starts
 * the count anew, so that a long download survives any number of cuts.
 */
export async function retrying<T>(
  what: string,
  options: HttpOptions,
  attempt: (watch: Watch, progress: () => void) => Promise<T>,
): Promise<T> {
  const { attempts = 6, backoffMs = 500, stallMs = 30_000, signal, settings } = options;
  if (settings.offline)
    throw new HubError(
      'offline',
      `${what} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it. Unset it and try again.`,
    );
  let arrived = false;
  for (let failed = 0; ; ) {
    signal?.throwIfAborted();
    const stalled = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stalled.abort(), stallMs);
    };
    alive();
    try {
      const watch = { signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal, alive };
      return await attempt(watch, () => {
        failed = 0;
        arrived = true;
      });
    } catch (error) {
      signal?.throwIfAborted();
      const reason = stalled.signal.aborted ? `nothing came for ${stallMs / 1000} s` : transientReason(error);
      if (reason === null) throw error;
      failed++;
      // A name that never resolved means no network rather than a bad moment.
      const limit = reason === 'ENOTFOUND' && !arrived ? Math.min(attempts, 3) : attempts;
      if (failed >= limit) throw gaveUp(what, settings, reason, error);
      const backoff = Math.min(30_000, backoffMs * 2 ** (failed - 1)) * (0.75 + Math.random() / 2);
      const waitMs = Math.max(backoff, Math.min(120_000, error instanceof Transient ? (error.retryAfterMs ?? 0) : 0));
      options.onRetry?.({ reason, waitMs, attempt: failed, attempts: limit });
      await sleep(waitMs, undefined, { signal });
    } finally {
      clearTimeout(timer);
    }
  }
}

function gaveUp(what: string, settings: HubSettings, reason: string, cause: unknown): HubError {
  if (cause instanceof Transient)
    return new HubError('refused', `${what}: ${settings.endpoint} answers ${reason}. Try again later.`, { cause });
  return new HubError(
    'unreachable',
    `${what}: ${settings.endpoint} could not be reached (${reason}). Check the connection (HF_ENDPOINT names another hub), and try again: what has arrived is kept.`,
    { cause },
  );
}

/** Why an error may pass by itself, or null where it will not. */
function transientReason(error: unknown): string | null {
  if (error instanceof Transient) return error.message;
  if (!(error instanceof Error) || error instanceof HubError) return null;
  // fetch reports every network failure as TypeError; what happened is in the cause.
  const cause = error.cause instanceof Error ? error.cause : error;
  const code = 'code' in cause ? String(cause.code) : '';
  const network =
    /^(E(CONN\w+|PIPE|NOTFOUND|AI_AGAIN|TIMEDOUT|HOSTUNREACH|NETUNREACH|NETDOWN|ADDRNOTAVAIL|PROTO)|UND_ERR_\w+|CERT_\w+|DEPTH_\w+|SELF_\w+|UNABLE_\w+|ERR_TLS_\w+|ERR_SSL_\w+)$/;
  if (network.test(code)) return code;
  return error instanceof TypeError && /fetch failed|terminated|network/.test(error.message) ? cause.message : null;
}

/**
 * One GET, redirects followed. Only 2xx comes back.
 * @param onHop sees every answer on the way, the last included
 * @throws HubError for what trying again does not cure; other errors inside `retrying` are tried again.
 */
export async function get(
  what: string,
  url: string,
  { settings }: HttpOptions,
  { signal }: Watch,
  headers: Readonly<Record<string, string>> = {},
  onHop?: (response: Response) => void,
): Promise<Response> {
  const hub = new URL(settings.endpoint).origin;
  let at = new URL(url);
  for (let hop = 0; hop < 10; hop++) {
    if (at.protocol !== 'https:' && at.protocol !== 'http:')
      throw new HubError('refused', `${what}: the hub leads on to ${at.protocol} addresses, which are not followed.`);
    const token: Record<string, string> =
      settings.token && at.origin === hub ? { authorization: `Bearer ${settings.token}` } : {};
    const response = await fetch(at, {
      headers: { 'user-agent': 'open-maverick', 'accept-encoding': 'identity', ...headers, ...token },
      redirect: 'manual',
      signal,
    });
    onHop?.(response);
    const location = response.headers.get('location');
    if (response.status >= 300 && response.status < 400 && location) {
      await response.body?.cancel();
      at = new URL(location, at);
      continue;
    }
    if (response.ok) return response;
    await response.body?.cancel();
    throw failure(what, response, settings, at.origin === hub);
  }
  throw new HubError('refused', `${what}: more than 10 redirects from ${settings.endpoint}. Check HF_ENDPOINT.`);
}

function failure(what: string, response: Response, settings: HubSettings, fromHub: boolean): Error {
  const { status, headers } = response;
  const said = headers.get('x-error-message');
  const code = headers.get('x-error-code');
  const answer = `${status}${said ? ` (${said})` : ''}`;
  // A CDN's signed address that has run out answers 403; the next attempt asks the hub for a new one.
  if (!fromHub && (status === 401 || status === 403)) return new Transient(`${status} from its file server`);
  if (status === 408 || status === 429 || status >= 500) return new Transient(answer, retryAfter(headers));
  if (status === 401 || status === 403) {
    const page = `${settings.endpoint}/${what.replace(/^hf:/, '').split(/[:@ ]/)[0]}`;
    const next = settings.token
      ? `Accept the licence on ${page} with the account whose token is in use, and check that the token may read it`
      : `If the model is gated, accept its licence on ${page}, make a token (${settings.endpoint}/settings/tokens) and set HF_TOKEN`;
    return new HubError(
      'denied',
      `${what}: the hub denies access: ${answer}. ${next}. A name that does not exist is denied, too.`,
    );
  }
  if (status === 404)
    return new HubError(
      'missing',
      `${what}: not found on ${settings.endpoint}${code ? ` (${code})` : ''}. Check the name on ${settings.endpoint}/models.`,
    );
  if (status === 416) return new Transient('416 (range not satisfiable)');
  return new HubError('refused', `${what}: ${settings.endpoint} answers ${answer}.`);
}

function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after');
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) && ms > 0 ? ms : undefined;
}
