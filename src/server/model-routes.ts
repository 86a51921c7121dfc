// What the models routes and `/health` say about a model.
import type { ModelState, Models } from './models.ts';
import type { WireHealth, WireModel } from './wire.ts';

/** @param created seconds since 1970. */
export function wireModel(model: ModelState, created: number): WireModel {
  const info = model.chat?.engine.info;
  return {
    id: model.id,
    object: 'model',
    created,
    owned_by: 'open-maverick',
    bytes: model.bytes,
    note: model.note ?? null,
    status: model.status,
    progress: model.progress && {
      loaded_bytes: model.progress.loadedBytes,
      total_bytes: model.progress.totalBytes,
    },
    error: model.error,
    context_tokens: info?.contextTokens ?? null,
    parameters: info?.parameters ?? null,
    active_parameters: info?.activeParameters ?? null,
    experts: info?.config.experts ?? null,
    backend: info?.backend ?? null,
    threads: info?.threads ?? null,
  };
}

/** Asks the loaded engine itself: a server whose engine is dead is not healthy, whatever its routes answer. */
export async function healthOf(models: Models, timeoutMs: number): Promise<WireHealth> {
  const states = await models.list();
  const entries: [string, WireHealth['models'][string]][] = await Promise.all(
    states.map(async ({ id, status, error, chat }) => {
      if (!chat || status === 'loading') return [id, error === null ? { status } : { status, error }];
      const timeout = Promise.withResolvers<never>();
      const timer = setTimeout(
        () => timeout.reject(new Error(`the engine gave no answer in ${timeoutMs} ms`)),
        timeoutMs,
      );
      try {
        await Promise.race([chat.engine.stats(), timeout.promise]);
        return [id, { status }];
      } catch (failure) {
        return [id, { status: 'failed', error: failure instanceof Error ? failure.message : String(failure) }];
      } finally {
        clearTimeout(timer);
      }
    }),
  );
  const any = (status: string) => entries.some(([, model]) => model.status === status);
  return {
    status: any('ready') ? 'ok' : any('loading') ? 'loading' : 'unavailable',
    models: Object.fromEntries(entries),
  };
}
