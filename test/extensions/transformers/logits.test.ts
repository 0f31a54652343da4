import * as tf from '@tensorflow/tfjs';
import {applyLoRA, compileModel, disposeModel, type LoRAError, type LossName, mergeLoRA, replaceHead} from 'tfjs-lora';
import 'tfjs-lora/sound'; // has the loss of CTC
import {crossEntropyFromLogits, loadTransformer} from 'tfjs-lora/transformers';
import {GraphOp} from '../../../src/extensions/graph/import/graphOp';
import {KerasLayer} from '../../../src/core/keras/kerasLayer';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {fixture, NAMES} from './fixtures';

beforeAll(() => useBackend('cpu'));

const {activation, average, concatenate, dense, dropout, gru, reshape, softmax, timeDistributed} = tf.layers;
const units = 4;

function errorOf(call: () => void): LoRAError | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return error as LoRAError;
  }
}

/** A layer that computes an operation of TensorFlow. */
function graphOp(op: string, attr: object = {}): tf.layers.Layer {
  const node = {name: 'last', op, input: ['x'], attr: {T: {type: 'DT_FLOAT'}, ...attr}};
  const tensor = {name: 'x', dtype: 'float32'};
  const outputs = [{index: 0, dtype: 'float32'}];
  return new GraphOp({fragment: {name: JSON.stringify({node, inputs: [tensor], weights: [], constants: [], outputs})}});
}

function ending(...layers: tf.layers.Layer[]): tf.LayersModel {
  return tf.sequential({layers: [dense({units: 6, inputShape: [3], name: 'body'}), ...layers]});
}

/** A classifier with a new head. */
function headed(head: number): tf.LayersModel {
  const base = ending(dense({units: 3}));
  const model = replaceHead(base, head);
  disposeModel(base); // the head's body shares its buffers
  return model;
}

function joined(join: tf.layers.Layer, ...kinds: ('softmax' | 'linear')[]): tf.LayersModel {
  const input = tf.input({shape: [3]});
  const outputs = kinds.map(kind => dense({units, activation: kind}).apply(input) as tf.SymbolicTensor);
  return tf.model({inputs: input, outputs: join.apply(outputs) as tf.SymbolicTensor});
}

const PROBABILITIES: [string, () => tf.LayersModel, string][] = [
  ['a head of replaceHead', () => headed(4), 'softmax of layer "classes"'],
  [
    'a Dense with an activation',
    () => ending(dense({units, activation: 'sigmoid', name: 'd'})),
    'sigmoid of layer "d"',
  ],
  [
    'an Activation',
    () => ending(dense({units}), activation({activation: 'softmax', name: 'a'})),
    'softmax of layer "a"',
  ],
  ['a Softmax', () => ending(dense({units}), softmax({name: 's'})), 'Softmax of layer "s"'],
  ['a ReLU', () => ending(dense({units}), tf.layers.reLU({name: 'r'})), 'ReLU of layer "r"'],
  [
    'a softmax of Keras',
    () => ending(dense({units}), new KerasLayer({computes: 'softmax', axes: [-1], name: 'k'})),
    'softmax of',
  ],
  ['an operation of TensorFlow', () => ending(dense({units}), graphOp('Softmax')), 'Softmax of layer'],
  [
    'an operation that only arranges values',
    () => ending(dense({units, activation: 'softmax', name: 'd'}), graphOp('Identity')),
    'softmax of layer "d"',
  ],
  [
    'layers that only arrange values',
    () => ending(softmax({name: 's'}), reshape({targetShape: [3, 2]}), dropout({rate: 0.1})),
    'Softmax of layer "s"',
  ],
  [
    'a nested model',
    () => ending(tf.sequential({layers: [dense({units, inputShape: [6], activation: 'softmax', name: 'd'})]})),
    'layer "d"',
  ],
  [
    'a TimeDistributed',
    () =>
      tf.sequential({
        layers: [timeDistributed({layer: dense({units, activation: 'softmax', name: 'd'}), inputShape: [2, 3]})],
      }),
    'layer "d"',
  ],
  [
    'a recurrent layer',
    () => tf.sequential({layers: [gru({units, name: 'g', inputShape: [2, 3]})]}),
    'tanh of layer "g"',
  ],
  ['an average of probabilities', () => joined(average(), 'softmax', 'softmax'), 'softmax of'],
];

describe.each(PROBABILITIES)('an output that ends in %s', (_, make, words) => {
  const refused = (model: tf.LayersModel, more: object = {}) => {
    const error = errorOf(() => compileModel(model, {optimizer: 'sgd', ...more}));
    expect(error).toMatchObject({code: 'ERR_MISFIT'});
    expect(error?.message).toContain(words);
  };

  test('is not logits, and is refused', async () => {
    await withoutLeaks(() => {
      const model = make();
      refused(model);
      refused(model, {loss: 'crossEntropy'});
      expect(model.optimizer).toBeUndefined();
      disposeModel(model);
    });
  });

  test('is refused in an adapted model too, where the layer is a wrapper', async () => {
    await withoutLeaks(() => {
      const base = make();
      const adapted = applyLoRA(base, {rank: 1});
      refused(adapted);
      disposeModel(adapted);
      disposeModel(base);
    });
  });

  test('trains with a function as loss', () => {
    const model = make();
    compileModel(model, {optimizer: 'sgd', loss: tf.metrics.meanSquaredError});
    expect(model.optimizer).toBeDefined();
  });
});

test('the refusal names a head without an activation, and a loss that fits', () => {
  const base = ending(dense({units: 3}));
  const model = applyLoRA(replaceHead(base, 10));
  expect(() => compileModel(model, {optimizer: 'sgd'})).toThrow(
    'The loss "crossEntropy" takes logits, but the output of the model ends in the activation softmax of layer ' +
      '"classes". Give the model a head without an activation: replaceHead(base, [tf.layers.dense({units: 10})]), ' +
      'since a number of classes makes a softmax. Or call model.compile with a loss that fits, such as ' +
      '"sparseCategoricalCrossentropy".',
  );
  const fitting = applyLoRA(replaceHead(base, [dense({units: 10})]));
  compileModel(fitting, {optimizer: 'sgd'});
  model.compile({optimizer: 'sgd', loss: 'sparseCategoricalCrossentropy'});
});

test.each<LossName>(['ctc', 'spans'])('the loss "%s" refuses probabilities too', loss => {
  const layers = [dense({units: 2, activation: 'softmax', name: 'd', inputShape: [5, 3]})];
  const model = tf.sequential({layers});
  expect(() => compileModel(model, {optimizer: 'sgd', loss})).toThrow(
    `The loss "${loss}" takes logits, but the output of the model ends in the activation softmax of layer "d".`,
  );
});

const LOGITS: [string, () => tf.LayersModel][] = [
  ['a Dense', () => ending(dense({units}))],
  ['a linear Activation', () => ending(dense({units}), activation({activation: 'linear'}))],
  [
    'a pooling behind an activation',
    () =>
      tf.sequential({
        layers: [
          tf.layers.conv2d({filters: units, kernelSize: 1, activation: 'relu', inputShape: [2, 2, 3]}),
          tf.layers.globalAveragePooling2d({}),
        ],
      }),
  ],
  ['a normalization', () => ending(tf.layers.batchNormalization())],
  ['a sum', () => joined(tf.layers.add(), 'softmax', 'linear')],
  ['an average with logits', () => joined(average(), 'softmax', 'linear')],
  ['a concatenation of logits', () => joined(concatenate(), 'linear', 'linear')],
  ['an operation of TensorFlow that is no activation', () => ending(dense({units}), graphOp('Neg'))],
];

test.each(LOGITS)('an output that ends in %s is taken as logits', (_, make) => {
  const model = make();
  compileModel(model, {optimizer: 'sgd'});
  expect(model.optimizer).toBeDefined();
});

test('the log-softmax of logits is taken as logits, because its loss is the same', () => {
  const logits = random([5, units], 1, 3);
  const targets = tf.tensor1d([0, 3, 1, 2, 2], 'int32');
  const {value, grad} = tf.valueAndGrad(z => crossEntropyFromLogits(targets, tf.logSoftmax(z)))(logits);
  const plain = tf.valueAndGrad(z => crossEntropyFromLogits(targets, z))(logits);
  expect(numbers(value)).toBeAllClose(numbers(plain.value));
  expect(numbers(grad)).toBeAllClose(numbers(plain.grad), {atol: 1e-6});
  const [model, ofGraph] = [
    ending(dense({units}), activation({activation: 'logSoftmax' as 'softmax'})),
    ending(dense({units}), graphOp('LogSoftmax')),
  ];
  [model, ofGraph].forEach(each => {
    compileModel(each, {optimizer: 'sgd'});
    disposeModel(each);
  });
});

describe('of models of the hub', () => {
  const loaded = async (name: string, more: object = {}) => {
    const {config, weights} = fixture(name);
    return (await loadTransformer({config, weights, tokenizer: false, ...more})).model;
  };

  test.each(NAMES)('%s has a loss by default if it has a head, and none if it is a body', async name => {
    const {architectures} = JSON.parse(fixture(name).config) as {architectures: [string]};
    const hasHead = /For[A-Z]|LMHeadModel$|^(CLIP|Siglip2?)Model$/.test(architectures[0]);
    const model = await loaded(name);
    const compile = () => compileModel(model, {optimizer: 'sgd'});
    if (hasHead) {
      expect(compile).not.toThrow();
    } else {
      expect(errorOf(compile)).toMatchObject({code: 'ERR_MISFIT'});
    }
  });

  test('a body is refused, also if it is adapted or was saved, and the message names the ways out', async () => {
    const model = await loaded('bert');
    const adapted = applyLoRA(model, {rank: 2});
    const again = await reloaded(model);
    for (const body of [model, adapted, again]) {
      expect(() => compileModel(body, {optimizer: 'sgd'})).toThrow(
        'The model is a BertModel without a head: its output, [null, null, 24], is not logits. Load it with a new ' +
          'head, loadTransformer(…, {labels: 2}), put one on it with replaceHead, or choose another loss. If its ' +
          'outputs are logits, name the loss: {loss: "crossEntropy"}.',
      );
    }
    compileModel(adapted, {optimizer: 'sgd', loss: 'crossEntropy'});
    compileModel(adapted, {optimizer: 'sgd', loss: tf.metrics.meanSquaredError});
  });

  test('a body with a new head has a loss, also if it was saved, adapted or merged', async () => {
    const body = await loaded('bert', {pooling: 'mean'});
    const model = replaceHead(body, [dense({units: 3, name: 'mine'})], {after: 'pooling'});
    const adapted = applyLoRA(model, {rank: 2});
    const [again, merged] = [await reloaded(model), mergeLoRA(adapted)];
    [model, adapted, again, merged].forEach(each => compileModel(each, {optimizer: 'sgd'}));
  });
});
