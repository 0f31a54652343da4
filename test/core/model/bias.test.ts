import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  getAdapter,
  type LoRAConfig,
  LoRAError,
  mergeLoRA,
  removeLoRA,
  setAdapter,
  summarizeLoRA,
} from '../../../src';
import {biasesOf} from '../../../src/platform/tfjs/weights';
import {expectGradients, kernelsOf, numbers, random, withoutLeaks} from '../../helpers';
import {baseWeights, predictions, reloaded, type Specimen, stir, stirFactors, train, ZOO} from '../../models';

const {layers} = tf;

/** A model of every kind of layer that has a bias or a shift, and a way of its own to compute frozen. */
function everyKind(): Specimen {
  const model = tf.sequential({
    layers: [
      layers.conv2d({filters: 3, kernelSize: 2, activation: 'relu', name: 'conv', inputShape: [5, 4, 2]}),
      layers.batchNormalization({name: 'batch'}),
      layers.depthwiseConv2d({kernelSize: 2, padding: 'same', name: 'depth'}),
      layers.conv2dTranspose({filters: 2, kernelSize: 2, activation: 'tanh', name: 'transposed'}),
      layers.reshape({targetShape: [5, 8], name: 'rows'}),
      layers.conv1d({filters: 4, kernelSize: 2, name: 'line'}),
      layers.layerNormalization({name: 'layer'}),
      layers.gru({units: 3, name: 'gru'}),
      layers.dense({units: 4, useBias: false, name: 'plain'}),
      layers.dense({units: 2, activation: 'softmax', name: 'head'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([3, 5, 4, 2], 30)]};
}

const BIASED = ['conv', 'batch', 'depth', 'transposed', 'line', 'layer', 'gru'];

test('all biases train and nothing else of the base, with the gradients that plain tfjs has', () => {
  const {model, inputs} = everyKind();
  const adapted = applyLoRA(model, {rank: 2, targets: ['head'], bias: 'all'});
  const names = adapted.trainableWeights.map(weight => weight.originalName).sort();
  expect(names).toEqual([
    ...['batch/beta', 'conv/bias', 'depth/bias', 'gru/bias', 'head/bias', 'head/lora_A', 'head/lora_B'],
    ...['layer/beta', 'line/bias', 'transposed/bias'],
  ]);
  const weights = tf.tensor1d([1, -2, 3, 5, -7, 11]);
  const gradientsOf = (each: tf.LayersModel, kwargs: object) => {
    const biases = each.layers.flatMap(layer => {
      const base = (layer as {baseLayer?: tf.layers.Layer}).baseLayer ?? layer;
      return [...biasesOf(base).values()].map(weight => weight.read() as tf.Variable);
    });
    const loss = () => {
      const y = each.apply(inputs[0]!, kwargs) as tf.Tensor;
      return tf.sum<tf.Scalar>(tf.mul(tf.reshape(y, [6]), weights));
    };
    const {grads} = tf.variableGrads(loss, biases);
    return biases.map(({name}) => numbers(grads[name]!));
  };
  // In inference a stock normalization uses its moving statistics, as the adapted one does in training too.
  const expected = gradientsOf(model, {training: false});
  expect(expected).toHaveLength(8);
  expectGradients(gradientsOf(adapted, {training: true}), expected);
});

test('no gradient of a kernel is computed for a bias that trains', async () => {
  const model = tf.sequential({
    layers: [
      layers.conv2d({filters: 3, kernelSize: 2, name: 'conv', inputShape: [5, 4, 2]}),
      layers.batchNormalization({name: 'batch'}),
      layers.flatten(),
      layers.dense({units: 5, name: 'head'}),
    ],
  });
  const adapted = applyLoRA(model, {rank: 1, targets: ['head'], bias: 'all'});
  const x = random([3, 5, 4, 2], 1);
  const kernels = await kernelsOf(() => {
    const {grads} = tf.variableGrads(() => tf.sum<tf.Scalar>(adapted.apply(x, {training: true}) as tf.Tensor));
    return Object.values(grads);
  });
  expect(kernels.map(({name}) => name)).not.toContain('Conv2DBackpropFilter');
  // The head's input gradient, and the two products for A, B: none of the shape of its kernel, [36, 5].
  expect(kernels.filter(({name, output}) => /MatMul/.test(name) && output === '36×5')).toEqual([]);
});

test.each<[string, Partial<LoRAConfig>]>([
  ['adapted layers', {bias: 'adapted'}],
  ['all layers', {bias: 'all'}],
])('biases of %s travel with the adapter, are merged, and are had back without it', async (_, config) => {
  await withoutLeaks(async () => {
    const {model, inputs} = everyKind();
    const original = predictions(model, inputs);
    const before = baseWeights(model);
    const adapted = applyLoRA(model, {rank: 2, targets: ['conv', 'plain', 'head'], ...config});
    expect(predictions(adapted, inputs)).toEqual(original);
    await train(adapted, inputs);
    const trained = predictions(adapted, inputs);
    expect(baseWeights(model)).toEqual(before);

    const adapter = getAdapter(adapted);
    const {layers: updates, biases} = adapter.config;
    expect(updates.conv!.trainBias).toBe(true);
    expect(updates.plain!.trainBias).toBeUndefined();
    expect(biases).toEqual(config.bias === 'all' ? BIASED.filter(name => name !== 'conv') : undefined);
    expect(numbers(adapter.tensors['conv/bias']!)).not.toEqual(before['conv/bias']);
    for (const [name, values] of Object.entries(baseWeights(adapted))) {
      if (adapter.tensors[name] === undefined) {
        expect(values).toEqual(before[name]);
      }
    }

    const applied = applyLoRA(model, adapter);
    expect(predictions(applied, inputs)).toEqual(trained);
    const again = getAdapter(applied);
    expect(again.config).toEqual(adapter.config);
    again.dispose();
    const loaded = await reloaded(applied);
    expect(predictions(loaded, inputs)).toEqual(trained);
    for (const each of [adapted, loaded]) {
      const merged = mergeLoRA(each);
      expect(predictions(merged, inputs)[0]).toBeAllClose(trained[0]!);
      const removed = removeLoRA(each);
      expect(predictions(removed, inputs)).toEqual(original);
      setAdapter(each, null);
      expect(predictions(each, inputs)).toEqual(original);
      setAdapter(each, adapter);
      expect(predictions(each, inputs)).toEqual(trained);
      merged.dispose();
      removed.dispose();
    }
    adapter.dispose();
    [adapted, applied, loaded, model].forEach(each => each.dispose());
    tf.dispose(inputs);
  });
});

test.each(ZOO)('%s computes what it computed before when its biases train, and reloads', async (_, make) => {
  const {model, inputs} = make();
  const adapted = applyLoRA(model, {rank: 1, bias: 'all'});
  expect(predictions(adapted, inputs)).toEqual(predictions(model, inputs));
  await train(adapted, inputs, {epochs: 2});
  expect(predictions(adapted, inputs)).not.toEqual(predictions(model, inputs));
  expect(predictions(await reloaded(adapted), inputs)).toEqual(predictions(adapted, inputs));
  expect(predictions(removeLoRA(adapted), inputs)).toEqual(predictions(model, inputs));
});

describe('biases', () => {
  test('are not part of an adapter unless asked for', () => {
    const adapter = getAdapter(applyLoRA(everyKind().model, {rank: 2}));
    expect(adapter.config.biases).toBeUndefined();
    expect(Object.keys(adapter.tensors).every(name => /lora_[AB]$/.test(name))).toBe(true);
  });

  test('are named in the summary', () => {
    const summary = summarizeLoRA(applyLoRA(everyKind().model, {rank: 2, targets: ['head'], bias: 'all'}));
    expect(summary.biases).toEqual(BIASED);
    expect(String(summary)).toContain(`bias trained: ${BIASED.join(', ')}`);
    // Factors 2·4 + 2·2, biases and shifts 3 + 3 + 3 + 2 + 4 + 4 + 9 + 2.
    expect(summary.trainableParameters).toBe(12 + 30);
  });

  test('of an adapter do not fit a model that keeps them frozen', () => {
    const {model} = everyKind();
    const withBiases = getAdapter(applyLoRA(model, {rank: 2, targets: ['head', 'line'], bias: 'all'}));
    const frozen = applyLoRA(model, {rank: 2, targets: ['head', 'line']});
    const set = () => setAdapter(frozen, withBiases);
    expect(set).toThrow(LoRAError);
    expect(set).toThrow('  head: with its bias in the adapter, which the model keeps frozen\n');
    expect(set).toThrow('  gru: with its bias in the adapter, which the model keeps frozen');
  });

  test('of an adapter do not fit a layer without one', () => {
    const {model} = everyKind();
    const adapter = getAdapter(applyLoRA(model, {rank: 2, targets: ['head']}));
    const config = {...adapter.config, biases: ['plain', 'head', 'nowhere']};
    const apply = () => applyLoRA(model, {...adapter, config});
    expect(apply).toThrow('  plain: with its bias in the adapter, and without one in the model');
    expect(apply).toThrow('  head: there twice in the adapter, once for its bias alone');
    expect(apply).toThrow('  nowhere: not in the model');
  });

  test('go back to their originals when an adapter that brings none is set', async () => {
    const {model, inputs} = everyKind();
    const plain = applyLoRA(model, {rank: 2, targets: ['head']});
    stirFactors(plain);
    const adapted = applyLoRA(model, {rank: 2, targets: ['head'], bias: 'all'});
    await train(adapted, inputs);
    setAdapter(adapted, getAdapter(plain));
    expect(predictions(adapted, inputs)).toEqual(predictions(plain, inputs));
  });

  test('are asked for in one of three words', () => {
    const bias = 'lora_only' as 'all';
    expect(() => applyLoRA(everyKind().model, {bias})).toThrow(
      'bias must be one of "none", "adapted", "all", got "lora_only".',
    );
  });
});
