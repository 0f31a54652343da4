import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  combineAdapters,
  convertToLoRA,
  disposeModel,
  getAdapter,
  type LoRAConfig,
  LoRAError,
  mergeLoRA,
} from 'tfjs-lora';
import {loraSites} from '../../../src/core/model/adapted';
import {measureLoRA, summarizeLoRA} from '../../../src/core/model/summary';
import {numbers, random, withoutLeaks} from '../../helpers';
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

/** A small model with a convolution, two Dense layers and a recurrent one. */
function network(): tf.LayersModel {
  const kernelInitializer = tf.initializers.glorotNormal({seed: 1});
  return tf.sequential({
    layers: [
      tf.layers.conv1d({filters: 6, kernelSize: 2, inputShape: [5, 4], kernelInitializer, name: 'conv'}),
      tf.layers.dense({units: 5, activation: 'tanh', kernelInitializer, biasInitializer: 'ones', name: 'dense'}),
      tf.layers.flatten({}),
      tf.layers.dense({units: 3, kernelInitializer, name: 'out'}),
    ],
  });
}

/** An adapted model whose update is not zero. */
function trained(base: tf.LayersModel, config: LoRAConfig): tf.LayersModel {
  const model = applyLoRA(base, {...(config.method?.startsWith('ia3') !== true && {rank: 3}), seed: 2, ...config});
  model.trainableWeights.forEach((weight, i) => {
    tf.tidy(() => void weight.write(tf.add(weight.read(), random(weight.shape as number[], i, 0.3))));
  });
  return model;
}

const METHODS = ['dora', 'loha', 'lokr', 'vera', 'ia3', 'ia3-feedforward', 'lora-fa'] as const;

test('a conversion to LoRA that is aborted at its second layer frees what it made', async () => {
  await withoutLeaks(async () => {
    const base = network();
    const model = trained(base, {method: 'loha'});
    const abort = new AbortController();
    const onProgress = ({done}: {done: number}) => {
      if (done === 1) {
        abort.abort();
      }
    };
    const conversion = convertToLoRA(model, {rank: 1, signal: abort.signal, onProgress});
    await expect(conversion).rejects.toMatchObject({code: 'ERR_ABORTED'});
    [model, base].forEach(each => disposeModel(each));
  });
});

test.each(METHODS)('%s of full rank computes the same as LoRA', async method => {
  await withoutLeaks(async () => {
    const base = network();
    const model = trained(base, {method});
    const {adapter, error, errors} = await convertToLoRA(model, {rank: 64});
    expect(error).toBeLessThan(1e-5);
    expect(Object.keys(errors)).toEqual(['conv', 'dense', 'out']);
    expect(Object.values(adapter.config.layers).map(layer => layer.method)).toEqual([undefined, undefined, undefined]);
    const plain = applyLoRA(base, adapter);
    tf.tidy(() => {
      const x = random([2, 5, 4], 9);
      expect(numbers(plain.predict(x) as tf.Tensor)).toBeAllClose(numbers(model.predict(x) as tf.Tensor), {
        rtol: 1e-4,
        atol: 1e-5,
      });
    });
    [plain, model, base].forEach(each => disposeModel(each));
  });
});

test('the error that is left is that of the merged kernel', async () => {
  await withoutLeaks(async () => {
    const base = network();
    const model = trained(base, {method: 'loha', targets: ['dense']});
    const converted = await convertToLoRA(model, {rank: 1});
    const plain = applyLoRA(base, converted.adapter);
    const models = [base, mergeLoRA(model), mergeLoRA(plain)];
    const [before, exact, near] = models.map(each => each.getLayer('dense').getWeights()[0]!) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    const expected = tf.tidy(() => numbers(tf.div(tf.norm(tf.sub(exact, near)), tf.norm(tf.sub(exact, before)))));
    expect(converted.error).toBeCloseTo(expected[0]!, 4);
    expect(converted.error).toBeGreaterThan(0.01);
    expect(converted.errors).toEqual({dense: converted.error});
    [plain, model, ...models].forEach(each => disposeModel(each));
  });
});

describe('a converted adapter', () => {
  test('can be combined, and LoRA stays as it is', async () => {
    const base = network();
    const dora = getAdapter(trained(base, {method: 'dora', targets: ['out']}));
    const model = trained(base, {targets: ['out']});
    const lora = await convertToLoRA(model, {rank: 3});
    expect(lora.error).toBe(0);
    const own = getAdapter(model);
    expect(numbers(lora.adapter.tensors['out/lora_A']!)).toEqual(numbers(own.tensors['out/lora_A']!));
    const {adapter} = await convertToLoRA(base, {adapter: dora, rank: 3});
    const sum = await combineAdapters([
      {adapter, weight: 0.5},
      {adapter: lora.adapter, weight: 0.5},
    ]);
    expect(sum.config.layers.out?.method).toBeUndefined();
    await expect(combineAdapters([dora, adapter].map(each => ({adapter: each, weight: 1})))).rejects.toThrow(
      'convertToLoRA',
    );
  });

  test('errors say what is wrong', async () => {
    const base = network();
    await expect(convertToLoRA(base)).rejects.toThrow(LoRAError);
    const model = trained(base, {method: 'ia3'});
    await expect(convertToLoRA(model, {rank: 0})).rejects.toThrow('rank must be a whole number, 1 or more, got 0.');
    const aborted = AbortSignal.abort();
    await expect(convertToLoRA(model, {signal: aborted})).rejects.toMatchObject({code: 'ERR_ABORTED'});
  });
});
