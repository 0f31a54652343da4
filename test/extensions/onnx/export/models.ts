import * as tf from '@tensorflow/tfjs';
import {KerasLayer} from '../../../../src/core/keras/kerasLayer';
import type {KerasLayerArgs} from '../../../../src/core/keras/layerOperation';

/** A model that is written as ONNX: its layers, from the shape of its input. */
export interface ModelCase {
  name: string;
  make: () => tf.LayersModel;
  /** The sizes of open axes. */
  open?: number;
  /** Inputs are whole numbers below this. */
  below?: number;
}

type Layers = tf.layers.Layer[];

/** A chain of layers. */
function chain(name: string, shape: tf.Shape, layers: () => Layers, more: Partial<ModelCase> = {}): ModelCase {
  return {
    name,
    make: () => {
      const input = tf.input({shape, name: 'x', ...(more.below !== undefined && {dtype: 'int32'})});
      const output = layers().reduce<tf.SymbolicTensor>((x, layer) => layer.apply(x) as tf.SymbolicTensor, input);
      return tf.model({inputs: input, outputs: output});
    },
    ...more,
  };
}

const ACTIVATIONS = [
  ...['elu', 'selu', 'relu', 'relu6', 'sigmoid', 'hardSigmoid', 'softplus', 'softsign', 'tanh', 'softmax'],
  ...['logSoftmax', 'gelu', 'gelu_new', 'mish', 'swish'],
] as const;

const images: tf.Shape = [9, 7, 4];

/** Operations of Keras that tfjs lacks, with other settings than their defaults. */
const KERAS: readonly KerasLayerArgs[] = [
  {computes: 'relu', maxValue: 1, negativeSlope: 0.2, threshold: 0.3, activation: 'tanh'},
  {computes: 'elu', scale: 0.5},
  {computes: 'rescaling', scale: [2, 3, 4, 5], offset: 1},
  {computes: 'average', axes: [1, 2], keepdims: true},
  {computes: 'max', axes: [-2]},
  {computes: 'softmax', axes: [1, 2]},
  {computes: 'normalization', axes: [-1], mean: [1, 2, 3, 4], variance: [4, 9, 1, 2]},
  {computes: 'normalization', axes: [-1], invert: true},
  {computes: 'rms', axes: [-1]},
  {computes: 'unit', axes: [1, 2]},
  {computes: 'layerscale'},
  {computes: 'transpose', order: [0, 2, 1, 3]},
  {computes: 'expand'},
];

/** A model of one of them, whose weights are not zeros. */
function kerasCase(args: KerasLayerArgs): ModelCase {
  const {make, ...other} = chain(`${args.computes} of Keras ${Object.keys(args).length}`, images, () => [
    new KerasLayer({...args, name: 'it'}),
  ]);
  return {
    ...other,
    make: () => {
      const model = make();
      tf.tidy(() => {
        model.setWeights(model.getWeights().map(({shape}, i) => tf.randomUniform(shape, 0.5, 1.5, 'float32', i + 1)));
      });
      return model;
    },
  };
}

/** Convolutions of one kind, in several settings. */
function convolutions(
  kind: string,
  shape: tf.Shape,
  make: (args: {strides: number; padding: 'valid' | 'same'; dilationRate: number; activation?: 'relu'}) => Layers,
): ModelCase[] {
  const settings = [
    {strides: 1, padding: 'valid', dilationRate: 1},
    {strides: 1, padding: 'same', dilationRate: 1, activation: 'relu'},
    {strides: 2, padding: 'same', dilationRate: 1},
    {strides: 2, padding: 'valid', dilationRate: 1, activation: 'relu'},
    {strides: 1, padding: 'same', dilationRate: 2},
  ] as const;
  const open = shape.map((size, axis) => (axis === shape.length - 1 ? size : null));
  const dilates = !/Transpose|Pool/.test(kind);
  return settings
    .filter(({dilationRate}) => dilates || dilationRate === 1)
    .flatMap(each => {
      const named = `${kind}, stride ${each.strides}, ${each.padding}, dilation ${each.dilationRate}`;
      return [chain(named, shape, () => make(each)), chain(`${named}, open sizes`, open, () => make(each), {open: 8})];
    });
}

function pools(kind: string, shape: tf.Shape, make: (args: object) => tf.layers.Layer): ModelCase[] {
  return convolutions(kind, shape, ({strides, padding}) => [make({poolSize: 3, strides, padding})]);
}

/** Windows that are smaller than their strides, with and without something left over. */
function smallWindows(): ModelCase[] {
  const padding = 'same' as const;
  const [size, strides] = [
    [1, 2, 1],
    [3, 3, 2],
  ] as [[number, number, number], [number, number, number]];
  const volume = {kernelSize: size, strides, padding, filters: 3, biasInitializer: 'randomNormal' as const};
  const pool = {poolSize: size, strides, padding};
  const layers = {
    conv3d: () => tf.layers.conv3d(volume),
    conv3dTranspose: () => tf.layers.conv3dTranspose(volume),
    maxPooling3d: () => tf.layers.maxPooling3d(pool),
    averagePooling3d: () => tf.layers.averagePooling3d(pool),
    conv2d: () => tf.layers.conv2d({filters: 3, kernelSize: [1, 2], strides: [3, 3], padding}),
    conv2dTranspose: () => tf.layers.conv2dTranspose({filters: 3, kernelSize: [1, 2], strides: [3, 3], padding}),
    maxPooling2d: () => tf.layers.maxPooling2d({poolSize: [1, 2], strides: [3, 3], padding}),
    averagePooling1d: () => tf.layers.averagePooling1d({poolSize: 2, strides: 3, padding}),
  };
  return Object.entries(layers).map(([name, layer]) => {
    const axes = Number(/\d/.exec(name)?.[0]);
    return chain(`${name}, windows smaller than strides`, [...[6, 6, 5].slice(0, axes), 2], () => [layer()]);
  });
}

type Cell = 'lstm' | 'gru' | 'simpleRNN';
type RecurrentArgs = Parameters<typeof tf.layers.lstm>[0] & {resetAfter?: boolean};

function recurrent(cell: Cell): ModelCase[] {
  const make = (args: Partial<RecurrentArgs>) => tf.layers[cell]({units: 5, biasInitializer: 'randomNormal', ...args});
  const variants: Record<string, Partial<RecurrentArgs>> = {
    'the last step': {},
    'all steps': {returnSequences: true},
    backwards: {goBackwards: true},
    'all steps backwards': {goBackwards: true, returnSequences: true},
    'other activations': {activation: 'relu', recurrentActivation: 'sigmoid', useBias: false},
    'a linear activation': {activation: 'linear', recurrentActivation: 'hardSigmoid'},
  };
  const modes = ['concat', 'sum', 'ave', 'mul'] as const;
  return [
    ...Object.entries(variants).map(([name, args]) => chain(`${cell}, ${name}`, [6, 3], () => [make(args)])),
    chain(`${cell}, any number of steps`, [null, 3], () => [make({returnSequences: true}), make({})], {open: 5}),
    ...modes.flatMap(mergeMode =>
      [false, true].map(returnSequences =>
        chain(`bidirectional ${cell}, ${mergeMode}, ${returnSequences ? 'all steps' : 'the last'}`, [6, 3], () => [
          tf.layers.bidirectional({layer: make({returnSequences}), mergeMode}),
        ]),
      ),
    ),
    ...[{}, {returnSequences: true}, {goBackwards: true, returnSequences: true}].map(args =>
      chain(
        `${cell} with a mask, ${JSON.stringify(args)}`,
        [6],
        () => [tf.layers.embedding({inputDim: 4, outputDim: 3, maskZero: true}), make(args)],
        {below: 4},
      ),
    ),
    ...[false, true].map(returnSequences =>
      chain(
        `bidirectional ${cell} with a mask, ${returnSequences ? 'all steps' : 'the last'}`,
        [6],
        () => [
          tf.layers.embedding({inputDim: 4, outputDim: 3, maskZero: true}),
          tf.layers.bidirectional({layer: make({returnSequences}), mergeMode: 'concat'}),
        ],
        {below: 4},
      ),
    ),
    {
      name: `${cell}, states in and out`,
      make: () => {
        const x = tf.input({shape: [6, 3], name: 'x'});
        const states = Array.from({length: cell === 'lstm' ? 2 : 1}, (_, i) => tf.input({shape: [5], name: `s${i}`}));
        const outputs = make({returnSequences: true, returnState: true}).apply([x, ...states]) as tf.SymbolicTensor[];
        return tf.model({inputs: [x, ...states], outputs});
      },
    },
  ];
}

function merges(): ModelCase[] {
  const kinds: Record<string, () => tf.layers.Layer> = {
    add: () => tf.layers.add(),
    average: () => tf.layers.average(),
    maximum: () => tf.layers.maximum(),
    minimum: () => tf.layers.minimum(),
    multiply: () => tf.layers.multiply(),
    concatenate: () => tf.layers.concatenate(),
  };
  const of = (name: string, shapes: tf.Shape[], layer: () => tf.layers.Layer): ModelCase => ({
    name,
    make: () => {
      const inputs = shapes.map((shape, i) => tf.input({shape, name: `x${i}`}));
      return tf.model({inputs, outputs: layer().apply(inputs) as tf.SymbolicTensor});
    },
  });
  return [
    ...Object.entries(kinds).flatMap(([name, layer]) => [
      of(`${name} of three`, [images, images, images], layer),
      ...(name === 'concatenate'
        ? [
            of(
              'concatenate along axis 1',
              [
                [2, 3],
                [4, 3],
              ],
              () => tf.layers.concatenate({axis: 1}),
            ),
          ]
        : [
            of(`${name} of other sizes`, [images, [1, 1, 4]], layer),
            of(`${name} of other ranks`, [[3, 4], [4]], layer),
          ]),
    ]),
    of('dot of vectors', [[4], [4]], () => tf.layers.dot({axes: 1})),
    of('dot of vectors, normalized', [[4], [4]], () => tf.layers.dot({axes: -1, normalize: true})),
    of(
      'dot of matrices',
      [
        [3, 4],
        [4, 5],
      ],
      () => tf.layers.dot({axes: [2, 1]}),
    ),
    of(
      'dot of matrices, last axes',
      [
        [3, 4],
        [5, 4],
      ],
      () => tf.layers.dot({axes: 2}),
    ),
    of(
      'dot of matrices, first axes',
      [
        [4, 3],
        [4, 5],
      ],
      () => tf.layers.dot({axes: 1}),
    ),
    of('dot of a matrix and a vector', [[3, 4], [4]], () => tf.layers.dot({axes: [2, 1]})),
    of('dot of a vector and a matrix', [[4], [4, 3]], () => tf.layers.dot({axes: 1})),
  ];
}

const conv = (args: Partial<Parameters<typeof tf.layers.conv2d>[0]> = {}) =>
  tf.layers.conv2d({filters: 6, kernelSize: 3, biasInitializer: 'randomNormal', ...args});

const channelsFirst = {dataFormat: 'channelsFirst'} as const;

const RANDOM_SCALE = {gammaInitializer: 'randomNormal', betaInitializer: 'randomNormal'} as const;
const RANDOM_NORM = {
  ...RANDOM_SCALE,
  movingMeanInitializer: 'randomNormal',
  movingVarianceInitializer: tf.initializers.randomUniform({minval: 0.5, maxval: 2}),
} as const;

/** Models of every kind of stock layer. */
export const MODELS: readonly ModelCase[] = [
  ...KERAS.map(kerasCase),
  chain('dense', [5], () => [tf.layers.dense({units: 3, biasInitializer: 'randomNormal'})]),
  chain('dense without a bias, of sequences', [null, 5], () => [tf.layers.dense({units: 3, useBias: false})], {
    open: 4,
  }),
  ...ACTIVATIONS.map(activation =>
    chain(`dense and ${activation}`, [6, 5], () => [tf.layers.dense({units: 3, activation: activation as 'relu'})]),
  ),
  ...convolutions('conv1d', [11, 4], args => [tf.layers.conv1d({filters: 6, kernelSize: 3, ...args})]),
  ...convolutions('conv2d', images, args => [conv(args)]),
  ...convolutions('conv3d', [7, 6, 5, 2], args => [tf.layers.conv3d({filters: 3, kernelSize: 2, ...args})]),
  ...convolutions('conv2dTranspose', images, ({dilationRate: _, ...args}) => [
    tf.layers.conv2dTranspose({filters: 3, kernelSize: [3, 1], biasInitializer: 'randomNormal', ...args}),
  ]),
  ...convolutions('conv3dTranspose', [4, 3, 5, 2], ({dilationRate: _, ...args}) => [
    tf.layers.conv3dTranspose({filters: 3, kernelSize: 3, ...args}),
  ]),
  ...convolutions('depthwiseConv2d', images, ({dilationRate: _, ...args}) => [
    tf.layers.depthwiseConv2d({kernelSize: 3, depthMultiplier: 2, biasInitializer: 'randomNormal', ...args}),
  ]),
  ...convolutions('separableConv2d', images, args => [
    tf.layers.separableConv2d({filters: 5, kernelSize: 3, depthMultiplier: 2, ...args}),
  ]),
  chain('conv2d and softmax', images, () => [conv({activation: 'softmax'})]),
  chain('conv2d with channels first', [4, 9, 7], () => [
    conv({...channelsFirst, padding: 'same'}),
    tf.layers.maxPooling2d({poolSize: 2, ...channelsFirst}),
    tf.layers.globalAveragePooling2d(channelsFirst),
  ]),
  chain('channels first, flattened', [4, 9, 7], () => [
    conv({...channelsFirst, activation: 'softmax'}),
    tf.layers.flatten(channelsFirst),
  ]),
  ...pools('maxPooling1d', [11, 4], args => tf.layers.maxPooling1d(args)),
  ...pools('averagePooling1d', [11, 4], args => tf.layers.averagePooling1d(args)),
  ...pools('maxPooling2d', images, args => tf.layers.maxPooling2d(args)),
  ...pools('averagePooling2d', images, args => tf.layers.averagePooling2d(args)),
  ...pools('maxPooling3d', [7, 6, 5, 2], args => tf.layers.maxPooling3d(args)),
  ...pools('averagePooling3d', [7, 6, 5, 2], args => tf.layers.averagePooling3d(args)),
  ...smallWindows(),
  chain('globalAveragePooling1d', [null, 4], () => [tf.layers.globalAveragePooling1d()], {open: 6}),
  chain('globalMaxPooling1d', [6, 4], () => [tf.layers.globalMaxPooling1d()]),
  chain('globalAveragePooling2d', [null, null, 4], () => [tf.layers.globalAveragePooling2d({})], {open: 6}),
  chain('globalMaxPooling2d', images, () => [tf.layers.globalMaxPooling2d({})]),
  chain('zeroPadding2d', images, () => [
    tf.layers.zeroPadding2d({
      padding: [
        [1, 2],
        [0, 3],
      ],
    }),
    conv(),
  ]),
  chain('zeroPadding2d behind a convolution', images, () => [
    conv(),
    tf.layers.zeroPadding2d({
      padding: [
        [1, 2],
        [0, 3],
      ],
    }),
  ]),
  chain('cropping2D', images, () => [
    tf.layers.cropping2D({
      cropping: [
        [1, 2],
        [0, 3],
      ],
    }),
  ]),
  chain('cropping2D behind a convolution', images, () => [
    conv(),
    tf.layers.cropping2D({
      cropping: [
        [1, 2],
        [1, 0],
      ],
    }),
  ]),
  chain('upSampling2d', images, () => [tf.layers.upSampling2d({size: [2, 3]})]),
  chain(
    'upSampling2d, bilinear',
    [null, null, 4],
    () => [tf.layers.upSampling2d({size: [2, 2], interpolation: 'bilinear'})],
    {open: 5},
  ),
  chain('embedding', [null], () => [tf.layers.embedding({inputDim: 9, outputDim: 4})], {below: 9, open: 5}),
  chain('embedding of floats', [5], () => [tf.layers.reLU(), tf.layers.embedding({inputDim: 9, outputDim: 4})]),
  chain('batchNormalization', images, () => [tf.layers.batchNormalization(RANDOM_NORM)]),
  chain('batchNormalization of vectors', [5], () => [tf.layers.batchNormalization({...RANDOM_NORM, center: false})]),
  chain('batchNormalization behind a convolution', images, () => [
    conv(),
    tf.layers.batchNormalization({...RANDOM_NORM, scale: false}),
  ]),
  chain('batchNormalization of axis 1', [4, 9, 7], () => [tf.layers.batchNormalization({...RANDOM_NORM, axis: 1})]),
  chain('layerNormalization', [6, 5], () => [tf.layers.layerNormalization(RANDOM_SCALE)]),
  chain('layerNormalization over two axes', [6, 5], () => [
    tf.layers.layerNormalization({...RANDOM_SCALE, axis: [1, 2]}),
  ]),
  chain('layerNormalization over axis 1, without a shift', [6, 5], () => [
    tf.layers.layerNormalization({...RANDOM_SCALE, axis: 1, center: false}),
  ]),
  chain('layerNormalization without weights', [6, 5], () => [
    tf.layers.layerNormalization({scale: false, center: false}),
  ]),
  chain('reLU, at most 2', images, () => [tf.layers.reLU({maxValue: 2})]),
  chain('leakyReLU', images, () => [tf.layers.leakyReLU({alpha: 0.2})]),
  chain('prelu', [6, 5], () => [tf.layers.prelu({alphaInitializer: 'randomNormal'})]),
  chain('prelu behind a convolution', images, () => [conv(), tf.layers.prelu({alphaInitializer: 'randomNormal'})]),
  chain('prelu with shared axes', images, () => [
    conv(),
    tf.layers.prelu({alphaInitializer: 'randomNormal', sharedAxes: [1, 2]}),
  ]),
  chain('elu', [5], () => [tf.layers.elu()]),
  chain('thresholdedReLU', [5], () => [tf.layers.thresholdedReLU({theta: 0.3})]),
  chain('softmax', [6, 5], () => [tf.layers.softmax({axis: -1})]),
  chain('softmax over the channels of a convolution', images, () => [conv(), tf.layers.softmax({axis: 3})]),
  chain('activation', images, () => [tf.layers.activation({activation: 'tanh'})]),
  chain('flatten behind a convolution', images, () => [conv(), tf.layers.flatten(), tf.layers.dense({units: 3})]),
  chain('reshape', [6, 4], () => [tf.layers.reshape({targetShape: [2, 3, 4]}), conv({kernelSize: 1})]),
  chain('reshape of a convolution', images, () => [conv(), tf.layers.reshape({targetShape: [-1, 6]})]),
  chain('permute', [3, 4, 5], () => [tf.layers.permute({dims: [3, 1, 2]}), tf.layers.dense({units: 2})]),
  chain('permute behind a convolution', images, () => [conv(), tf.layers.permute({dims: [2, 3, 1]}), tf.layers.elu()]),
  chain('repeatVector', [5], () => [tf.layers.repeatVector({n: 3})]),
  chain('masking', [6, 3], () => [tf.layers.masking({maskValue: 0}), tf.layers.lstm({units: 4})]),
  chain('rescaling', images, () => [tf.layers.rescaling({scale: 0.5, offset: 1})]),
  chain('dropout and noise', [6, 5], () => [
    tf.layers.dropout({rate: 0.5}),
    tf.layers.spatialDropout1d({rate: 0.5}),
    tf.layers.gaussianNoise({stddev: 1}),
    tf.layers.gaussianDropout({rate: 0.5}),
    tf.layers.alphaDropout({rate: 0.5}),
    tf.layers.dense({units: 2}),
  ]),
  ...(['lstm', 'gru', 'simpleRNN'] as const).flatMap(recurrent),
  chain('stacked cells', [6, 3], () => [
    tf.layers.rnn({cell: [tf.layers.lstmCell({units: 4}), tf.layers.lstmCell({units: 5})], returnSequences: true}),
  ]),
  ...[{}, {returnSequences: true, padding: 'same'}, {strides: 2, goBackwards: true, returnSequences: true}].map(args =>
    chain(`convLstm2d, ${JSON.stringify(args)}`, [4, ...images], () => [
      tf.layers.convLstm2d({filters: 3, kernelSize: 3, ...args} as Parameters<typeof tf.layers.convLstm2d>[0]),
    ]),
  ),
  ...merges(),
  chain('timeDistributed dense', [null, 5], () => [tf.layers.timeDistributed({layer: tf.layers.dense({units: 3})})], {
    open: 4,
  }),
  chain('timeDistributed conv2d', [4, ...images], () => [
    tf.layers.timeDistributed({layer: conv({activation: 'relu'})}),
  ]),
  {
    name: 'a nested model, called twice',
    make: () => {
      const inner = tf.sequential({
        layers: [tf.layers.dense({units: 4, inputShape: [4], activation: 'tanh'}), tf.layers.layerNormalization()],
      });
      const x = tf.input({shape: [4], name: 'x'});
      const y = inner.apply(inner.apply(x)) as tf.SymbolicTensor;
      return tf.model({inputs: x, outputs: [y, x]});
    },
  },
  {
    name: 'a residual network',
    make: () => {
      const x = tf.input({shape: [8, 8, 3], name: 'image'});
      const apply = (input: tf.SymbolicTensor, ...layers: Layers) =>
        layers.reduce((y, layer) => layer.apply(y) as tf.SymbolicTensor, input);
      const start = apply(
        x,
        conv({padding: 'same', useBias: false}),
        tf.layers.batchNormalization(RANDOM_NORM),
        tf.layers.reLU(),
      );
      const branch = apply(start, conv({padding: 'same'}), tf.layers.batchNormalization(RANDOM_NORM));
      const weights = apply(
        branch,
        tf.layers.globalAveragePooling2d({}),
        tf.layers.dense({units: 6, activation: 'sigmoid'}),
        tf.layers.reshape({targetShape: [1, 1, 6]}),
      );
      const scaled = tf.layers.multiply().apply([branch, weights]) as tf.SymbolicTensor;
      const sum = tf.layers.add().apply([start, scaled]) as tf.SymbolicTensor;
      const y = apply(
        sum,
        tf.layers.reLU(),
        tf.layers.maxPooling2d({poolSize: 2}),
        tf.layers.flatten(),
        tf.layers.dense({units: 3, activation: 'softmax', name: 'scores'}),
      );
      return tf.model({inputs: x, outputs: y});
    },
  },
];

/** Inputs of a model for a batch. */
export function inputsOf(model: tf.LayersModel, {open = 1, below}: ModelCase, batch: number): tf.Tensor[] {
  return model.inputs.map(({shape}, i) => {
    const sizes = shape.map((size, axis) => size ?? (axis === 0 ? batch : open));
    return below === undefined
      ? tf.randomNormal(sizes, 0, 1, 'float32', batch + i)
      : tf.tidy(() => tf.cast(tf.randomUniform(sizes, 0, below, 'float32', batch + i), 'int32'));
  });
}
