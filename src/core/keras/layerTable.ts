import {brief} from '../../platform/errors';
import {registeredName} from '../../platform/tfjs/configs';
import {OWN_CLASSES} from './kerasLayer';
import {makeOwnRows} from './ownRows';
import {
  aroundSteps,
  byKerasLayer,
  convolved,
  IDENTITY,
  type Fixed,
  inRow,
  isPlainTransposed,
  plainSteps,
  type Row,
  transposedConvolution,
} from './row';

function globalPooling(computes: 'average' | 'max', rank: 1 | 2 | 3): Row {
  return {
    keys: 'keepdims data_format',
    as: ({keepdims = false, dataFormat}, {isMasked}) => {
      const heedsMask = computes === 'average' && rank === 1 && isMasked;
      if (heedsMask && dataFormat === 'channelsFirst') {
        return 'with channels first, it is not computed behind a mask.';
      }
      const axes = Array.from({length: rank}, (_, i) => i + (dataFormat === 'channelsFirst' ? 2 : 1));
      const isStock = rank === 2 || (rank === 1 && dataFormat !== 'channelsFirst');
      return keepdims === true || !isStock || heedsMask
        ? byKerasLayer({computes, axes, keepdims, ...(heedsMask && {heedsMask})})
        : undefined;
    },
  };
}

const merging: Row = {keys: ''};

/** Layers that change images only in training. `RandomCrop` always crops. */
const AUGMENTATIONS = [
  ...['AugMix', 'CutMix', 'MixUp', 'RandAugment', 'RandomBrightness', 'RandomColorDegeneration', 'RandomColorJitter'],
  ...['RandomContrast', 'RandomElasticTransform', 'RandomErasing', 'RandomFlip', 'RandomGaussianBlur', 'RandomHue'],
  ...['RandomGrayscale', 'RandomHeight', 'RandomInvert', 'RandomPerspective', 'RandomPosterization', 'RandomRotation'],
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
  const convolution = 'filters kernel_size strides padding data_format dilation_rate groups activation use_bias';
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
  const steps: Row = {keys: pooling, as: config => ({config: plainSteps(config), ...aroundSteps(config, false)})};
  const last: Fixed = {data_format: ['channels_last']};
  const ungrouped: Fixed = {groups: [1]};
  const forward: Fixed = {time_major: [false]};
  const plain: Fixed = {lora_rank: [], lora_alpha: [], quantization_config: []};
  return {
    Activation: {keys: 'activation'},
    ActivityRegularization: IDENTITY,
    Add: merging,
    AlphaDropout: {keys: dropout},
    Average: merging,
    AveragePooling1D: steps,
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
    Conv1D: {
      keys: convolution,
      fixed: {padding: ['valid', 'same', 'causal']},
      as: config => ({
        ...(convolved({...config, ...plainSteps(config)}) ?? {config: plainSteps(config)}),
        ...aroundSteps(config, false),
      }),
    },
    Conv2D: {keys: convolution, as: convolved},
    Conv2DTranspose: {
      keys: `${transposed} output_padding dilation_rate`,
      fixed: ungrouped,
      as: config => (isPlainTransposed(config) ? undefined : transposedConvolution(config)),
    },
    Conv3D: {keys: convolution, as: convolved},
    Conv3DTranspose: {keys: transposed, fixed: {...ungrouped, output_padding: [], dilation_rate: [1]}},
    ConvLSTM2D: {
      keys: `filters kernel_size strides padding data_format dilation_rate ${recurrent.replace('units ', '')}`,
      fixed: {...forward, unroll: [false]},
      // WASM has no convolutions with channels first.
      as: ({dataFormat, returnState, returnSequences}) =>
        dataFormat !== 'channelsFirst' || returnState === true
          ? undefined
          : {
              config: {dataFormat: 'channelsLast'},
              before: [{computes: 'transpose', order: [0, 1, 3, 4, 2]}],
              after: [{computes: 'transpose', order: returnSequences === true ? [0, 1, 4, 2, 3] : [0, 3, 1, 2]}],
            },
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
    ELU: {
      keys: 'alpha',
      as: ({alpha}) => ((alpha ?? 1) === 1 ? undefined : byKerasLayer({computes: 'elu', scale: alpha})),
    },
    Embedding: {keys: 'input_dim output_dim mask_zero input_length sparse', fixed: plain},
    Flatten: {keys: '', fixed: last},
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
    Identity: {...IDENTITY, isIdle: false},
    InputLayer: {keys: '', fixed: {sparse: [false], ragged: [false], optional: [false]}},
    LayerNormalization: {keys: 'axis epsilon center scale', fixed: {rms_scaling: [false]}},
    LeakyReLU: {
      keys: 'alpha negative_slope',
      as: ({alpha, negativeSlope}) => ({config: {alpha: negativeSlope ?? alpha}}),
    },
    LSTM: {keys: recurrent, fixed: forward},
    LSTMCell: {keys: cell},
    Masking: {keys: 'mask_value'},
    MaxPooling1D: steps,
    MaxPooling2D: {keys: pooling},
    MaxPooling3D: {keys: pooling},
    Maximum: merging,
    Minimum: merging,
    Multiply: merging,
    Normalization: {
      keys: 'axis mean variance invert',
      as: ({axis, mean, variance, invert}) => {
        const statistics = mean == null ? {} : {mean: [mean].flat(9), variance: [variance].flat(9)};
        return byKerasLayer({
          computes: 'normalization',
          axes: axis == null ? [] : [axis].flat(),
          invert,
          ...statistics,
        });
      },
    },
    Permute: {keys: 'dims'},
    PReLU: {keys: 'shared_axes'},
    ReLU: {
      keys: 'max_value negative_slope threshold',
      as: ({maxValue, negativeSlope, threshold}) =>
        [negativeSlope, threshold].some(value => (value ?? 0) !== 0)
          ? byKerasLayer({computes: 'relu', maxValue, negativeSlope, threshold})
          : undefined,
    },
    ...Object.fromEntries(AUGMENTATIONS.map(name => [name, IDENTITY])),
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
      fixed: ungrouped,
      as: config => ({
        className: OWN_CLASSES.separableConv1d,
        config: {...plainSteps(config), ...inRow(config)},
        ...aroundSteps(config, false),
      }),
    },
    // tfjs adds the bias along the wrong axis if channels come first.
    SeparableConv2D: {keys: separable, fixed: {...ungrouped, ...last}},
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

let rows: {stock: Readonly<Record<string, Row>>; missingInTfjs: Readonly<Record<string, Row>>} | undefined;

/** The row of a layer; `undefined` if nothing computes it, or a class that is registered under its name does. */
export function rowOf(className: string | undefined): Row | undefined {
  rows ??= {stock: makeRows(), missingInTfjs: makeOwnRows()};
  if (className === undefined) {
    return undefined;
  }
  const isRegistered = registeredName(className) === className;
  const table = isRegistered ? rows.stock : {...rows.stock, ...rows.missingInTfjs};
  return Object.hasOwn(table, className) ? table[className] : undefined;
}
