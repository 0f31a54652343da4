import * as tf from '@tensorflow/tfjs';
import {applyLoRA, loadKerasModel, mergeLoRA, removeLoRA} from 'tfjs-lora';
import {OWN_CLASSES} from '../../../src/core/keras/kerasLayer';
import {layerEntry, type Reading} from '../../../src/core/keras/layerConfigs';
import {readRNN} from '../../../src/core/keras/recurrent';
import {numbers} from '../../helpers';
import {reloaded, stirFactors, train} from '../../models';
import {artifactsOf, computedByKeras, handlerOf} from './converted';
import '@tensorflow/tfjs';

const FIRST = {data_format: 'channels_first'};
const {kerasLayer: OWN} = OWN_CLASSES;
const policy = (name: string) => ({module: 'keras', class_name: 'DTypePolicy', config: {name}});
const regularizer = (name: string, config: object) => ({kernel_regularizer: {class_name: name, config}});

/** What is read of a layer, and what is said of it, if anything. */
function read(name: string, config: object, state: Partial<Reading> = {}): object {
  const reading: Reading = {isKeras3: true, isMasked: false, faults: [], warnings: [], ...state};
  const {className, config: settings} = layerEntry({className: name, config} as never, 'L', reading);
  const {faults, warnings} = reading;
  const lists = Object.entries({faults, warnings}).filter(([, list]) => list.length > 0);
  return {[className]: settings, ...Object.fromEntries(lists)};
}

const masked = {isMasked: true};

test.each<[string, object, object, Partial<Reading>?]>([
  ['GlobalAveragePooling1D', {}, {GlobalAveragePooling1D: {}}],
  ['GlobalAveragePooling1D', {keepdims: true}, {[OWN]: {computes: 'average', axes: [1], keepdims: true}}],
  ['GlobalAveragePooling1D', FIRST, {[OWN]: {computes: 'average', axes: [2], keepdims: false}}],
  ['GlobalAveragePooling1D', {}, {[OWN]: {computes: 'average', axes: [1], keepdims: false, heedsMask: true}}, masked],
  ['GlobalAveragePooling2D', {}, {GlobalAveragePooling2D: {}}, masked],
  ['GlobalAveragePooling2D', {...FIRST, keepdims: true}, {[OWN]: {computes: 'average', axes: [2, 3], keepdims: true}}],
  ['GlobalAveragePooling3D', {}, {[OWN]: {computes: 'average', axes: [1, 2, 3], keepdims: false}}],
  ['GlobalMaxPooling1D', {}, {GlobalMaxPooling1D: {}}, masked],
  ['GlobalMaxPooling2D', {keepdims: true}, {[OWN]: {computes: 'max', axes: [1, 2], keepdims: true}}],
  ['GlobalMaxPooling3D', FIRST, {[OWN]: {computes: 'max', axes: [2, 3, 4], keepdims: false}}],
  ['Identity', {}, {Activation: {activation: 'linear'}}],
  ['RandomFlip', {mode: 'x'}, {Activation: {activation: 'linear'}, warnings: ['L returns its inputs unchanged.']}],
  ['SpatialDropout2D', {rate: 0.3, ...FIRST}, {Dropout: {rate: 0.3, noiseShape: [null, null, 1, 1]}}],
  ['SpatialDropout3D', {rate: 0.3}, {Dropout: {rate: 0.3, noiseShape: [null, 1, 1, 1, null]}}],
  ['BatchNormalization', {axis: [3]}, {BatchNormalization: {axis: 3}}],
  ['Conv3DTranspose', {dilation_rate: [1, 1], groups: 1}, {Conv3DTranspose: {dilationRate: [1, 1], groups: 1}}],
  ['ELU', {alpha: 1}, {ELU: {alpha: 1}}],
  ['ELU', {alpha: 0.5}, {[OWN]: {computes: 'elu', scale: 0.5}}],
  ['ReLU', {negative_slope: 0, threshold: null}, {ReLU: {negativeSlope: 0, threshold: null}}],
  ['Dense', regularizer('L1', {l1: 0.1}), {Dense: {kernelRegularizer: {className: 'L1L2', config: {l1: 0.1, l2: 0}}}}],
  ['Dense', regularizer('L2', {l2: 0.1}), {Dense: {kernelRegularizer: {className: 'L1L2', config: {l1: 0, l2: 0.1}}}}],
  ['Dense', {activation: 'silu', dtype: policy('mixed_float16')}, {Dense: {activation: 'swish', dtype: 'float32'}}],
  ['Dense', {activation: 'hard_sigmoid'}, {Dense: {activation: 'hardSigmoid'}}, {isKeras3: false}],
  [
    'Dense',
    {kernel_initializer: {class_name: 'LecunNormal', config: {seed: 1}}},
    {Dense: {kernelInitializer: {className: 'LeCunNormal', config: {seed: 1}}}},
  ],
  [
    'Dense',
    {kernel_initializer: {class_name: 'Mine', config: {a: 1}}},
    {Dense: {kernelInitializer: {className: 'Zeros', config: {}}}},
  ],
  ['InputLayer', {dtype: 'int64', batch_shape: [null, 3]}, {InputLayer: {dtype: 'int32', batchInputShape: [null, 3]}}],
])('%s of Keras with %j is read', (name, config, expected, ...states) => {
  expect(read(name, config, ...states)).toEqual(expected);
});

test.each<[string, object, object, Partial<Reading>?]>([
  ['BatchNormalization', {axis: [1, 2]}, {faults: ['L: tfjs has one axis, got [1,2].']}],
  ['Concatenate', {axis: -2}, {faults: ['L: tfjs takes axis=-2 for the last.']}],
  ['Conv3DTranspose', {dilation_rate: [1, 2]}, {faults: ['L: tfjs has no dilation_rate=[1,2].']}],
  ['GlobalAveragePooling1D', FIRST, {faults: ['L: with channels first, it is not computed behind a mask.']}, masked],
  ['Softmax', {}, {faults: ['L uses the mask of mask_zero or Masking in Keras, but not in tfjs.']}, masked],
  ['Dense', regularizer('Mine', {}), {faults: ['L: tfjs has no kernel_regularizer "Mine".']}],
  ['Dense', {activity_regularizer: {}}, {warnings: ['L has no activity_regularizer.']}],
  ['ReLU', {softness: 0.1}, {faults: ['L: tfjs has no softness=0.1.']}],
  ['BatchNormalization', {renorm: true}, {faults: ['L: tfjs has no renorm=true.']}],
  ['Conv1D', {padding: 'reflect'}, {faults: ['L: tfjs has no padding="reflect".']}],
  ['UpSampling2D', {interpolation: 'bicubic'}, {faults: ['L: tfjs has no interpolation="bicubic".']}],
  ['Dense', {activation: 'celu'}, {faults: ['L: tfjs has no activation "celu".']}],
  ['Dense', {dtype: policy('float64')}, {faults: ['L: tfjs has no dtype "float64" for layers.']}],
  ['Dense', {dtype: 'int32'}, {faults: ['L: tfjs has no dtype "int32" for layers.']}],
  ['InputLayer', {dtype: 'string'}, {faults: ['L: tfjs has no dtype "string".']}],
  [
    'EinsumDense',
    {equation: 'ab,bc->ad'},
    {faults: ['L: its equation "ab,bc->ad" does not sum over axes of the input and the kernel alone.']},
  ],
])('%s of Keras with %j is refused, or something is said of it', (name, config, expected, ...states) => {
  expect(read(name, config, ...states)).toMatchObject(expected);
});

test.each([['dropout'], ['recurrent_dropout']])('a cell has no %s, which is said', rate => {
  const reading: Reading = {isKeras3: true, isMasked: false, faults: [], warnings: []};
  const config = {cell: {class_name: 'GRUCell', config: {[rate]: 0.5}}};
  const {cell} = readRNN({className: 'RNN', config, otherFields: {}}, 'L', reading);
  expect(cell).toEqual({className: 'GRUCell', config: {dropout: 0, recurrentDropout: 0}});
  expect(reading.warnings).toEqual(['L has no dropout in its cells.']);
});

test('nothing is said of a cell that drops nothing', () => {
  const reading: Reading = {isKeras3: true, isMasked: false, faults: [], warnings: []};
  const config = {cell: {class_name: 'GRUCell', config: {dropout: 0}}};
  readRNN({className: 'RNN', config, otherFields: {}}, 'L', reading);
  expect(reading.warnings).toEqual([]);
});

test.each(['keras-2.21-keras-cells', 'keras-3.12-h5-cells'])('%s is adapted, trained, saved and merged', async name => {
  const base = await loadKerasModel(handlerOf(artifactsOf(name)));
  const {inputs} = computedByKeras(name);
  const outputsOf = (model: tf.LayersModel) => numbers(model.predict(inputs) as tf.Tensor);
  const expected = outputsOf(base);
  const model = applyLoRA(base, {rank: 2, seed: 1});
  expect(model.layers.slice(1).map(layer => layer.getClassName())).toEqual(
    ['Embedding', 'Bidirectional', 'RNN', 'GRU'].map(kind => `tfjs-lora>LoRA${kind}`),
  );
  expect(outputsOf(model)).toEqual(expected);
  stirFactors(model);
  const adapted = outputsOf(model);
  expect(adapted).not.toBeAllClose(expected);
  expect(outputsOf(await reloaded(model))).toEqual(adapted);
  await train(model, inputs);
  const trained = outputsOf(model);
  expect(trained).not.toEqual(adapted);
  expect(outputsOf(mergeLoRA(model))).toBeAllClose(trained);
  expect(outputsOf(removeLoRA(model))).toEqual(expected);
});

// Keras 3 saves the layer inside with the prefix that Keras 2 and tfjs add to it.
test.each(['keras-2.15-h5-recurrent', 'keras-3.15-h5-recurrent'])('%s has names with one prefix', async name => {
  const model = await loadKerasModel(handlerOf(artifactsOf(name)));
  const both = model.layers.find(layer => layer.getClassName() === 'Bidirectional') as unknown as {
    forwardLayer: tf.layers.Layer;
    backwardLayer: tf.layers.Layer;
  };
  expect([both.forwardLayer.name, both.backwardLayer.name]).toEqual(['forward_gru', 'backward_gru']);
});

test('states that go into a stack of cells are refused', async () => {
  const cell = (units: number) => ({class_name: 'LSTMCell', config: {name: `cell_${units}`, units}});
  const input = (name: string, shape: number[]) => ({
    class_name: 'InputLayer',
    config: {name, batch_input_shape: [null, ...shape]},
    name,
    inbound_nodes: [],
  });
  const layers = [
    input('x', [4, 2]),
    ...['a', 'b', 'c', 'd'].map(name => input(name, [3])),
    {
      class_name: 'RNN',
      name: 'rnn',
      config: {name: 'rnn', cell: {class_name: 'StackedRNNCells', config: {name: 's', cells: [cell(3), cell(3)]}}},
      inbound_nodes: [['x', 'a', 'b', 'c', 'd'].map(name => [name, 0, 0, {}])],
    },
  ];
  const config = {
    name: 'model',
    layers,
    input_layers: ['x', 'a', 'b', 'c', 'd'].map(name => [name, 0, 0]),
    output_layers: [['rnn', 0, 0]],
  };
  const modelTopology = {keras_version: '2.15.0', model_config: {class_name: 'Functional', config}};
  const loading = loadKerasModel({
    load: () => Promise.resolve({modelTopology, weightSpecs: [], weightData: new ArrayBuffer(0)}),
  });
  await expect(loading).rejects.toThrow('"rnn" (RNN): tfjs orders the states of a stack of cells differently.');
});
