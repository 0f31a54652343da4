import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  bestAdapter,
  checkpoint,
  disposeModel,
  learningRateSchedule,
  loraPlus,
  resume,
  seededBatches,
} from 'tfjs-lora';
import {checksumOf} from '../../../src/platform/formats/checksum';
import {changingVariables} from '../../../src/core/training/snapshot';
import {random} from '../../helpers';
import {type AttackKind, type Json, mustHold, type Parts} from '../kind';
import {baseInputs, baseModel, sameNumbers, savedParts} from './models';

interface Spec {
  name: string;
  shape: number[];
}

/** What begins the names of a checkpoint's tensors that are the model's. */
const MODEL = 'model/';
const SCHEDULE = {warmup: 0.1, steps: 20};

/** A checkpoint: with a checksum that is right, as who writes a file can write one too, or with the one that it had. */
export const checkpointFile: AttackKind = {
  name: 'a checkpoint',
  async prepare() {
    const base = baseModel();
    const [x, y] = [baseInputs(), random([2, 3], 4)];
    const whole: Parts[] = [];
    for (const dropout of [0, 0.2]) {
      const run = startRun(base, dropout, x, y);
      const {json, weights} = await savedParts(handler =>
        run.model.fitDataset(run.batches, {
          epochs: 2,
          verbose: 0,
          callbacks: [learningRateSchedule(SCHEDULE), bestAdapter(), checkpoint(handler, {batches: run.batches})],
        }),
      );
      run.dispose();
      const {state, ...topology} = json.modelTopology as {[key: string]: Json};
      const specs = json.weightSpecs as unknown as Json;
      whole.push(
        {dropout, topology, state: JSON.parse(state as string) as Json, specs, weights},
        {dropout, topology: {...topology, state: state!}, specs, weights},
      );
    }
    return {
      whole,
      models: [base],
      async use({dropout, topology, state, specs, weights}) {
        const weightData = (weights as Uint8Array).slice().buffer;
        const text = JSON.stringify(state);
        const modelTopology =
          state === undefined
            ? (topology as object)
            : {...(topology as object), state: text, checksum: checksumOf(text, weightData)};
        const load = () => Promise.resolve({modelTopology, weightSpecs: specs as unknown as never, weightData});
        const run = startRun(base, dropout === 0 ? 0 : 0.2, x, y);
        try {
          const before = valuesOf(run.model);
          let resumed;
          try {
            resumed = await resume(run.model, {load}, {batches: run.batches});
          } catch (error) {
            mustHold(isSame(valuesOf(run.model), before), 'It was refused, and the model has changed.');
            throw error;
          }
          mustHold(
            isSame(valuesOf(run.model), fileValues(specs as unknown as Spec[], weightData)),
            'It is not the file.',
          );
          await run.model.fitDataset(run.batches, {
            epochs: resumed.initialEpoch + 1,
            initialEpoch: resumed.initialEpoch,
            verbose: 0,
            callbacks: [learningRateSchedule(SCHEDULE), bestAdapter()],
          });
        } finally {
          run.dispose();
        }
      },
    };
  },
};

/** A model of the base, adapted and compiled, and what it is trained with. */
function startRun(base: tf.LayersModel, dropout: number, x: tf.Tensor, y: tf.Tensor) {
  const model = applyLoRA(base, {rank: 2, targets: ['conv', 'hidden'], trainInFull: ['head'], seed: 1, dropout});
  const optimizer = loraPlus(adam({learningRate: 1e-3}));
  model.compile({optimizer, loss: 'meanSquaredError'});
  const dispose = () => {
    disposeModel(model);
    optimizer.dispose();
  };
  return {model, batches: seededBatches(x, y, {batchSize: 2, seed: 5}), dispose};
}

type Values = Map<string, Float32Array>;

function valuesOf(model: tf.LayersModel): Values {
  return new Map(
    [...changingVariables(model)].map(([name, variable]) => [
      name,
      (variable.read().dataSync() as Float32Array).slice(),
    ]),
  );
}

/** What a checkpoint says that the variables of its model are. */
function fileValues(specs: readonly Spec[], data: ArrayBuffer): Values {
  const values: Values = new Map();
  let offset = 0;
  for (const {name, shape} of specs) {
    const end = offset + 4 * shape.reduce((product, axis) => product * axis, 1);
    if (name.startsWith(MODEL)) {
      values.set(name.slice(MODEL.length), new Float32Array(data.slice(offset, end)));
    }
    offset = end;
  }
  return values;
}

function isSame(one: Values, other: Values): boolean {
  return one.size === other.size && [...one].every(([name, value]) => sameNumbers(value, other.get(name) ?? []));
}
