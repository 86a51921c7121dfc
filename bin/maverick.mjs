#!/usr/bin/env node
// The command `maverick`. It needs Node 24; in a checkout that has only an older one, it goes on with the checkout's own.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const at = path => fileURLToPath(new URL(path, import.meta.url));
if (Number(process.versions.node.split('.')[0]) >= 24) {
  nodeModule.enableCompileCache?.(); // a second start takes half the time
  const source = at('../src/cli/main.ts');
  const { main } = await import(existsSync(source) ? source : at('../dist/cli/main.js'));
  await main(process.argv);
} else goOnWith(at('../node_modules/node/bin/node'));

function goOnWith(node) {
  const fail = message => {
    console.error(message);
    process.exit(1);
  };
  if (!existsSync(node))
    fail(
      `maverick needs Node 24 or newer, and this is ${process.versions.node}.\nIn a checkout, 'npm start' or 'npm test' installs it; elsewhere see https://nodejs.org.`,
    );
  const program = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  // Who ends this process means the one that computes: it must not stay behind and keep the port and the memory.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => program.kill(signal));
  program.on('error', error => fail(`maverick could not start ${node}: ${error.message}`));
  program.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
