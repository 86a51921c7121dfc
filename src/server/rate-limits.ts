// How much a key may ask a minute: one bucket for requests and one for tokens, each refilled steadily (token bucket).
import { ApiError } from './errors.ts';
import type { ApiKey } from './keys.ts';

export interface RateLimits {
  /**
   * Takes one request from the key's buckets. Tokens are paid after the answer, so the last request may overdraw them, and the
   * next waits until the debt is refilled.
   * @returns headers that say what is left
   * @throws ApiError 429 with retry-after
   */
  admit(key: ApiKey): Readonly<Record<string, string>>;
  spend(key: ApiKey, tokens: number): void;
}

interface Bucket {
  level: number;
  at: number;
}

/** @param now milliseconds, never going back */
export function createRateLimits(now: () => number = () => performance.now()): RateLimits {
  const buckets = new Map<string, Bucket>();

  function bucketOf(key: ApiKey, kind: 'requests' | 'tokens', perMinute: number): Bucket {
    const id = `${kind} ${key.name}`;
    const time = now();
    const bucket = buckets.get(id) ?? { level: perMinute, at: time };
    bucket.level = Math.min(perMinute, bucket.level + ((time - bucket.at) * perMinute) / 60_000);
    bucket.at = time;
    buckets.set(id, bucket);
    return bucket;
  }

  return {
    admit(key) {
      const headers: Record<string, string> = {};
      const taken: Bucket[] = [];
      for (const [kind, perMinute, price] of [
        ['requests', key.requestsPerMinute, 1],
        ['tokens', key.tokensPerMinute, 0],
      ] as const) {
        if (perMinute === undefined) continue;
        const bucket = bucketOf(key, kind, perMinute);
        const least = kind === 'requests' ? 1 : 0;
        if (bucket.level < least - 1e-9 || (kind === 'tokens' && bucket.level <= 0)) {
          const seconds = Math.max(1, Math.ceil(((least - bucket.level) * 60) / perMinute - 1e-6));
          throw new ApiError(
            429,
            'rate_limit_exceeded',
            `The key '${key.name}' may use ${perMinute} ${kind} a minute, and has. Try again in ${seconds} s.`,
            { headers: { ...headers, 'retry-after': String(seconds) } },
          );
        }
        bucket.level -= price;
        taken.push(bucket);
        headers[`x-ratelimit-limit-${kind}`] = String(perMinute);
        headers[`x-ratelimit-remaining-${kind}`] = String(Math.floor(bucket.level));
      }
      return headers;
    },
    spend(key, tokens) {
      if (key.tokensPerMinute !== undefined) bucketOf(key, 'tokens', key.tokensPerMinute).level -= tokens;
    },
  };
}
