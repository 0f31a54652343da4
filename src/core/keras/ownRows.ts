import type {Json} from './json';
import {OWN_CLASSES} from './kerasLayer';
import {
  aroundSteps,
  byKerasLayer,
  IDENTITY,
  inRow,
  isPlainTransposed,
  type Place,
  plainSteps,
  type Row,
  transposedConvolution,
} from './row';

/** Layers of Keras that tfjs does not have. A class that is registered under one of these names comes first. */
export function makeOwnRows(): Readonly<Record<string, Row>> {
  const depthwise = 'kernel_size strides padding data_format dilation_rate depth_multiplier activation use_bias';
  const transposed = 'filters kernel_size strides padding data_format dilation_rate output_padding activation use_bias';
  return {
    AdditiveAttention: attention('use_scale dropout', 'additive'),
    Attention: attention('use_scale dropout score_mode', 'dot'),
    Conv1DTranspose: {
      keys: transposed,
      fixed: {groups: [1]},
      as(config) {
        const [stride = 1] = [config.strides].flat();
        const {outputPadding} = config;
        const row: Json = {...config, ...plainSteps(config), ...inRow(config), strides: [1, stride]};
        const padded = outputPadding == null ? null : [null, [outputPadding].flat()[0]];
        const isPlain = isPlainTransposed(config);
        return {
          ...(isPlain
            ? {className: 'Conv2DTranspose', config: row}
            : transposedConvolution({...row, outputPadding: padded})),
          ...aroundSteps(config, true),
        };
      },
    },
    Cropping1D: margins(-1),
    Cropping3D: margins(-1),
    DepthwiseConv1D: {
      keys: depthwise,
      fixed: {groups: [1]},
      as: config => ({
        className: OWN_CLASSES.dilated,
        config: {...plainSteps(config), ...inRow(config)},
        ...aroundSteps(config, true),
      }),
    },
    EinsumDense: {
      keys: 'equation output_shape activation bias_axes',
      fixed: {lora_rank: [], lora_alpha: [], quantization_config: [], gptq_unpacked_column_size: []},
      as: einsum,
    },
    GroupNormalization: {
      keys: 'groups axis epsilon center scale',
      as: ({groups, axis, epsilon, center, scale}) =>
        byKerasLayer({
          computes: 'group',
          groups,
          axes: [axis].flat(),
          epsilon,
          has: [...(scale === false ? [] : ['gamma']), ...(center === false ? [] : ['beta'])],
        }),
    },
    LayerScale: {keys: 'init_values projection_dim', as: () => byKerasLayer({computes: 'layerscale'})},
    RMSNormalization: {
      keys: 'axis epsilon',
      as: ({axis, epsilon}) => byKerasLayer({computes: 'rms', axes: [axis].flat(), epsilon}),
    },
    // It skips blocks in training.
    StochasticDepth: IDENTITY,
    UnitNormalization: {
      keys: 'axis',
      as: ({axis}) => byKerasLayer({computes: 'unit', axes: [axis].flat()}),
    },
    UpSampling1D: upsampling,
    UpSampling3D: upsampling,
    ZeroPadding1D: margins(1),
    ZeroPadding3D: margins(1),
  };
}

function attention(keys: string, score: 'dot' | 'additive'): Row {
  return {
    keys,
    fixed: {score_mode: ['dot', 'concat'], causal: [false]},
    as: ({useScale, scoreMode = score}) =>
      byKerasLayer({computes: 'attention', score: scoreMode, has: useScale === true ? ['scale'] : []}),
  };
}

/** Zeros around each axis, or entries that are left out. */
function margins(sign: 1 | -1): Row {
  return {
    keys: 'padding cropping data_format',
    as({padding, cropping, dataFormat}) {
      const sizes = (padding ?? cropping) as number[] | number[][];
      const pairs = (Array.isArray(sizes[0]) ? sizes : [sizes]) as [number, number][];
      const ofSpace = pairs.map(pair => pair.map(size => sign * size));
      const ofChannels = [0, 0];
      const ofImage = dataFormat === 'channelsFirst' ? [ofChannels, ...ofSpace] : [...ofSpace, ofChannels];
      return byKerasLayer({computes: 'margins', margins: [[0, 0], ...ofImage]});
    },
  };
}

const upsampling: Row = {
  keys: 'size data_format',
  as({size, dataFormat}) {
    const strides = [size].flat();
    const axes = strides.map((_, i) => i + (dataFormat === 'channelsFirst' ? 2 : 1));
    return byKerasLayer({computes: 'repeat', axes, strides});
  },
};

/** tfjs changes capitals in files, so the letters become small ones. */
function einsum({equation, outputShape, biasAxes, activation}: Json): Place | string {
  const text = String(equation);
  const letters = [...new Set(text.replace(/[^A-Za-z]/g, ''))];
  const small = (value: string) =>
    value.replace(/[A-Za-z]/g, letter => String.fromCharCode(97 + letters.indexOf(letter)));
  const terms =
    /^((?:\.{3})?[A-Za-z]+(?:\.{3})?),([A-Za-z]+)->((?:\.{3})?[A-Za-z]+(?:\.{3})?)$/.exec(text)?.slice(1) ?? [];
  const isTwice = letters.every(letter => terms.filter(term => term.split(letter).length === 2).length > 1);
  const isOnce = letters.every(letter => terms.every(term => term.split(letter).length <= 2));
  return terms.length === 3 && letters.length <= 26 && isTwice && isOnce
    ? byKerasLayer(
        {
          computes: 'einsum',
          equation: small(text),
          outputShape: [outputShape].flat(),
          biasAxes: typeof biasAxes === 'string' ? small(biasAxes) : undefined,
          activation,
        },
        OWN_CLASSES.einsumDense,
      )
    : `its equation "${text}" does not sum over axes of the input and the kernel alone.`;
}
