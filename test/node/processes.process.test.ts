import {type ChildProcess, spawn} from 'node:child_process';
import {existsSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout} from 'node:timers/promises';
import {loadModelFiles, saveModelFiles} from '../../src/node/modelFiles';
import {readPEFTFolder, writePEFTFolder} from '../../src/node/peftFolder';
import {bundled} from '../bundled';
import {temporaryFolder} from '../temporaryFolder';

/** How long each process saves or reads, some hundred times. */
const MILLISECONDS = 1000;

const PROGRAM = bundled(join(__dirname, 'saver.ts'));

jest.setTimeout(120_000);

let folder: string;
const children: ChildProcess[] = [];

beforeEach(() => (folder = temporaryFolder()));
afterEach(() => {
  children.splice(0).forEach(child => child.kill('SIGKILL'));
});

interface Saver {
  child: ChildProcess;
  ready: Promise<void>;
  /** What it says at its end. */
  said: Promise<string>;
}

function start(what: string, path: string, n: number, milliseconds = MILLISECONDS): Saver {
  const args = [PROGRAM, what, path, String(n), String(milliseconds)];
  const child = spawn(process.execPath, args, {stdio: ['ignore', 'pipe', 'ignore']});
  children.push(child);
  let text = '';
  const ready = new Promise<void>(resolve => {
    child.stdout.on('data', data => {
      text += String(data);
      if (text.includes('READY')) {
        resolve();
      }
    });
  });
  const said = new Promise<string>(resolve => child.on('close', () => resolve(text)));
  return {child, ready, said};
}

const files = () => readdirSync(folder, {recursive: true, encoding: 'utf8'}).sort();

describe.each([
  ['a model or adapter as JSON and weights', 'model', 'read', ['model.json', 'weights.bin']],
  ['a folder of PEFT', 'peft', 'readPEFT', ['adapter_config.json', 'adapter_model.safetensors']],
])('%s', (_, save, read, expected) => {
  const isPEFT = save === 'peft';
  const place = () => (isPEFT ? folder : join(folder, 'model.json'));
  const saveHere = (n: number) =>
    isPEFT
      ? writePEFTFolder({config: {n, round: 0}, weights: new Uint8Array(20_000).fill(n % 251)}, folder)
      : saveModelFiles(place(), {modelTopology: {n}, weightSpecs: [], weightData: new ArrayBuffer(0)});
  const readHere = () => (isPEFT ? readPEFTFolder(folder) : loadModelFiles(place()));

  test('is never of two saves, when two processes save and another one reads', async () => {
    if (isPEFT) {
      await saveHere(1);
    } else {
      await saveModelFiles(place(), {
        modelTopology: {n: 1},
        weightSpecs: [{name: 'w', shape: [20_000], dtype: 'float32'}],
        weightData: new Float32Array(20_000).fill(1).buffer,
      });
    }
    const savers = [start(save, place(), 1000), start(save, place(), 2001), start(read, place(), 0)];
    for (const text of await Promise.all(savers.map(({said}) => said))) {
      expect(text).toMatch(/ROUNDS [1-9]\d*\n$/);
    }
    await readHere();
    expect(files()).toEqual(expected);
  });

  test('is whole whenever its process is killed, and the next save removes what that left', async () => {
    await saveHere(1);
    for (let round = 0; round < 3; round++) {
      const saver = start(save, place(), 100 * round, 60_000);
      await saver.ready;
      await setTimeout(60 + 37 * round);
      saver.child.kill('SIGKILL');
      await saver.said;
      await readHere();
      expect(existsSync(join(folder, expected[0]!))).toBe(true);
    }
    await saveHere(2);
    expect(files()).toEqual(expected);
  });
});
