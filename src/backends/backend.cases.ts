// The one table of cases that every backend runs; a backend skips a case only with a reason.
import { afterAll, beforeAll, describe, test } from 'vitest';
import { attentionCases } from './attention.cases.ts';
import type { Backend } from './backend.ts';
import type { BackendCase, Precision } from './comparison.cases.ts';
import { logitCases } from './logits.cases.ts';
import { matmulCases } from './matmul.cases.ts';
import { rowCases } from './rows.cases.ts';

/** All cases. Expected numbers are plain formulas in doubles within the cases; formats mean what reference/dequantize.ts says. */
export const backendCases: readonly BackendCase[] = [...matmulCases, ...rowCases, ...attentionCases, ...logitCases];

export interface BackendCaseOptions {
  /** Default: float32 throughout. */
  readonly precision?: Precision;
  /** Case names that are not run, each with the reason, which is shown. */
  readonly skip?: Readonly<Record<string, string>>;
}

/**
 * Declares a vitest suite that runs every case on one backend, made once.
 * @throws Error when `skip` names a case that does not exist.
 */
export function runBackendCases(
  name: string,
  makeBackend: () => Backend | Promise<Backend>,
  { precision = { activations: 'f32' }, skip = {} }: BackendCaseOptions = {},
): void {
  const unknown = Object.keys(skip).filter(skipped => !backendCases.some(({ name }) => name === skipped));
  if (unknown.length > 0) throw new Error(`There is no case '${unknown[0]}' to skip.`);
  describe(`backend ${name}`, () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await makeBackend();
    });
    afterAll(() => backend?.[Symbol.asyncDispose]());
    for (const { name, run } of backendCases) {
      const reason = skip[name];
      if (reason === undefined) test(name, () => run(backend, precision));
      else test.skip(`${name}: skipped, ${reason}`, () => run(backend, precision));
    }
  });
}
