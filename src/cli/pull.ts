// maverick pull: gets a model into the library, resumed and checked.
import type { Command } from 'commander';
import { bytesText, durationText } from './quantities.ts';
import { columns, note, print, progressBar, styled, type Terminal } from './terminal.ts';

export const addPull = (program: Command, terminal: Terminal): Command =>
  program
    .command('pull')
    .summary('get a model')
    .description(
      'Downloads a model into the library, the cache that all Hugging Face tools share (HF_HOME). A broken download goes on where it broke; every file is checked by its hash.',
    )
    .argument(
      '<name>',
      "a short name such as smollm2 or smollm2:Q8_0, or hf:owner/repo[:file] (a file's name, a quantization, or safetensors)",
    )
    .option('--accept-licence', "agree to the model's licence and use policy, where nobody can be asked")
    .option('--json', 'print what was pulled as JSON')
    .addHelpText('after', () => `\n${examples}`)
    .action((name: string, flags: { json?: boolean; acceptLicence?: boolean }) =>
      runPull(name, flags, terminal).then(() => undefined),
    );

const examples = `Examples:
  maverick pull smollm2                    a small model to try things with (105 MB)
  maverick pull llama4-scout:Q3_K_M        Llama 4 Scout in another quantization
  maverick pull hf:owner/repo:Q4_K_M       any GGUF model on the hub
  maverick pull hf:owner/repo              its safetensors, where it has no GGUF

A gated model needs its licence accepted on its page and a token in HF_TOKEN. 'maverick list --all' shows the short names.`;

/** Pulls with a bar, the licence and the size shown first. Gives the path of the model's first file. */
export async function runPull(
  name: string,
  flags: { json?: boolean; acceptLicence?: boolean; attempts?: number; stallMs?: number; quiet?: boolean },
  terminal: Terminal,
): Promise<string> {
  const [{ agreeToLicence }, { pull }, { hubSettings }, { namedModels }] = await Promise.all([
    import('./agree.ts'),
    import('../hub/pull.ts'),
    import('../hub/settings.ts'),
    import('../hub/models.ts'),
  ]);
  const { stderr } = terminal;
  const settings = hubSettings(terminal.environment);
  using bar = progressBar(terminal, 'Pulling');
  const pulled = await pull(name, {
    settings,
    signal: terminal.signal,
    ...(flags.attempts && { attempts: flags.attempts }),
    ...(flags.stallMs && { stallMs: flags.stallMs }),
    onPlan: async plan => {
      const known = namedModels.find(model => (model.repos as readonly string[]).includes(plan.repo));
      const licence = known?.licence ?? plan.licence.name ?? 'not stated: see the page';
      const link = known?.licenceLink ?? plan.licence.link;
      const here = plan.presentBytes > 0 ? `, ${bytesText(plan.presentBytes)} of them here already` : '';
      const rows: [string, string][] = [
        ['Model', `${known ? `${known.title}, ` : ''}hf:${plan.repo} at ${plan.commit.slice(0, 8)}`],
        ['Licence', `${licence}${link ? ` (${link})` : ''}`],
        ['Size', `${bytesText(plan.bytes)} in ${plan.files.length} file${plan.files.length === 1 ? '' : 's'}${here}`],
      ];
      stderr.write(`${columns(rows)}\n`);
      const { repo, commit } = plan;
      await agreeToLicence({ licence, repo, commit }, settings.cache, terminal, flags.acceptLicence);
    },
    onProgress: ({ bytes, total, phase }) =>
      bar.update(bytes, total, phase === 'checking' ? `checking what is here: ${bytesText(bytes)}` : undefined),
    onWait: file => note(terminal, `Another process is downloading ${file}; waiting for it.`),
    onRetry: ({ reason, waitMs, attempt, attempts }) =>
      note(
        terminal,
        `The download failed (${reason}); trying again in ${durationText(waitMs)} (${attempt} of ${attempts - 1}).`,
      ),
  });
  if (flags.json) print(terminal, JSON.stringify(pulled));
  else if (!flags.quiet) stderr.write(`${styled(stderr, 'green', 'Done.')} Try: maverick chat ${name}\n`);
  return pulled.path;
}
