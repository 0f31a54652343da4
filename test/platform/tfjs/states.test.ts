import * as tf from '@tensorflow/tfjs';
import {LoRALSTM} from '../../../src/core/layers/loraRecurrent';
import {applyLoRA} from '../../../src/core/model/apply';
import {disposeModel} from '../../../src/core/rewire/dispose';
import {mergeLoRA, removeLoRA} from '../../../src/core/model/restore';
import {numbers, random, withoutLeaks} from '../../helpers';
import {baseWeights, predictions, reloaded, type Specimen, stir, stirFactors, train} from '../../models';

const {layers} = tf;

/** An encoder hands its states to a decoder of two layers. */
function translator(): Specimen {
  const source = tf.input({shape: [4, 3], name: 'source'});
  const target = tf.input({shape: [5, 2], name: 'target'});
  const states = layers.lstm({units: 3, returnState: true, name: 'encoder'}).apply(source) as tf.SymbolicTensor[];
  const initialState = states.slice(1);
  const decoder = layers.lstm({units: 3, returnSequences: true, name: 'decoder'});
  const decoded = decoder.apply(target, {initialState}) as tf.SymbolicTensor;
  const second = layers.gru({units: 3, returnSequences: true, name: 'second'});
  const again = second.apply(decoded, {initialState: initialState[0]}) as tf.SymbolicTensor;
  const outputs = layers.dense({units: 2, name: 'head'}).apply(again) as tf.SymbolicTensor;
  const model = tf.model({inputs: [source, target], outputs, name: 'translator'});
  stir(model);
  return {model, inputs: [random([4, 4, 3], 1), random([4, 5, 2], 2)]};
}

/** Both directions of a decoder begin with states of their own. */
function bothWays(): Specimen {
  const source = tf.input({shape: [4, 3], name: 'source'});
  const target = tf.input({shape: [5, 2], name: 'target'});
  const inner = layers.gru({units: 3, returnState: true, name: 'gru'});
  const encoder = layers.bidirectional({layer: inner, mergeMode: 'sum', name: 'encoder'});
  const [, ...initialState] = encoder.apply(source) as tf.SymbolicTensor[];
  const other = layers.gru({units: 3, name: 'other'});
  const decoder = layers.bidirectional({layer: other, mergeMode: 'concat', name: 'decoder'});
  const decoded = decoder.apply(target, {initialState}) as tf.SymbolicTensor;
  const outputs = layers.dense({units: 2, name: 'head'}).apply(decoded) as tf.SymbolicTensor;
  const model = tf.model({inputs: [source, target], outputs});
  stir(model);
  return {model, inputs: [random([4, 4, 3], 1), random([4, 5, 2], 2)]};
}

beforeEach(() => {
  // tfjs says each time that it does not save states as keyword arguments; it saves them as inputs.
  jest.spyOn(console, 'warn').mockImplementation();
});

describe.each([
  ['an encoder and its decoder', translator],
  ['an encoder and its decoder, both ways', bothWays],
])('%s', (_, make) => {
  test.each([
    ['adapted', {rank: 2}],
    ['frozen', {targets: ['Dense'], rank: 1}],
    ['trained in full', {targets: ['Dense'], trainInFull: ['encoder', 'decoder'], rank: 1}],
  ])('%s they compute what they computed, train, save, merge and come off', async (__, config) => {
    const {model, inputs} = make();
    const before = baseWeights(model);
    const expected = predictions(model, inputs);
    const lora = applyLoRA(model, config);
    expect(predictions(lora, inputs)).toEqual(expected);

    const {history} = await train(lora, inputs, {epochs: 20, optimizer: tf.train.adam(0.02)});
    expect(history.loss!.at(-1)).toBeLessThan(history.loss![0] as number);
    const trained = predictions(lora, inputs);
    expect(trained).not.toEqual(expected);
    expect(baseWeights(model)).toEqual(before);
    expect(predictions(await reloaded(lora), inputs)).toEqual(trained);

    const merged = mergeLoRA(lora);
    expect(predictions(merged, inputs)[0]).toBeAllClose(trained[0]!);
    expect(predictions(await reloaded(merged), inputs)).toEqual(predictions(merged, inputs));
    const removed = removeLoRA(lora);
    expect(predictions(removed, inputs)).toEqual(expected);
    expect(baseWeights(removed)).toEqual(before);
  });

  test('in training they compute what they predict', () => {
    const {model, inputs} = make();
    const lora = applyLoRA(model, {rank: 2});
    stirFactors(lora);
    const y = lora.apply(inputs, {training: true}) as tf.Tensor;
    expect(numbers(y)).toBeAllClose(predictions(lora, inputs)[0]!);
  });

  test('leak nothing', async () => {
    await withoutLeaks(async () => {
      const {model, inputs} = make();
      const lora = applyLoRA(model, {rank: 2});
      await train(lora, inputs);
      const merged = mergeLoRA(lora);
      [merged, lora, model].forEach(disposeModel);
      tf.dispose(inputs);
    });
  });
});

test('states that are values count in a call of the layer, and not in a model, as in tfjs', () => {
  const input = tf.input({shape: [4, 3]});
  const state = tf.ones([2, 3]);
  const outputs = layers.gru({units: 3, name: 'gru'}).apply(input, {initialState: [state]}) as tf.SymbolicTensor;
  const model = tf.model({inputs: input, outputs});
  stir(model);
  const lora = applyLoRA(model, {rank: 2});
  const x = random([2, 4, 3], 1);
  expect(predictions(lora, [x])).toEqual(predictions(model, [x]));
  const [gru, adapted] = [model, lora].map(one => one.getLayer('gru'));
  const called = (layer: tf.layers.Layer) => numbers(layer.apply(x, {initialState: [state]}) as tf.Tensor);
  expect(called(adapted!)).toEqual(called(gru!));
  expect(called(adapted!)).not.toEqual(predictions(lora, [x])[0]);
});

test('a layer that was made with initial states merges by itself', () => {
  const layer = new LoRALSTM({layer: layers.lstm({units: 2, name: 'lstm'}), rank: 1});
  const [x, h, c] = [[4, 3], [2], [2]].map(shape => tf.input({shape}));
  layer.apply(x!, {initialState: [h!, c!]});
  stir(layer);
  const merged = layer.mergeToOriginalLayer();
  const inputs = [random([2, 4, 3], 1), random([2, 2], 2), random([2, 2], 3)];
  const expected = numbers(layer.apply(inputs) as tf.Tensor);
  expect(numbers(merged.apply(inputs) as tf.Tensor)).toBeAllClose(expected);
});

test('sequences of sequences are adapted through TimeDistributed', async () => {
  const {model, inputs} = documents();
  const lora = applyLoRA(model, {targets: ['Bidirectional', 'LSTM'], rank: 2});
  expect(predictions(lora, inputs)).toEqual(predictions(model, inputs));
  const before = baseWeights(lora);
  await train(lora, inputs);
  expect(baseWeights(lora)).toEqual(before);
  const trained = predictions(lora, inputs);
  expect(trained).not.toEqual(predictions(model, inputs));
  expect(predictions(await reloaded(lora), inputs)).toEqual(trained);
  expect(predictions(mergeLoRA(lora), inputs)[0]).toBeAllClose(trained[0]!);
});

test('a stateful model keeps its states from batch to batch, and leaks none of them', async () => {
  const make = () => {
    const model = tf.sequential({
      layers: [
        layers.lstm({units: 3, stateful: true, returnSequences: true, name: 'first', batchInputShape: [2, 4, 3]}),
        layers.gru({units: 3, stateful: true, name: 'second'}),
      ],
    });
    stir(model);
    return model;
  };
  await withoutLeaks(async () => {
    const model = make();
    const lora = applyLoRA(model, {targets: ['LSTM'], rank: 2});
    const x = random([2, 4, 3], 1);
    const twice = (one: tf.LayersModel) => [predictions(one, [x]), predictions(one, [x])];
    const expected = twice(model);
    expect(twice(lora)).toEqual(expected);
    expect(expected[1]).not.toEqual(expected[0]);
    lora.resetStates();
    expect(predictions(lora, [x])).toEqual(expected[0]);
    await train(lora, [x], {batchSize: 2});
    const merged = mergeLoRA(lora);
    lora.resetStates();
    expect(predictions(merged, [x])[0]).toBeAllClose(predictions(lora, [x])[0]!);
    [merged, lora, model].forEach(disposeModel);
    x.dispose();
  });
});

/** A document is a sequence of sentences, which are sequences of words. */
function documents(): Specimen {
  const sentence = layers.bidirectional({
    layer: layers.gru({units: 2, name: 'gru'}),
    mergeMode: 'concat',
    name: 'sentence',
  });
  const model = tf.sequential({
    layers: [
      layers.timeDistributed({layer: sentence, name: 'sentences', inputShape: [3, 4, 2]}),
      layers.timeDistributed({layer: layers.reshape({targetShape: [2, 2], name: 'pairs'}), name: 'split'}),
      layers.timeDistributed({layer: layers.lstm({units: 3, name: 'lstm'}), name: 'read'}),
      layers.lstm({units: 3, name: 'document'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([2, 3, 4, 2], 1)]};
}
