import * as tf from '@tensorflow/tfjs';
import {applyLoRA, checkpoint, disposeModel, fitOnFeatures, LoRAError, neftune, resume} from 'tfjs-lora';
import {numbers, withoutLeaks} from '../../helpers';
import {MemoryHandler} from '../../models';

const TOKENS = [1, 2, 3, 3, 2, 1];

/** A model whose outputs are its embeddings: four positions of two values, all 1. */
function embeddings(): tf.Sequential {
  return tf.sequential({
    layers: [
      tf.layers.embedding({inputDim: 5, outputDim: 2, inputLength: 3, embeddingsInitializer: 'ones', name: 'words'}),
      tf.layers.dense({units: 2, useBias: false, kernelInitializer: 'identity', name: 'out'}),
    ],
  });
}

/** What the layers above the embeddings get in the steps of a fit, and the logs. */
async function seen(model: tf.LayersModel, callbacks: tf.Callback[], epochs = 2) {
  const found: number[][] = [];
  const x = tf.tensor2d(TOKENS, [2, 3]);
  const ys = tf.zeros([2, 3, 2]);
  const optimizer = tf.train.sgd(0);
  model.compile({
    optimizer,
    loss: (targets, outputs) => {
      found.push(numbers(outputs));
      return tf.losses.meanSquaredError(targets, outputs);
    },
  });
  try {
    await model.fit(x, ys, {epochs, shuffle: false, callbacks, validationData: [x, ys]});
  } finally {
    tf.dispose([x, ys]);
    optimizer.dispose();
  }
  return found;
}

test('noise is uniform within alpha / √(positions · width), in training alone', async () => {
  await withoutLeaks(async () => {
    const base = embeddings();
    const model = applyLoRA(base, {targets: ['out'], rank: 1, seed: 1});
    const [first, validated, second] = await seen(model, [neftune({alpha: 3, seed: 1})]);
    const most = 3 / Math.sqrt(3 * 2);
    const noises = [...first!, ...second!].map(value => Math.abs(value - 1));
    expect(Math.max(...noises)).toBeLessThanOrEqual(most);
    expect(Math.max(...noises)).toBeGreaterThan(0.7 * most);
    expect(noises.reduce((sum, noise) => sum + noise, 0) / noises.length).toBeGreaterThan(0.3 * most);
    expect(first).not.toEqual(second);
    expect(validated).toEqual(Array.from({length: 12}, () => 1));
    // Without the callback, nothing is left of it.
    expect((await seen(model, []))[0]).toEqual(validated);
    disposeModel(model);
    disposeModel(base);
  });
});

describe('neftune', () => {
  test('a step that fails leaves no noise behind', async () => {
    const model = embeddings();
    const [x, ys] = [tf.tensor2d(TOKENS, [2, 3]), tf.zeros([2, 3, 2])];
    const fail = () => {
      throw new Error('no loss');
    };
    model.compile({optimizer: 'sgd', loss: fail});
    await expect(model.fit(x, ys, {callbacks: [neftune()]})).rejects.toThrow('no loss');
    expect(numbers(model.apply(x, {training: true}) as tf.Tensor)).toEqual(Array.from({length: 12}, () => 1));
  });

  test('an error between the steps leaves no noise behind', async () => {
    const model = embeddings();
    const [x, ys] = [tf.tensor2d(TOKENS, [2, 3]), tf.zeros([2, 3, 2])];
    model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    const noise = neftune();
    const fail = () => {
      (noise as unknown as {abandon(): void}).abandon(); // as callbacks do that end a fit
      throw new Error('no step');
    };
    const callbacks = [noise, new tf.CustomCallback({onBatchBegin: fail})];
    await expect(model.fit(x, ys, {callbacks})).rejects.toThrow('no step');
    expect(model.layers.filter(layer => Object.hasOwn(layer, 'call'))).toEqual([]);
  });

  test('a resumed run goes on with the noise of the first', async () => {
    const place = new MemoryHandler();
    const [x, ys] = [tf.tensor2d(TOKENS, [2, 3]), tf.zeros([2, 3, 2])];
    const run = async (epochs: number, isResumed = false) => {
      const model = embeddings();
      const outputs: number[][] = [];
      const loss = (targets: tf.Tensor, values: tf.Tensor) => {
        outputs.push(numbers(values));
        return tf.losses.meanSquaredError(targets, values);
      };
      model.compile({optimizer: tf.train.sgd(0), loss});
      const at = isResumed ? await resume(model, place) : {};
      const callbacks = [neftune({seed: isResumed ? 99 : 7}), checkpoint(place)];
      await model.fit(x, ys, {epochs, ...at, shuffle: false, verbose: 0, callbacks});
      return outputs;
    };
    const [, second] = await run(2);
    await run(1);
    expect(await run(2, true)).toEqual([second]);
  });

  test('a model without embeddings, and features, are errors', async () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
    model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    await expect(model.fit(tf.ones([1, 2]), tf.ones([1, 1]), {callbacks: [neftune()]})).rejects.toThrow(LoRAError);
    const adapted = applyLoRA(embeddings(), {targets: ['out'], rank: 1});
    adapted.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    await expect(
      fitOnFeatures(adapted, tf.tensor2d(TOKENS, [2, 3]), tf.zeros([2, 3, 2]), {callbacks: [neftune()]}),
    ).rejects.toThrow('train with fit instead');
    expect(() => neftune({alpha: 0})).toThrow('alpha must be a number above 0, got 0.');
  });
});
