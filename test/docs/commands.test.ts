import {spawnSync} from 'node:child_process';
import {cpSync, existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {main} from '../../src/cli/main';
import {applyLoRA, fileHandler, saveAdapter} from '../../src/index';
import {getAdapter} from '../../src/node';
import {useBackend} from '../helpers';
import {PROGRAMS} from '../../scripts/programs';
import {temporaryFolder} from '../temporaryFolder';
import {blocksOf, PAGES, readPage} from './pages';

jest.setTimeout(60_000);

const ROOT = process.cwd();
const WITH_COMMANDS = [...PAGES, 'CONTRIBUTING.md', 'examples/README.md', 'bench/README.md'];

interface Manifest {
  name: string;
  version: string;
  scripts: Record<string, string>;
  peerDependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

/** The commands of the shell on a page, without what is said about them. */
function commandsOf(page: string): string[] {
  return blocksOf(page, 'sh')
    .flatMap(({text}) => text.split('\n'))
    .map(line => line.replace(/ #.*$/, '').trim())
    .filter(line => line !== '')
    .flatMap(line => line.split(' && '));
}

/** What is wrong with what follows `npm run`. */
function scriptFault([script = '', dashes, name = '-']: readonly string[]): string | undefined {
  if (!(script in manifest.scripts)) {
    return `there is no script ${script}`;
  }
  const programs = PROGRAMS[script];
  if (programs === undefined || (programs.main !== undefined && (dashes === undefined || name.startsWith('-')))) {
    return undefined;
  }
  return name in programs.commands ? undefined : `npm run ${script} has no ${name}`;
}

/** What is wrong with a command that is not run here. */
function faultOf(command: string): string | undefined {
  const [program, verb = '', ...rest] = command.split(/\s+/);
  // Packages of Python are installed and run as their own pages say.
  const isPlain = program === 'mkdir' || program === 'cp' || (program === 'pip' && verb === 'install');
  if (
    isPlain ||
    (program === 'python' && verb === '-m') ||
    (program === 'npm' && ['ci', 'test', 'publish'].includes(verb))
  ) {
    return undefined;
  }
  if (program === 'npm' && verb === 'run') {
    return scriptFault(rest);
  }
  if (program === 'npm' && verb === 'install') {
    const known = [manifest.name, ...Object.keys({...manifest.peerDependencies, ...manifest.devDependencies})];
    const archive = `./${manifest.name}-${manifest.version}.tgz`; // what `npm pack` makes
    return rest.every(name => [...known, archive].includes(name)) ? undefined : 'nothing here is of that name';
  }
  if (program === 'npx' && ['tsx', 'jest', 'vite'].includes(verb)) {
    return existsSync(join(ROOT, rest[0]!)) ? undefined : 'there is no such file';
  }
  return program === 'npx' && verb === 'tfjs-lora' ? undefined : 'the test does not know this command';
}

test.each(WITH_COMMANDS)('the commands of %s are there', page => {
  const faults = commandsOf(page).map(command => [command, faultOf(command)]);
  expect(faults.filter(([, fault]) => fault !== undefined)).toEqual([]);
});

test('the scripts that texts name are there', () => {
  const files = spawnSync('git', ['ls-files', '*.md', '*.ts', '*.py', '*.sh', '*.cjs', '.ci'], {
    encoding: 'utf8',
  }).stdout;
  const faults = files
    .split('\n')
    .filter(file => file !== '' && existsSync(file))
    .flatMap(file =>
      [
        ...readFileSync(file, 'utf8').matchAll(
          /(?:`|^\W*)npm run (?:--silent )?([a-z][\w:-]*)(?: (--) ([a-z-][\w-]*))?/gm,
        ),
      ].map(([command, ...words]) => [file, command, scriptFault(words)]),
    )
    .filter(([, , fault]) => fault !== undefined);
  expect(faults).toEqual([]);
});

test('every program that has a name is there', () => {
  const commands = Object.values(PROGRAMS).flatMap(programs => Object.values(programs.commands));
  const files = commands.flatMap(command => command.match(/[\w/]+\.(?:ts|sh)/) ?? []);
  expect(files.length).toBeGreaterThan(20);
  expect(files.filter(file => !existsSync(join(ROOT, file)))).toEqual([]);
});

test('CONTRIBUTING says of every check when to run it', () => {
  const [, rows = ''] = /\| check \|[^\n]*\n[^\n]*\n([^]*?)\n\n/.exec(readPage('CONTRIBUTING.md')) ?? [];
  const told = rows.split('\n').map(row => /^\| `([\w-]+)[^|]*\|[^|]+\| [^|]+ \|$/.exec(row)?.[1]);
  expect(['all', ...told]).toEqual(Object.keys(PROGRAMS.check!.commands));
});

describe('the commands of docs/command-line.md', () => {
  const folder = temporaryFolder();
  afterAll(() => {
    process.chdir(ROOT);
  });

  test('do what the page says, one after the other', async () => {
    await useBackend('cpu');
    process.chdir(folder);
    const base = tf.sequential({layers: [tf.layers.dense({name: 'fc', units: 12, inputShape: [10]})]});
    const adapter = (seed: number) => getAdapter(applyLoRA(base, {rank: 4, seed}));
    await base.save(fileHandler('model/model.json'));
    await saveAdapter(adapter(1), fileHandler('emoji.json'));
    for (const name of ['emoji', 'cats', 'lions']) {
      await saveAdapter(adapter(1), `file://${name}.safetensors`);
    }
    await saveAdapter(adapter(1), 'peft-folder', {format: 'peft', model: base});
    cpSync('model', 'kept', {recursive: true});

    const commands = commandsOf(join('docs', 'command-line.md'));
    expect(commands.length).toBeGreaterThanOrEqual(5);
    const complaints: string[] = [];
    for (const command of commands) {
      const [, , ...args] = command.split(/\s+/);
      const err = (text: string) => complaints.push(text);
      const code = await main(args, {out: () => undefined, err}, join(ROOT, 'docs'));
      expect({command, code, complaints}).toMatchObject({command, code: 0});
    }
    expect(['merged/model.json', 'felines.safetensors'].filter(path => !existsSync(path))).toEqual([]);
  });
});
