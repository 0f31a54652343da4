import {cpSync, existsSync, mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {main} from '../../src/cli/main';
import {applyLoRA, exportPEFT, fileHandler, getAdapter, saveAdapter, writePEFTFolder} from '../../src/node';
import {useBackend} from '../helpers';
import {blocksOf, PAGES} from './pages';

jest.setTimeout(60_000);

const ROOT = process.cwd();
const WITH_COMMANDS = [...PAGES, 'CONTRIBUTING.md', 'examples/README.md', 'bench/README.md'];

interface Manifest {
  name: string;
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

/** What is wrong with a command that is not run here. */
function faultOf(command: string): string | undefined {
  const [program, verb = '', ...rest] = command.split(/\s+/);
  if (program === 'npm' && ['ci', 'test', 'publish'].includes(verb)) {
    return undefined;
  }
  if (program === 'npm' && verb === 'run') {
    return rest[0]! in manifest.scripts ? undefined : `there is no script ${rest[0]!}`;
  }
  if (program === 'npm' && verb === 'install') {
    const known = [manifest.name, ...Object.keys({...manifest.peerDependencies, ...manifest.devDependencies})];
    return rest.every(name => known.includes(name)) ? undefined : 'nothing here is of that name';
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

describe('the commands of docs/command-line.md', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-commands-'));
  afterAll(() => {
    process.chdir(ROOT);
    rmSync(folder, {recursive: true});
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
    await writePEFTFolder('peft-folder', await exportPEFT(adapter(1), base));
    cpSync('model', 'kept', {recursive: true});

    const commands = commandsOf(join('docs', 'command-line.md'));
    expect(commands.length).toBeGreaterThanOrEqual(5);
    const complaints: string[] = [];
    for (const command of commands) {
      const [, , ...args] = command.split(/\s+/);
      const err = (text: string) => complaints.push(text);
      const code = await main(args, {out: () => undefined, err});
      expect({command, code, complaints}).toMatchObject({command, code: 0});
    }
    expect(['merged/model.json', 'felines.safetensors'].filter(path => !existsSync(path))).toEqual([]);
  });
});
