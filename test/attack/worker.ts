// Attacks the library with one damaged file after the other, in a process that the runner can kill: `worker.ts`, told
// `{kind, seed}` by message.

import process from 'node:process';
import * as tf from '@tensorflow/tfjs';
import {LoRAError} from 'tfjs-lora';
import {damaged, pick, randomFrom} from './damage';
import type {Attack} from './kind';
import {KINDS} from './kinds';
import type {Job, Outcome} from './job';

/** A few kilobytes: messages are for people. */
const MAX_MESSAGE = 5000;

tf.enableProdMode();
await tf.setBackend('cpu');
console.warn = () => undefined;

const prepared = new Map<string, Attack & {weights: Uint8Array[]}>();

async function attackOf(name: string) {
  const known = prepared.get(name);
  if (known !== undefined) {
    return known;
  }
  const attack = await KINDS.find(kind => kind.name === name)!.prepare();
  for (const parts of attack.whole) {
    await attack.use(parts); // a whole file loads, and what is made once is made
  }
  const ready = {...attack, weights: weightsOf(attack)};
  prepared.set(name, ready);
  return ready;
}

/** The bytes of all weights of the models that must not change. */
function weightsOf({models}: Attack): Uint8Array[] {
  return models.flatMap(model =>
    model.weights.map(weight => new Uint8Array((weight.read().dataSync() as Float32Array).slice().buffer)),
  );
}

async function carryOut({kind, seed}: Job): Promise<Outcome> {
  const attack = await attackOf(kind);
  const random = randomFrom(seed);
  const parts = attack.make?.(random) ?? damaged(pick(random, attack.whole), random);
  process.send!('made');
  const {numTensors, numDataBuffers} = tf.memory();
  let result: Outcome['result'] = 'loaded';
  try {
    await attack.use(parts);
  } catch (error) {
    if (!(error instanceof LoRAError)) {
      return {result: 'fault', what: error instanceof Error ? (error.stack ?? error.message) : String(error)};
    }
    if (error.message.length > MAX_MESSAGE) {
      return {
        result: 'fault',
        what: `A message of ${error.message.length} characters: ${error.message.slice(0, 200)}…`,
      };
    }
    result = 'refused';
  }
  const left = tf.memory();
  // A kernel of tfjs that refuses its inputs may leave a buffer behind, and graphs are run for sizes that they turn out
  // not to be for.
  const leavesBuffers = attack.make === undefined && left.numDataBuffers !== numDataBuffers;
  if (left.numTensors !== numTensors || leavesBuffers) {
    const [tensors, buffers] = [left.numTensors - numTensors, left.numDataBuffers - numDataBuffers];
    return {result: 'fault', what: `${result}, and it left ${tensors} tensors and ${buffers} buffers.`};
  }
  const changed = weightsOf(attack).some((bytes, i) => Buffer.compare(bytes, attack.weights[i]!) !== 0);
  return changed ? {result: 'fault', what: `${result}, and a model has changed.`} : {result};
}

process.on('message', (job: Job) => {
  carryOut(job).then(
    outcome => process.send!(outcome),
    (error: unknown) => {
      console.error(error); // not even the whole files can be used
      process.exit(1);
    },
  );
});
process.send!('ready');
