// maverick list: the models on this machine, and those that have a short name.
import type { Command } from 'commander';
import { bytesText, countText } from './quantities.ts';
import { note, print, styled, type Terminal, table } from './terminal.ts';

export const addList = (program: Command, terminal: Terminal): Command =>
  program
    .command('list')
    .summary('show the models on this machine')
    .description('Shows the models in the library by the names that other commands take.')
    .option('--all', 'also show the models that can be pulled by a short name')
    .option('--json', 'print JSON')
    .action((flags: { all?: boolean; json?: boolean }) => list(flags, terminal));

async function list(flags: { all?: boolean; json?: boolean }, terminal: Terminal): Promise<void> {
  const [{ listModels }, { hubSettings }, { namedModels }] = await Promise.all([
    import('../hub/library.ts'),
    import('../hub/settings.ts'),
    import('../hub/models.ts'),
  ]);
  const settings = hubSettings(terminal.environment);
  const models = await listModels(settings);
  if (flags.json) {
    print(terminal, JSON.stringify(flags.all ? { library: models, named: namedModels } : models, null, 2));
    return;
  }
  const bold = (text: string) => styled(terminal.stdout, 'bold', text);
  if (models.length > 0) {
    const rows = models.map(model => [
      model.name,
      bytesText(model.bytes),
      model.complete ? '' : 'parts are missing',
      model.path,
    ]);
    print(terminal, table([['NAME', 'SIZE', '', 'FILE'], ...rows], [1]));
  } else note(terminal, `No models in ${settings.cache} yet. Get a small one with: maverick pull smollm2`);
  if (!flags.all) return;
  for (const model of namedModels) {
    print(terminal, `\n${bold(model.name)}  ${model.title}`);
    print(
      terminal,
      `  ${countText(model.parameters)} parameters, ${countText(model.activeParameters)} a token; ${model.licence} (${model.licenceLink})`,
    );
    const sizes = model.quantizations.map(
      ({ name, bytes, exact }) => `${name} ${exact ? '' : '≈ '}${bytesText(bytes)}`,
    );
    print(terminal, `  ${sizes.join(' · ')}  (usual: ${model.quantization})`);
  }
}
