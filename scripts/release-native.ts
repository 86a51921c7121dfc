// Makes the package of prebuilt native kernels for this platform: a folder to publish, named as src/backends/native/load.ts seeks it.
// Usage: node scripts/release-native.ts [folder to put it in, default dist/prebuilt]
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prebuiltPackage, variants } from '../src/backends/native/load.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const name = prebuiltPackage();
const folder = join(process.argv[2] ?? join(root, 'dist/prebuilt'), name);
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });

for (const which of [[], ['--quantize']])
  spawnSync(process.execPath, [join(root, 'scripts/build-native.ts'), ...which, '--all', folder], { stdio: 'inherit' });
const files = (variants[process.arch] ?? []).flatMap(variant => [
  `maverick-${variant}.node`,
  `quantize-${variant}.node`,
]);
const missing = files.filter(file => !existsSync(join(folder, file)));
if (files.length === 0 || missing.length > 0) {
  rmSync(folder, { recursive: true });
  console.error(`No package was made: ${missing.join(', ') || `no variants are known for ${process.arch}`} not built.`);
  process.exit(1);
}

const { version, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const glibc = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header.glibcVersionRuntime;
const manifest = {
  name,
  version,
  description: `Native kernels of open-maverick for ${process.platform} on ${process.arch}`,
  license,
  os: [process.platform],
  cpu: [process.arch],
  ...(process.platform === 'linux' && { libc: [glibc ? 'glibc' : 'musl'] }),
  files: ['*.node'],
};
writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
console.log(
  `${folder}: ${name} ${version}, ${files.length / 2} variants${glibc ? `, for glibc ${glibc} or later` : ''}.`,
);
