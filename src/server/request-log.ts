// One line a request, as JSON: who asked for what, how it ended and what it cost. Never what was said.
import { type DestinationStream, pino } from 'pino';
import { type Observer, tokensOf } from './exchange.ts';

/** @param destination where lines go, for instance `process.stderr` */
export function createRequestLog(destination: DestinationStream): Observer {
  const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  return {
    end(exchange) {
      const { id, method, route, key, model, stream, status, errorCode, cause, startedMs, firstTokenMs } = exchange;
      const now = performance.now();
      const { prompt, answer } = tokensOf(exchange);
      const line = {
        id,
        method,
        route,
        status,
        ms: Math.round(now - startedMs),
        key: key.name,
        ...(model !== null && { model, stream, prompt_tokens: prompt, completion_tokens: answer }),
        ...(firstTokenMs !== null && { first_token_ms: Math.round(firstTokenMs - startedMs) }),
        ...(exchange.generations.length > 0 && { finish: exchange.generations.map(({ reason }) => reason) }),
        ...(errorCode !== null && { error: errorCode }),
      };
      // What the client did wrong may quote its request, so only the server's own failures are told in words.
      if (cause)
        log.error({ ...line, cause: cause instanceof Error ? cause.message : String(cause) }, 'request failed');
      else log.info(line, 'request');
    },
  };
}
