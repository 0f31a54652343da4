import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  disposeModel,
  getAdapter,
  mergeLoRA,
  removeLoRA,
  resetOptimizer,
  scaleAdapter,
  setAdapter,
} from 'tfjs-lora';
import {random, useBackend} from '../../helpers';
import {baseWeights, predictions, stir} from '../../models';

const {layers} = tf;

function tinyModel(): tf.LayersModel {
  const model = tf.sequential({
    layers: [
      layers.dense({units: 3, activation: 'tanh', name: 'hidden', inputShape: [3]}),
      layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return model;
}

/** What is done, with numbers that decide the details. */
const steps = fc.array(
  fc.tuple(
    fc.constantFrom('get', 'set', 'clear', 'scale', 'combine', 'svd', 'train', 'merge', 'remove', 'drop'),
    fc.nat(999),
    fc.nat(999),
  ),
  {minLength: 1000, maxLength: 1000},
);

test.each([
  ['of get, set, combine, train, merge and remove', 'none'],
  ['with biases that train along', 'adapted'],
] as const)(
  'a thousand random steps %s leak no tensor and change no bit of the base',
  async (_, bias) => {
    await useBackend('wasm');
    const script = fc.sample(steps, {numRuns: 1, seed: 2106})[0]!;
    const model = tinyModel();
    const [x, y] = [random<tf.Rank.R2>([4, 3], 1), random<tf.Rank.R2>([4, 2], 2)];
    const base = baseWeights(model);
    const predicted = predictions(model, [x]);
    const before = tf.memory();

    const adapted = applyLoRA(model, {rank: 2, seed: 1, bias});
    const optimizer = tf.train.adam(0.01);
    adapted.compile({optimizer, loss: 'meanSquaredError'});
    const fixed = tf.memory().numTensors - before.numTensors; // the factors, the optimizer's counters
    const adapters: Adapter[] = [getAdapter(adapted)];
    let refused = 0;
    const pick = (i: number) => adapters[i % adapters.length]!;

    for (const [action, i, j] of script) {
      if (action === 'get') {
        adapters.push(getAdapter(adapted));
      } else if (action === 'set' || action === 'clear') {
        setAdapter(adapted, action === 'set' ? pick(i) : null);
        resetOptimizer(adapted);
      } else if (action === 'scale') {
        adapters.push(scaleAdapter(pick(i), (j % 20) / 10));
      } else if (action === 'combine' || action === 'svd') {
        const parts = [i, j].map(n => ({adapter: pick(n), weight: (n % 7) / 7 - 0.4}));
        try {
          adapters.push(action === 'combine' ? await combineAdapters(parts) : await combineAdapters(parts, {rank: 1}));
        } catch (error) {
          // Biases that differ cannot be added up.
          expect([bias, String(error)]).toEqual(['adapted', expect.stringContaining('in more than one adapter')]);
          refused++;
        }
      } else if (action === 'train') {
        await adapted.trainOnBatch(x, y).then(loss => tf.dispose(loss as unknown as tf.Tensor));
      } else if (action === 'drop') {
        adapters.splice(1).forEach(adapter => adapter.dispose());
      } else {
        const plain = action === 'merge' ? mergeLoRA(adapted) : removeLoRA(adapted);
        if (action === 'remove') {
          expect(predictions(plain, [x])).toEqual(predicted);
        }
        disposeModel(plain);
      }
    }

    expect(refused > 0).toBe(bias === 'adapted');
    expect(adapters.length).toBeGreaterThan(1);
    setAdapter(adapted, null);
    expect(baseWeights(adapted)).toEqual(base);
    resetOptimizer(adapted);
    adapters.forEach(adapter => adapter.dispose());
    expect(tf.memory().numTensors).toBe(before.numTensors + fixed);
    disposeModel(adapted);
    optimizer.dispose();
    const after = tf.memory();
    expect([after.numTensors, after.numDataBuffers]).toEqual([before.numTensors, before.numDataBuffers]);
    expect(baseWeights(model)).toEqual(base);
    expect(predictions(model, [x])).toEqual(predicted);
    disposeModel(model);
    tf.dispose([x, y]);
  },
  120_000,
);
