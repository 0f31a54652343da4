import * as tf from '@tensorflow/tfjs';
import {encode, makeWords, reverse, write} from '../../examples/attention/data';
import {type Outcome, run} from '../../examples/attention/run';
import {disposeModel} from '../../src/core/rewire/dispose';
import {useBackend} from '../helpers';
import {baseWeights, factorsOf, MemoryHandler, predictions} from '../models';

// The example of a transformer block, run on fewer steps.
describe('a transformer with an attention layer of a user', () => {
  let texts: tf.Tensor;
  let outcome: Outcome;
  let adapterFile: MemoryHandler;

  beforeAll(async () => {
    await useBackend('wasm');
    texts = encode(makeWords(32, 4), reverse).texts;
    adapterFile = new MemoryHandler();
    outcome = await run({
      steps: {pretraining: 96, adapting: 128},
      files: {adapter: adapterFile, merged: new MemoryHandler()},
    });
  }, 300_000);

  afterAll(() => {
    Object.values(outcome.models).forEach(disposeModel);
    texts.dispose();
  });

  test('computes what its base computes when it is new', () => {
    expect(outcome.differenceAtStart).toBe(0);
  });

  test('learns another task than its base, which keeps its own', () => {
    const {base, adapted} = outcome.scores;
    expect(base.repeat.accuracy).toBeGreaterThan(0.8);
    expect(base.reverse.accuracy).toBeLessThan(0.2);
    expect(adapted.reverse.accuracy).toBeGreaterThan(0.6);
    expect(adapted.reverse.loss).toBeLessThan(0.5 * base.reverse.loss);
  });

  test('adapts both kernels of the attention and every Dense layer, and leaves the base to a bit', () => {
    const {base, adapted} = outcome.models;
    const names = factorsOf(adapted).map(({originalName}) => originalName);
    const updated = ['attention/attn_kernel', 'attention/proj_kernel', 'expand', 'contract', 'next'];
    expect(names.sort()).toEqual(updated.flatMap(name => [`${name}/lora_A`, `${name}/lora_B`]).sort());
    expect(baseWeights(adapted)).toEqual(baseWeights(base));
  });

  test('comes back from its file as it was', () => {
    const {adapted, reloaded} = outcome.models;
    expect(predictions(reloaded, [texts])).toEqual(predictions(adapted, [texts]));
    expect(adapterFile.weightData).toMatchObject({byteLength: 4 * tf.util.sizeFromShape([3432])});
  });

  test("merges to the user's own classes, with the same results", () => {
    const {base, adapted, merged} = outcome.models;
    expect(merged.layers.map(layer => layer.getClassName())).toEqual(base.layers.map(layer => layer.getClassName()));
    expect(predictions(merged, [texts])[0]).toBeAllClose(predictions(adapted, [texts])[0]!);
    expect(write(merged, 'abcdef')).toBe(write(adapted, 'abcdef'));
  });
});
