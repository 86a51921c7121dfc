// Who may talk to a server on this machine: Host and Origin checks against DNS rebinding and foreign pages.
// A page of another site can make a browser send requests here, and can bind its own name to 127.0.0.1; the first shows in
// `Origin`, the second in `Host`.
import { ApiError } from './errors.ts';

export interface AccessOptions {
  /** Host names besides localhost, 127.0.0.1 and [::1], without port; '*' takes any IP address (which cannot be rebound). */
  readonly allowedHosts?: readonly string[];
  /** Origins of other sites that may call the API from a browser, such as 'https://app.example'. */
  readonly allowedOrigins?: readonly string[];
}

const HOST = /^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i;
const IP_ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])$/i;
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

/** Returns a check that throws an ApiError 403 for a request that must not be answered. */
export function createAccessCheck({ allowedHosts = [], allowedOrigins = [] }: AccessOptions) {
  const hosts = new Set([...LOOPBACK, ...allowedHosts.map(host => host.toLowerCase())]);
  const origins = new Set(allowedOrigins.map(origin => origin.toLowerCase()));

  return (host: string, origin: string | undefined): void => {
    if (!isAllowedHost(host))
      throw new ApiError(
        403,
        'host_not_allowed',
        `The Host header names ${JSON.stringify(host.slice(0, 100))}, and this server answers only as ${[...hosts].join(', ')}. ` +
          'To reach it by another name, start it with that name among the allowed hosts.',
      );
    if (origin === undefined || origins.has(origin.toLowerCase()) || isSameOrigin(origin, host)) return;
    throw new ApiError(
      403,
      'origin_not_allowed',
      `Pages of the origin ${JSON.stringify(origin.slice(0, 100))} may not use this server. ` +
        'To let them, start it with that origin among the allowed origins.',
    );
  };

  function isAllowedHost(host: string): boolean {
    if (!HOST.test(host)) return false;
    const name = host.replace(/:\d+$/, '').toLowerCase();
    return hosts.has(name) || (hosts.has('*') && IP_ADDRESS.test(name));
  }
}

/** The port counts: what another program serves on this machine is another origin. */
function isSameOrigin(origin: string, host: string): boolean {
  if (!URL.canParse(origin)) return false;
  const url = new URL(origin);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return false;
  return url.host === new URL(`${url.protocol}//${host}`).host && origin.toLowerCase() === url.origin;
}
