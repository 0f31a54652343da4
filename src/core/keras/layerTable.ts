import {brief} from '../../platform/errors';
import type {Json} from './json';
import {OWN_CLASSES} from './kerasLayer';

/** The only values of a setting that tfjs computes; a missing or null setting is always right. */
export type Fixed = Readonly<Record<string, readonly unknown[]>>;

/** How a layer of Keras is read. */
export interface Row {
  /** Keys of which every value is supported, or which do not change predictions; `undefined` for all. */
  keys: string | undefined;
  /** Further keys, and the values that are supported. */
  fixed?: Fixed;
  /** The class and settings that replace it, from its config as tfjs spells it. A string is a fault. */
  as?(config: Json): Place | string | undefined;
  /** Whether it does something in training that the library omits. */
  isIdle?: boolean;
}

/** What replaces a layer of Keras: another class, further settings, or both. */
interface Place {
  className?: string;
  config?: Json;
  alone?: Json;
}

/** Keys of every layer. */
const COMMON =
  /^(name|trainable|dtype|batch_(input_)?shape|activity_regularizer|\w+_(initializer|regularizer|constraint))$/;

/** The settings of a config that are not among these, as faults show them. */
export function settingsBeyond(fixed: Fixed, config: Json): string[] {
  const isBeyond = ([key, values]: [string, readonly unknown[]]) =>
    [config[key]].flat().some(value => value != null && !values.includes(value));
  return Object.entries(fixed).flatMap(pair => (isBeyond(pair) ? [`${pair[0]}=${brief(config[pair[0]])}`] : []));
}

/** The settings of a config that a row does not name or allow. */
export function settingsBeyondRow({keys, fixed = {}}: Row, config: Json): string[] {
  const named = keys === undefined ? Object.keys(config) : [...keys.split(' '), ...Object.keys(fixed)];
  const others = Object.keys(config).filter(key => !named.includes(key) && !COMMON.test(key));
  return settingsBeyond({...fixed, ...Object.fromEntries(others.map(key => [key, []]))}, config);
}

function byKerasLayer(args: Json): Place {
  // A file would hold null for an unset one.
  const set = Object.entries(args).filter(([, value]) => value != null);
  return {className: OWN_CLASSES.kerasLayer, alone: Object.fromEntries(set)};
}

function globalPooling(computes: 'average' | 'max', rank: 1 | 2 | 3): Row {
  return {
    keys: 'keepdims data_format',
    as: ({keepdims = false, dataFormat}) => {
      const axes = Array.from({length: rank}, (_, i) => i + (dataFormat === 'channelsFirst' ? 2 : 1));
      const isStock = rank === 2 || (rank === 1 && dataFormat !== 'channelsFirst');
      return keepdims === true || !isStock ? byKerasLayer({computes, axes, keepdims}) : undefined;
    },
  };
}

const identity: Row = {
  keys: undefined,
  isIdle: true,
  as: () => ({className: 'Activation', alone: {activation: 'linear'}}),
};
const merging: Row = {keys: ''};

/** Layers that change images only in training. `RandomCrop` always crops. */
const AUGMENTATIONS = [
  ...['AugMix', 'CutMix', 'MixUp', 'RandAugment', 'RandomBrightness', 'RandomColorDegeneration', 'RandomColorJitter'],
  ...[
    'RandomContrast',
    'RandomElasticTransform',
    'RandomErasing',
    'RandomFlip',
    'RandomGaussianBlur',
    'RandomGrayscale',
  ],
  ...['RandomHeight', 'RandomHue', 'RandomInvert', 'RandomPerspective', 'RandomPosterization', 'RandomRotation'],
  ...['RandomSaturation', 'RandomSharpness', 'RandomShear', 'RandomTranslation', 'RandomWidth', 'RandomZoom'],
];

function spatialDropout(rank: 2 | 3): Row {
  return {
    keys: 'rate noise_shape seed data_format',
    as: ({rate, seed, dataFormat}) => {
      const space = Array<number>(rank).fill(1);
      const noiseShape = dataFormat === 'channelsFirst' ? [null, null, ...space] : [null, ...space, null];
      return {className: 'Dropout', alone: {rate, seed, noiseShape}};
    },
  };
}

/** The rows, made when a model is read: bundlers keep objects with spreads even if a page never reads them. */
function makeRows(): Readonly<Record<string, Row>> {
  const convolution = 'filters kernel_size strides padding data_format dilation_rate activation use_bias';
  const [depthwise, separable] = ['kernel_size', 'filters kernel_size'].map(
    first => `${first} strides padding data_format dilation_rate depth_multiplier activation use_bias`,
  );
  const transposed = 'filters kernel_size strides padding data_format activation use_bias';
  const pooling = 'pool_size strides padding data_format';
  const dropout = 'rate noise_shape seed';
  const cell =
    'units activation recurrent_activation use_bias unit_forget_bias dropout recurrent_dropout seed implementation';
  const sequence = 'return_sequences return_state go_backwards stateful unroll zero_output_for_mask';
  const recurrent = `${cell} ${sequence}`;
  const steps: Fixed = {data_format: ['channels_last']};
  const ungrouped: Fixed = {groups: [1]};
  const forward: Fixed = {time_major: [false]};
  const plain: Fixed = {lora_rank: [], lora_alpha: [], quantization_config: []};
  return {
    Activation: {keys: 'activation'},
    ActivityRegularization: identity,
    Add: merging,
    AlphaDropout: {keys: dropout},
    Average: merging,
    AveragePooling1D: {keys: 'pool_size strides padding', fixed: steps},
    AveragePooling2D: {keys: pooling},
    AveragePooling3D: {keys: pooling},
    BatchNormalization: {
      keys: 'axis momentum epsilon center scale synchronized renorm_clipping renorm_momentum',
      fixed: {renorm: [false]},
      as: ({axis}) =>
        Array.isArray(axis) && axis.length !== 1
          ? `tfjs has one axis, got ${brief(axis)}.`
          : {config: {axis: [axis].flat()[0]}},
    },
    Bidirectional: {keys: 'layer merge_mode backward_layer'},
    CenterCrop: {
      keys: 'height width data_format',
      as: ({height, width, dataFormat}) => byKerasLayer({computes: 'centerCrop', sizes: [height, width], dataFormat}),
    },
    Concatenate: {
      keys: 'axis',
      as: ({axis}) => (Number(axis) < -1 ? `tfjs takes axis=${brief(axis)} for the last.` : undefined),
    },
    // tfjs loads causal padding, but does not compute it. It forgets the format when it writes the layer.
    Conv1D: {keys: convolution, fixed: {...steps, ...ungrouped, padding: ['valid', 'same']}},
    Conv2D: {keys: convolution, fixed: ungrouped},
    Conv2DTranspose: {keys: transposed, fixed: {...ungrouped, output_padding: [], dilation_rate: [1]}},
    Conv3D: {keys: convolution, fixed: ungrouped},
    Conv3DTranspose: {keys: transposed, fixed: {...ungrouped, output_padding: [], dilation_rate: [1]}},
    ConvLSTM2D: {
      keys: `filters kernel_size strides padding data_format dilation_rate ${recurrent.replace('units ', '')}`,
      fixed: forward,
    },
    Cropping2D: {keys: 'cropping data_format'},
    Dense: {keys: 'units activation use_bias', fixed: plain},
    DepthwiseConv2D: {
      keys: depthwise,
      fixed: ungrouped,
      as: ({dilationRate}) =>
        [dilationRate].flat().some(rate => (rate ?? 1) !== 1) ? {className: OWN_CLASSES.dilated} : undefined,
    },
    Dot: {keys: 'axes normalize'},
    Dropout: {keys: dropout},
    ELU: {keys: '', fixed: {alpha: [1]}},
    Embedding: {keys: 'input_dim output_dim mask_zero input_length sparse', fixed: plain},
    Flatten: {keys: '', fixed: steps},
    GaussianDropout: {keys: 'rate seed'},
    GaussianNoise: {keys: 'stddev seed'},
    GlobalAveragePooling1D: globalPooling('average', 1),
    GlobalAveragePooling2D: globalPooling('average', 2),
    GlobalAveragePooling3D: globalPooling('average', 3),
    GlobalMaxPooling1D: globalPooling('max', 1),
    GlobalMaxPooling2D: globalPooling('max', 2),
    GlobalMaxPooling3D: globalPooling('max', 3),
    GRU: {
      keys: `${recurrent} reset_after`,
      fixed: forward,
      as: ({resetAfter}) => (resetAfter === true ? {className: OWN_CLASSES.gru} : undefined),
    },
    GRUCell: {
      keys: `${cell} reset_after`,
      as: ({resetAfter}) => (resetAfter === true ? {className: OWN_CLASSES.gruCell} : undefined),
    },
    Identity: {...identity, isIdle: false},
    InputLayer: {keys: '', fixed: {sparse: [false], ragged: [false], optional: [false]}},
    LayerNormalization: {keys: 'axis epsilon center scale', fixed: {rms_scaling: [false]}},
    LeakyReLU: {
      keys: 'alpha negative_slope',
      as: ({alpha, negativeSlope}) => ({config: {alpha: negativeSlope ?? alpha}}),
    },
    LSTM: {keys: recurrent, fixed: forward},
    LSTMCell: {keys: cell},
    Masking: {keys: 'mask_value'},
    MaxPooling1D: {keys: 'pool_size strides padding', fixed: steps},
    MaxPooling2D: {keys: pooling},
    MaxPooling3D: {keys: pooling},
    Maximum: merging,
    Minimum: merging,
    Multiply: merging,
    Normalization: {
      keys: 'axis mean variance invert',
      as: ({axis, mean, variance, invert}) => {
        const given = mean == null ? {} : {mean: [mean].flat(9), variance: [variance].flat(9)};
        return byKerasLayer({computes: 'normalization', axes: axis == null ? [] : [axis].flat(), invert, ...given});
      },
    },
    Permute: {keys: 'dims'},
    PReLU: {keys: 'shared_axes'},
    ReLU: {
      keys: 'max_value negative_slope threshold',
      as: ({maxValue, negativeSlope = 0, threshold = 0}) =>
        (negativeSlope ?? 0) !== 0 || (threshold ?? 0) !== 0
          ? byKerasLayer({computes: 'relu', maxValue, negativeSlope, threshold})
          : undefined,
    },
    ...Object.fromEntries(AUGMENTATIONS.map(name => [name, identity])),
    RepeatVector: {keys: 'n'},
    RNN: {keys: `${sequence} cell`, fixed: forward},
    Rescaling: {
      keys: 'scale offset',
      as: ({scale, offset}) =>
        typeof scale === 'number' && typeof offset === 'number'
          ? undefined
          : byKerasLayer({computes: 'rescaling', scale, offset}),
    },
    Reshape: {keys: 'target_shape'},
    Resizing: {
      keys: 'height width interpolation crop_to_aspect_ratio data_format fill_mode fill_value',
      fixed: {pad_to_aspect_ratio: [false], antialias: [false], interpolation: ['bilinear', 'nearest']},
      as: ({height, width, interpolation, cropToAspectRatio, dataFormat}) =>
        byKerasLayer({
          computes: 'resizing',
          sizes: [height, width],
          interpolation,
          crops: cropToAspectRatio,
          dataFormat,
        }),
    },
    SeparableConv1D: {
      keys: separable,
      fixed: {...ungrouped, ...steps, padding: ['valid', 'same']},
      as: ({kernelSize, strides, dilationRate}) => {
        const [size, stride, dilation] = [kernelSize, strides, dilationRate].map(value => [value].flat()[0] ?? 1);
        return {
          className: OWN_CLASSES.separableConv1d,
          config: {kernelSize: [1, size], strides: [stride, stride], dilationRate: [1, dilation]},
        };
      },
    },
    // tfjs adds the bias along the wrong axis if channels come first.
    SeparableConv2D: {keys: separable, fixed: {...ungrouped, ...steps}},
    SimpleRNN: {keys: recurrent, fixed: forward},
    SimpleRNNCell: {keys: cell},
    Softmax: {
      keys: 'axis robust_masking',
      as: ({axis}) => ((axis ?? -1) === -1 ? undefined : byKerasLayer({computes: 'softmax', axes: [axis].flat()})),
    },
    SpatialDropout1D: {keys: dropout},
    SpatialDropout2D: spatialDropout(2),
    SpatialDropout3D: spatialDropout(3),
    Subtract: {keys: '', as: () => ({className: OWN_CLASSES.subtract})},
    // tfjs's own has no gradient.
    ThresholdedReLU: {keys: 'theta', as: ({theta}) => byKerasLayer({computes: 'relu', threshold: theta})},
    TimeDistributed: {keys: 'layer'},
    UpSampling2D: {
      keys: 'size data_format',
      fixed: {interpolation: ['nearest', 'bilinear']},
      as: ({size, interpolation, dataFormat}) =>
        interpolation === 'bilinear'
          ? byKerasLayer({computes: 'resizing', factors: size, interpolation, dataFormat})
          : undefined,
    },
    ZeroPadding2D: {keys: 'padding data_format'},
  };
}

let rows: ReturnType<typeof makeRows> | undefined;

/** The row of a layer; `undefined` if nothing computes it. */
export function rowOf(className: string | undefined): Row | undefined {
  rows ??= makeRows();
  return className !== undefined && Object.hasOwn(rows, className) ? rows[className] : undefined;
}
