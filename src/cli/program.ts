// The command line: every verb, its help, and what is common to all.
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addBench } from './bench.ts';
import { addCalibrate } from './calibrate.ts';
import { addCard } from './card.ts';
import { addChat } from './chat.ts';
import { addCompare } from './compare.ts';
import { exitCodes, explain } from './failures.ts';
import { addGenerate } from './generate.ts';
import { addInspect } from './inspect.ts';
import { addList } from './list.ts';
import { addLogprobs } from './logprobs.ts';
import { addPerplexity } from './perplexity.ts';
import { addPlan } from './plan.ts';
import { addPull } from './pull.ts';
import { addQuantize } from './quantize.ts';
import { addRoute } from './route.ts';
import { addServe } from './serve.ts';
import type { Terminal } from './terminal.ts';
import { addTokenize } from './tokenize.ts';

const epilogue = `A model is a GGUF file, a folder as Hugging Face or Meta publish them, a name that 'maverick list' shows, or
hf:owner/repo[:file] once pulled.

Begin with:
  maverick pull smollm2        get a small model (105 MB)
  maverick chat smollm2        talk to it
  maverick help chat           more about one command`;

/** Runs one command line and gives its exit code. Nothing is thrown, and the process is left alone. */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const program = new Command('maverick')
    .description('Llama 4 in TypeScript, whole: read the checkpoint, run it, serve it.')
    .version(version(), '-v, --version', 'print the version')
    .option('--debug', 'with an error, show where in the code it arose')
    .configureOutput({
      writeOut: text => void terminal.stdout.write(text),
      writeErr: text => void terminal.stderr.write(text),
      getOutHelpWidth: () => Math.min(terminal.stdout.columns ?? 100, 120),
      getErrHelpWidth: () => Math.min(terminal.stderr.columns ?? 100, 120),
      getOutHasColors: () => terminal.stdout.isTTY === true && !terminal.environment.NO_COLOR,
      getErrHasColors: () => terminal.stderr.isTTY === true && !terminal.environment.NO_COLOR,
    })
    .showSuggestionAfterError()
    .exitOverride()
    .addHelpText('after', `\n${epilogue}`);
  const verbs = [
    addChat,
    addGenerate,
    addServe,
    addPull,
    addRoute,
    addPlan,
    addList,
    addInspect,
    addTokenize,
    addLogprobs,
    addPerplexity,
    addCompare,
    addCalibrate,
    addQuantize,
    addCard,
    addBench,
  ];
  for (const add of verbs) {
    const command = add(program, terminal);
    command
      .copyInheritedSettings(program)
      .showHelpAfterError(`('maverick help ${command.name()}' explains this command)`);
  }
  // --debug may stand anywhere.
  const end = args.indexOf('--');
  const isDebug = (argument: string, index: number) => argument === '--debug' && (end < 0 || index < end);
  const debug = args.some(isDebug);
  try {
    await program.parseAsync(
      args.filter((argument, index) => !isDebug(argument, index)),
      { from: 'user' },
    );
    return exitCodes.ok;
  } catch (error) {
    return explain(error, terminal, debug);
  }
}

function version(): string {
  const description: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof description === 'object' && description !== null && 'version' in description
    ? String(description.version)
    : '';
}
