// A process that saves to one place, or reads from it, until its time is over:
// `saver.ts <what> <path> <n> <milliseconds>`.

import {argv, stdout} from 'node:process';
import * as tf from '@tensorflow/tfjs';
import {loadModelFiles, saveModelFiles} from '../../src/node/modelFiles';
import {readPEFTFolder, writePEFTFolder} from '../../src/node/peftFolder';

const [what, path, name, milliseconds] = argv.slice(2) as [string, string, string, string];
const n = Number(name);
/** Long enough that a write takes a moment. */
const LENGTH = 20_000;

async function save(round: number): Promise<void> {
  if (what === 'peft') {
    await writePEFTFolder({config: {n, round}, weights: new Uint8Array(LENGTH).fill((n + round) % 251)}, path);
    return;
  }
  await saveModelFiles(path, {
    modelTopology: {n: n + round},
    weightSpecs: [{name: 'w', shape: [LENGTH], dtype: 'float32'}],
    weightData: new Float32Array(LENGTH).fill(n + round).buffer,
  });
}

/** Reads once, and throws if what is there is of two saves. */
async function read(): Promise<void> {
  if (what === 'readPEFT') {
    const {config, weights} = await readPEFTFolder(path);
    const {n: by, round} = JSON.parse(config) as {n: number; round: number};
    if (weights.length !== LENGTH || weights.some(byte => byte !== (by + round) % 251)) {
      throw new Error(`Mixed: ${config} with ${weights[0]}.`);
    }
    return;
  }
  const {modelTopology, weightData} = await loadModelFiles(path);
  const expected = (modelTopology as {n: number}).n;
  const values = new Float32Array(tf.io.CompositeArrayBuffer.join(weightData));
  if (values.length !== LENGTH || values.some(value => value !== expected)) {
    throw new Error(`Mixed: ${expected} with ${values[0]}.`);
  }
}

async function main(): Promise<void> {
  stdout.write('READY\n');
  const end = Date.now() + Number(milliseconds);
  let rounds = 0;
  for (; Date.now() < end; rounds++) {
    await (what.startsWith('read') ? read() : save(rounds));
  }
  stdout.write(`ROUNDS ${rounds}\n`);
}

main().catch((error: unknown) => {
  stdout.write(`FAILED ${String(error)}\n`);
});
