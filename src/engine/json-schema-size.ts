// How large a schema may be, found out before anything recursive is done with it.
import { GrammarError } from './grammar-error.ts';

/** Characters of keys and strings, and 16 for each value. */
const LONGEST = 1 << 18;
const DEEPEST = 100;

/** @throws GrammarError when it is too large or too deep */
export function checkSchemaSize(schema: unknown, parameter: string): void {
  // Level by level, so that no depth overflows the stack.
  let level: unknown[] = [schema];
  let parts = 0;
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEEPEST) throw new GrammarError(parameter, '', `it is more than ${DEEPEST} levels deep`);
    const next: unknown[] = [];
    for (const value of level) {
      if (typeof value === 'string') parts += value.length;
      else if (Array.isArray(value)) {
        parts += 16 * value.length;
        if (parts <= LONGEST) for (const item of value) next.push(item);
      } else if (typeof value === 'object' && value !== null)
        for (const key of Object.keys(value)) {
          parts += 16 + key.length;
          if (parts > LONGEST) break;
          next.push((value as Record<string, unknown>)[key]);
        }
      if (parts > LONGEST)
        throw new GrammarError(parameter, '', `it is too large; at most about ${LONGEST >> 10} KB are supported`);
    }
    level = next;
  }
}
