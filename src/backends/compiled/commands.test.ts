// The host's numbers are the kernels' numbers.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { commands, control, task } from './commands.ts';

test('what the kernels and the host number alike is numbered alike', () => {
  const header = readFileSync(new URL('../kernels/program.h', import.meta.url), 'utf8');
  const numbersOf = (name: string): Record<string, number> => {
    const body = new RegExp(`enum class ${name}[^{]*\\{([^}]*)\\}`).exec(header)![1]!;
    return Object.fromEntries([...body.matchAll(/(\w+) = (\d+)/g)].map(([, key, value]) => [key, Number(value)]));
  };
  expect(numbersOf('Kind')).toEqual({ ...commands });
  expect(numbersOf('Task')).toEqual({ ...task });
  expect(header).toContain(`sizeof(Control) == ${control.bytes}`);
});
