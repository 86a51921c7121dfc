// Threads that encode, and the places in their memory: a caller takes a place, fills it, has it encoded, and gives it back.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { EncodeAnswer, EncodeRequest, Place, WorkerReady, WorkerSetup } from './encode-worker.ts';

const workerUrl = new URL(`./encode-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);

/** A place, and what may be asked of its thread. */
export interface EncodingPlace extends Place {
  /** Encodes what lies in the place. @throws Error when the thread is lost */
  encode(request: Omit<EncodeRequest, 'place'>): Promise<EncodeAnswer>;
}

export class EncodePool implements AsyncDisposable {
  readonly places: readonly EncodingPlace[];
  /** What computes: `wasm` or an instruction set. */
  readonly variant: string;
  readonly #workers: readonly Worker[];

  private constructor(workers: readonly Worker[], ready: readonly WorkerReady[]) {
    this.#workers = workers;
    this.variant = ready[0]!.variant;
    this.places = ready.flatMap(({ places }, index) => placesOf(workers[index]!, places));
  }

  /** Starts `threads` threads of `setup.places` places each. @throws Error when the kernels cannot be loaded */
  static async start(threads: number, setup: WorkerSetup): Promise<EncodePool> {
    const workers = Array.from(
      { length: threads },
      () => new Worker(workerUrl, { workerData: setup, execArgv: [], name: 'maverick-encode' }),
    );
    try {
      const ready = await Promise.all(workers.map(async worker => (await once(worker, 'message'))[0] as WorkerReady));
      return new EncodePool(workers, ready);
    } catch (error) {
      await Promise.all(workers.map(worker => worker.terminate()));
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map(worker => worker.terminate()));
  }
}

function placesOf(worker: Worker, places: readonly Place[]): EncodingPlace[] {
  const waiting = new Map<number, PromiseWithResolvers<EncodeAnswer>>();
  const lose = (error: Error): void => {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  worker.on('message', (answer: EncodeAnswer) => {
    waiting.get(answer.place)?.resolve(answer);
    waiting.delete(answer.place);
  });
  worker.on('error', lose);
  worker.on('exit', code => lose(new Error(`A thread that encodes ended with code ${code}.`)));
  return places.map((place, index) => ({
    ...place,
    encode: request => {
      const answer = Promise.withResolvers<EncodeAnswer>();
      waiting.set(index, answer);
      worker.postMessage({ ...request, place: index } satisfies EncodeRequest);
      return answer.promise;
    },
  }));
}
