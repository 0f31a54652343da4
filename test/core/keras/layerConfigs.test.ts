import '@tensorflow/tfjs';
import {OWN_CLASSES} from '../../../src/core/keras/kerasLayer';
import {layerEntry, type Reading} from '../../../src/core/keras/layerConfigs';

const FIRST = {data_format: 'channels_first'};
const {kerasLayer: OWN, convolution: CONVOLUTION, dilated: DILATED, einsumDense: EINSUM} = OWN_CLASSES;
const TURNED = {computes: 'transpose', order: [0, 2, 1]};
const zeros = [0, 0];
const policy = (name: string) => ({module: 'keras', class_name: 'DTypePolicy', config: {name}});
const regularizer = (name: string, config: object) => ({kernel_regularizer: {class_name: name, config}});

/** What is read of a layer, with what comes before and after it and what is said of it, if anything. */
function read(name: string, config: object, state: Partial<Reading> = {}): object {
  const reading: Reading = {isKeras3: true, isMasked: false, faults: [], warnings: [], ...state};
  const {className, config: settings, ...around} = layerEntry({className: name, config} as never, 'L', reading);
  const {faults, warnings} = reading;
  const lists = Object.entries({...around, faults, warnings}).filter(([, list]) => list.length > 0);
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
  ['LeakyReLU', {alpha: 0.2}, {LeakyReLU: {alpha: 0.2}}],
  ['LeakyReLU', {negative_slope: 0.3}, {LeakyReLU: {negativeSlope: 0.3, alpha: 0.3}}],
  ['ReLU', {negative_slope: 0, threshold: null}, {ReLU: {negativeSlope: 0, threshold: null}}],
  ['ReLU', {negative_slope: 0.1}, {[OWN]: {computes: 'relu', negativeSlope: 0.1}}],
  ['ReLU', {max_value: 6, threshold: 1}, {[OWN]: {computes: 'relu', maxValue: 6, threshold: 1}}],
  ['ThresholdedReLU', {theta: 2}, {[OWN]: {computes: 'relu', threshold: 2}}],
  ['Softmax', {axis: -1}, {Softmax: {axis: -1}}],
  ['Softmax', {axis: 1}, {[OWN]: {computes: 'softmax', axes: [1]}}],
  ['Normalization', {axis: -1}, {[OWN]: {computes: 'normalization', axes: [-1]}}],
  [
    'Normalization',
    {mean: [[1]], variance: 4},
    {[OWN]: {computes: 'normalization', axes: [], mean: [1], variance: [4]}},
  ],
  ['Rescaling', {scale: [1, 2], offset: 0}, {[OWN]: {computes: 'rescaling', scale: [1, 2], offset: 0}}],
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
  ['Conv2D', {groups: 1}, {Conv2D: {groups: 1}}],
  ['Conv2D', {groups: 2, filters: 4}, {[CONVOLUTION]: {computes: 'convolution', groups: 2, filters: 4}}],
  [
    'Conv2DTranspose',
    {output_padding: null, dilation_rate: 1},
    {Conv2DTranspose: {outputPadding: null, dilationRate: 1}},
  ],
  [
    'Conv2DTranspose',
    {kernel_size: [2, 3], dilation_rate: [1, 2]},
    {[CONVOLUTION]: {computes: 'convolution', kernelSize: [2, 3], dilationRate: [1, 2], outputPadding: [null, null]}},
  ],
  ['DepthwiseConv2D', {dilation_rate: [1, 1]}, {DepthwiseConv2D: {dilationRate: [1, 1]}}],
  ['DepthwiseConv2D', {dilation_rate: [1, 2]}, {[DILATED]: {dilationRate: [1, 2]}}],
  [
    'EinsumDense',
    {equation: 'BtC,CD->BtD', output_shape: 4, bias_axes: 'D'},
    {[EINSUM]: {computes: 'einsum', equation: 'abc,cd->abd', outputShape: [4], biasAxes: 'd'}},
  ],
  ['ZeroPadding1D', {padding: [1, 2]}, {[OWN]: {computes: 'margins', margins: [zeros, [1, 2], zeros]}}],
  [
    'Cropping3D',
    {
      cropping: [
        [1, 2],
        [0, 1],
        [2, 2],
      ],
      ...FIRST,
    },
    {[OWN]: {computes: 'margins', margins: [zeros, zeros, [-1, -2], [-0, -1], [-2, -2]]}},
  ],
  ['UpSampling1D', {size: 2}, {[OWN]: {computes: 'repeat', axes: [1], strides: [2]}}],
  ['UpSampling3D', {size: [2, 3, 4], ...FIRST}, {[OWN]: {computes: 'repeat', axes: [2, 3, 4], strides: [2, 3, 4]}}],
  [
    'UpSampling2D',
    {size: [2, 3], interpolation: 'bilinear'},
    {[OWN]: {computes: 'resizing', factors: [2, 3], interpolation: 'bilinear'}},
  ],
  [
    'GroupNormalization',
    {groups: 2, axis: -1, scale: false},
    {[OWN]: {computes: 'group', groups: 2, axes: [-1], has: ['beta']}},
  ],
  ['Attention', {use_scale: true}, {[OWN]: {computes: 'attention', score: 'dot', has: ['scale']}}],
  ['AdditiveAttention', {use_scale: false}, {[OWN]: {computes: 'attention', score: 'additive', has: []}}],
])('%s of Keras with %j is read', (name, config, expected, ...states) => {
  expect(read(name, config, ...states)).toEqual(expected);
});

test.each<[string, object, object, Partial<Reading>?]>([
  [
    'Conv1D',
    {padding: 'causal', kernel_size: [3], dilation_rate: 2},
    {before: [{computes: 'margins', margins: [zeros, [4, 0], zeros]}]},
  ],
  ['Conv1D', FIRST, {before: [TURNED], after: [TURNED]}],
  [
    'Conv1DTranspose',
    {kernel_size: 3, strides: 2},
    {
      Conv2DTranspose: expect.objectContaining({kernelSize: [1, 3], strides: [1, 2]}),
      before: [{computes: 'expand'}],
      after: [{computes: 'squeeze'}],
    },
  ],
  ['ConvLSTM2D', FIRST, {after: [{computes: 'transpose', order: [0, 3, 1, 2]}]}],
  [
    'ConvLSTM2D',
    {...FIRST, return_sequences: true},
    {
      before: [{computes: 'transpose', order: [0, 1, 3, 4, 2]}],
      after: [{computes: 'transpose', order: [0, 1, 4, 2, 3]}],
    },
  ],
  ['BatchNormalization', {axis: [1, 2]}, {faults: ['L: tfjs has one axis, got [1,2].']}],
  ['Concatenate', {axis: -2}, {faults: ['L: tfjs takes axis=-2 for the last.']}],
  ['Conv3DTranspose', {dilation_rate: [1, 2]}, {faults: ['L: tfjs has no dilation_rate=[1,2].']}],
  ['GlobalAveragePooling1D', FIRST, {faults: ['L: with channels first, it is not computed behind a mask.']}, masked],
  ['Softmax', {}, {faults: ['L uses the mask of mask_zero or Masking in Keras, but not in tfjs.']}, masked],
  ['Dense', regularizer('Mine', {}), {faults: ['L: tfjs has no kernel_regularizer "Mine".']}],
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
])('%s of Keras with %j is read with what comes around it, or refused', (name, config, expected, ...states) => {
  expect(read(name, config, ...states)).toMatchObject(expected);
});
