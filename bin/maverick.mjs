#!/usr/bin/env node
// The command `maverick`. It needs Node 24; in a checkout that has only an older one, it goes on with the checkout's own.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { fileURLToPath } from 'node:url';

const at = path => fileURLToPath(new URL(path, import.meta.url));
if (Number(process.versions.node.split('.')[0]) < 24) {
  const own = at('../node_modules/node/bin/node');
  if (!existsSync(own)) {
    console.error(
      `maverick needs Node 24 or newer, and this is ${process.versions.node}.\nIn a checkout, 'npm start' or 'npm test' installs it; elsewhere see https://nodejs.org.`,
    );
    process.exit(1);
  }
  const run = spawnSync(own, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  process.exit(run.status ?? 1);
}
nodeModule.enableCompileCache?.(); // a second start takes half the time
const source = at('../src/cli/main.ts');
const { main } = await import(existsSync(source) ? source : at('../dist/cli/main.js'));
await main(process.argv);
