import * as tf from '@tensorflow/tfjs';
import {loraSites} from '../../../src/core/model/adapted';
import {applyLoRA} from '../../../src/core/model/apply';
import {measureLoRA, summarizeLoRA} from '../../../src/core/model/summary';
import {withoutLeaks} from '../../helpers';
import {cnn, mlp, nested, reloaded, shared, stirFactors} from '../../models';

describe('summarizeLoRA', () => {
  test('lists the adapted layers and counts what trains', () => {
    const {layers, ...counts} = summarizeLoRA(applyLoRA(nested().model, {rank: 2, alpha: 3}));
    const strength = {className: 'Dense', rank: 2, alpha: 3, scaling: 1.5};
    expect(layers).toEqual([
      {path: 'body/first', kernelShape: [5, 6], trainableParameters: 22, ...strength},
      {path: 'body/second', kernelShape: [6, 4], trainableParameters: 20, ...strength},
      {path: 'head', kernelShape: [4, 3], trainableParameters: 14, ...strength},
    ]);
    // Dense layers 5 → 6 → 4 → 3 with biases hold 36 + 28 + 15.
    expect(counts).toMatchObject({
      trainable: [],
      trainableParameters: 56,
      totalParameters: 79 + 56,
    });
  });

  test('ends with the line that PEFT prints', () => {
    const lines = String(summarizeLoRA(applyLoRA(nested().model, {rank: 2}))).split('\n');
    expect(lines).toHaveLength(5);
    expect(lines[0]).toMatch(/layer +class +kernel +rank +alpha +trainable/);
    expect(lines[1]).toMatch(/^body\/first +Dense +5×6 +2 +2 +22$/);
    expect(lines[4]).toBe('trainable params: 56 || all params: 135 || trainable%: 41.4815');
  });

  test('groups thousands', () => {
    const layer = tf.layers.dense({units: 100, inputShape: [100], kernelInitializer: 'ones'});
    const text = String(summarizeLoRA(applyLoRA(tf.sequential({layers: [layer]}), {rank: 8})));
    expect(text).toContain('trainable params: 1,600 || all params: 11,700 || trainable%: 13.6752');
  });

  test('counts a shared layer once', () => {
    // tower 5 → 4, head 8 → 3; rank 2.
    const summary = summarizeLoRA(applyLoRA(shared().model, {rank: 2}));
    expect(summary.layers.map(({path}) => path)).toEqual(['tower', 'head']);
    expect(summary.trainableParameters).toBe(2 * 9 + 2 * 11);
    expect(summary.totalParameters).toBe(24 + 27 + 40);
  });

  test('names what trains in full and counts it, without the originals that are kept', async () => {
    const {model} = cnn();
    const total = model.countParams();
    const adapted = applyLoRA(model, {
      rank: 2,
      targets: ['conv'],
      trainInFull: ['head', 'norm'],
      freezeBaseLayer: false,
    });
    // A: 3·3·2·2, B: 2·4, the conv's own 72 + 4, gamma and beta 4 + 4, the head's 48 + 3.
    const counts = {trainableParameters: 44 + 76 + 8 + 51, totalParameters: total + 44};
    for (const each of [adapted, await reloaded(adapted)]) {
      const summary = summarizeLoRA(each);
      expect(summary).toMatchObject({...counts, trainable: ['norm', 'head']});
      expect(String(summary)).toContain('trained in full: norm, head');
      expect(summary.layers[0]!.trainableParameters).toBe(44 + 76);
    }
  });

  test('shows the ranks that were lowered, also after loading a file', async () => {
    jest.spyOn(console, 'warn').mockImplementation();
    const adapted = applyLoRA(mlp().model, {rank: 4, targets: ['Dense']});
    for (const each of [adapted, await reloaded(adapted)]) {
      const summary = summarizeLoRA(each);
      const [hidden, head] = summary.layers;
      expect(hidden).not.toHaveProperty('cappedFrom');
      expect(head).toMatchObject({rank: 3, cappedFrom: 4, alpha: 3, scaling: 1});
      expect(String(summary)).toContain('3 (not 4)');
    }
  });

  test('measureLoRA adds the norms, and leaks nothing', async () => {
    const adapted = applyLoRA(mlp().model, {rank: 1, alpha: 2});
    const {layer} = loraSites(adapted)[0]!;
    layer.setParameter('kernel', tf.fill([5, 6], 4));
    layer.setParameter('lora_A', tf.ones([5, 1]));
    layer.setParameter('lora_B', tf.ones([1, 6]));
    await withoutLeaks(async () => {
      const summary = await measureLoRA(adapted);
      const {layers} = summary;
      // Each of the 30 entries of delta is 2, half of the kernel's.
      expect(layers[0]!.deltaNorm).toBeCloseTo(2 * Math.sqrt(30), 4);
      expect(layers[0]!.deltaToKernelRatio).toBeCloseTo(0.5, 5);
      expect(layers[1]).toMatchObject({deltaNorm: 0, deltaToKernelRatio: 0});
      expect(String(summary)).toMatch(/hidden .* 10\.95 +0\.5\n/);
    });
    stirFactors(adapted);
    expect(summarizeLoRA(adapted).layers[0]).not.toHaveProperty('deltaNorm');
  });

  test('refuses a model that is not adapted', () => {
    expect(() => summarizeLoRA(mlp().model)).toThrow('The model has no LoRA layers.');
  });
});
