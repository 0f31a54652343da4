import * as tf from '@tensorflow/tfjs';
import {version} from '../../package.json';
import {messageOf} from '../platform/errors';
import {closestTo} from '../platform/closest';
import {adapt} from './adapt';
import {combine} from './combine';
import {type Arguments, type Command, helpOf, parse, type Terminal, UsageError} from './command';
import {convert} from './convert';
import {docsOf} from './docs';
import {inspect} from './inspect';
import {merge} from './merge';

function commandsWith(docs: string): Readonly<Record<string, Command>> {
  return {inspect, merge, convert, combine, adapt, docs: docsOf(docs)};
}

const PROCESS: Terminal = {
  out: text => process.stdout.write(`${text}\n`),
  err: text => process.stderr.write(`${text}\n`),
};

/**
 * Runs a command of `npx tfjs-lora`.
 *
 * @param args what follows the program's name.
 * @param docs the folder with the pages of the documentation.
 * @returns the exit code: 0, or 1 if the command failed, or 2 if it was called in a wrong way.
 */
export async function main(args: readonly string[], terminal = PROCESS, docs = 'docs'): Promise<number> {
  const commands = commandsWith(docs);
  const [name, ...commandArgs] = args;
  if (name === undefined || ['help', '--help', '-h'].includes(name)) {
    terminal.out(usage(commands));
    return name === undefined ? 2 : 0;
  }
  if (name === '--version' || name === '-v') {
    terminal.out(version);
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    const [closest] = closestTo(name, Object.keys(commands));
    const advice = closest === undefined ? '' : ` Did you mean "${closest}"?`;
    terminal.err(`There is no command "${name}".${advice}\n\n${usage(commands)}`);
    return 2;
  }
  try {
    const parsed: Arguments = parse(commandArgs, command);
    if (parsed.switches.has('help')) {
      terminal.out(helpOf(name, command));
      return 0;
    }
    tf.enableProdMode(); // no banner of the cpu backend, which is all that a command needs
    await tf.setBackend('cpu');
    await command.run(parsed, terminal);
    return 0;
  } catch (error) {
    const isUsage = error instanceof UsageError;
    terminal.err(isUsage ? `${error.message}\n\n${helpOf(name, command)}` : messageOf(error));
    return isUsage ? 2 : 1;
  }
}

function usage(commands: Readonly<Record<string, Command>>): string {
  return [
    'tfjs-lora <command> …',
    '',
    ...Object.entries(commands).map(([name, {summary}]) => `  ${name.padEnd(8)}  ${summary}`),
    '',
    'Paths are files, folders, and hf:// addresses: adapters (.safetensors, .json), PEFT folders, models (layers, graph,',
    '.onnx, .gguf, or a folder with config.json).',
    'tfjs-lora <command> --help lists the options; tfjs-lora --version prints the version.',
  ].join('\n');
}
