import * as tf from '@tensorflow/tfjs';
import type {ModelCase} from './models';

type Apply = (x: tf.SymbolicTensor, maskZero: boolean) => tf.SymbolicTensor;

/** A model of token ids, some of which are 0, with or without the mask that these give. */
export interface MaskedCase extends ModelCase {
  make: (maskZero?: boolean) => tf.LayersModel;
}

const STEPS = 6;
const WIDTH = 4;
const L = tf.layers;

function on(...layers: tf.layers.Layer[]) {
  return (x: tf.SymbolicTensor) => layers.reduce((y, layer) => layer.apply(y) as tf.SymbolicTensor, x);
}

function embedded(ids: tf.SymbolicTensor, maskZero: boolean): tf.SymbolicTensor {
  return on(L.embedding({inputDim: 3, outputDim: WIDTH, maskZero}))(ids);
}

function modelOf(name: string, apply: Apply, steps: number | null = STEPS): MaskedCase {
  return {
    name: `with a mask: ${name}`,
    below: 3,
    open: STEPS,
    make: (maskZero = true) => {
      const inputs = tf.input({shape: [steps], name: 'ids', dtype: 'int32'});
      return tf.model({inputs, outputs: apply(inputs, maskZero)});
    },
  };
}

const lstm = (args = {}) => L.lstm({units: WIDTH, ...args});

/** Layers that tfjs runs on the embeddings. Their number of steps is another in some. */
const BETWEEN: Readonly<Record<string, () => tf.layers.Layer[]>> = {
  nothing: () => [],
  conv1d: () => [L.conv1d({filters: WIDTH, kernelSize: 3, padding: 'same'})],
  'valid conv1d': () => [L.conv1d({filters: WIDTH, kernelSize: 2})],
  'conv1d of stride 2': () => [L.conv1d({filters: WIDTH, kernelSize: 2, strides: 2})],
  maxPooling1d: () => [L.maxPooling1d({poolSize: 2, strides: 1})],
  averagePooling1d: () => [L.averagePooling1d({poolSize: 2})],
  'reshape to more values': () => [L.reshape({targetShape: [3, 8]})],
  'reshape to more steps': () => [L.reshape({targetShape: [8, 3]})],
  permute: () => [L.permute({dims: [2, 1]})],
  rescaling: () => [L.rescaling({scale: 2, offset: 1})],
  elu: () => [L.elu()],
  leakyReLU: () => [L.leakyReLU()],
  thresholdedReLU: () => [L.thresholdedReLU({theta: 0.01})],
  prelu: () => [L.prelu()],
  reLU: () => [L.reLU()],
  activation: () => [L.activation({activation: 'tanh'})],
  softmax: () => [L.softmax({axis: -1})],
  dense: () => [L.dense({units: 3})],
  dropout: () => [L.dropout({rate: 0.5}), L.spatialDropout1d({rate: 0.5}), L.gaussianNoise({stddev: 1})],
  normalizations: () => [L.batchNormalization(), L.layerNormalization()],
  timeDistributed: () => [L.timeDistributed({layer: L.dense({units: 3})})],
  'timeDistributed elu': () => [L.timeDistributed({layer: L.elu()})],
  'an LSTM': () => [lstm({returnSequences: true})],
  'a bidirectional LSTM': () => [L.bidirectional({layer: lstm({returnSequences: true}), mergeMode: 'concat'})],
  'the last state, repeated': () => [lstm(), L.repeatVector({n: 5})],
  'pooling, repeated': () => [L.globalAveragePooling1d(), L.repeatVector({n: 4})],
  'the largest, repeated': () => [L.globalMaxPooling1d(), L.repeatVector({n: 4})],
  'flatten, repeated': () => [L.flatten(), L.repeatVector({n: 2})],
  '2-D layers': () => [
    L.reshape({targetShape: [STEPS, 2, 2]}),
    L.conv2d({filters: 2, kernelSize: 1}),
    L.depthwiseConv2d({kernelSize: 1}),
    L.separableConv2d({filters: 2, kernelSize: 1}),
    L.conv2dTranspose({filters: 2, kernelSize: 1}),
    L.zeroPadding2d(),
    L.cropping2D({cropping: [[0, 2], [0, 2]]}), // prettier-ignore
    L.upSampling2d({size: [1, 1]}),
    L.maxPooling2d({poolSize: 1}),
    L.averagePooling2d({poolSize: 1}),
    L.reshape({targetShape: [STEPS, 4]}),
  ],
  'a nested model': () => [
    tf.sequential({
      layers: [L.conv1d({filters: 3, kernelSize: 2, inputShape: [STEPS, WIDTH]}), lstm({returnSequences: true})],
    }),
  ],
  'a nested model that masks': () => [
    tf.sequential({layers: [L.masking({maskValue: 7, inputShape: [STEPS, WIDTH]}), L.dense({units: 3})]}),
  ],
  'timeDistributed LSTM': () => [L.reshape({targetShape: [STEPS, 2, 2]}), L.timeDistributed({layer: lstm()})],
};

const READERS: Readonly<Record<string, () => tf.layers.Layer>> = {
  lstm: () => lstm(),
  'gru, all steps backwards': () => L.gru({units: 3, returnSequences: true, goBackwards: true}),
  bidirectional: () => L.bidirectional({layer: lstm({returnSequences: true}), mergeMode: 'concat'}),
};

type Merge = 'add' | 'average' | 'maximum' | 'minimum' | 'multiply';

/** Models with branches. */
const BRANCHED: Readonly<Record<string, Apply>> = {
  ...Object.fromEntries(
    (['add', 'average', 'maximum', 'minimum', 'multiply'] as const satisfies readonly Merge[]).flatMap(merge => [
      [
        `${merge} of two masked tensors`,
        ((ids, maskZero) => {
          const x = embedded(ids, maskZero);
          return on(lstm())(L[merge]().apply([x, on(L.dense({units: WIDTH}))(x)]) as tf.SymbolicTensor);
        }) satisfies Apply,
      ],
      [
        `${merge} of a tensor without a mask and one with`,
        ((ids, maskZero) => {
          const x = embedded(ids, maskZero);
          return on(lstm())(L[merge]().apply([on(L.elu())(x), x]) as tf.SymbolicTensor);
        }) satisfies Apply,
      ],
    ]),
  ),
  ...Object.fromEntries(
    [1, 2, -1].flatMap(axis =>
      [true, false].map(
        isMasked =>
          [
            `concatenate over ${axis < 0 ? 'the last axis' : `axis ${axis}`}, ${isMasked ? 'two masks' : 'one mask'}`,
            ((ids, maskZero) => {
              const x = embedded(ids, maskZero);
              const y = isMasked ? embedded(ids, maskZero) : on(L.elu())(x);
              return on(lstm())(L.concatenate({axis}).apply([x, y]) as tf.SymbolicTensor);
            }) satisfies Apply,
          ] as const,
      ),
    ),
  ),
  dot: (ids, maskZero) => {
    const x = embedded(ids, maskZero);
    return on(lstm())(L.dot({axes: 2}).apply([x, on(L.dense({units: WIDTH}))(x)]) as tf.SymbolicTensor);
  },
  'subtracted branches': (ids, maskZero) => {
    const x = embedded(ids, maskZero);
    return L.concatenate().apply([
      on(lstm())(x),
      on(L.conv1d({filters: 2, kernelSize: 2}), lstm())(x),
    ]) as tf.SymbolicTensor;
  },
  'a branch without a mask, run after one with': (ids, maskZero) =>
    L.concatenate().apply([on(lstm())(embedded(ids, false)), on(lstm())(embedded(ids, maskZero))]) as tf.SymbolicTensor,
  'a branch without a mask, run before one with': (ids, maskZero) =>
    L.concatenate().apply([on(lstm())(embedded(ids, maskZero)), on(lstm())(embedded(ids, false))]) as tf.SymbolicTensor,
  'states of a decoder without a mask': (ids, maskZero) => {
    const [, ...states] = lstm({returnState: true}).apply(embedded(ids, maskZero)) as tf.SymbolicTensor[];
    return lstm().apply([embedded(ids, false), ...states]) as tf.SymbolicTensor;
  },
  'states beside all steps, of a decoder without a mask': (ids, maskZero) => {
    const [, ...states] = lstm({returnState: true, returnSequences: true}).apply(
      embedded(ids, maskZero),
    ) as tf.SymbolicTensor[];
    return lstm().apply([embedded(ids, false), ...states]) as tf.SymbolicTensor;
  },
  'a softmax of scores of steps': (ids, maskZero) =>
    on(L.dense({units: 1}), L.flatten(), L.softmax())(embedded(ids, maskZero)),
  'a softmax behind an LSTM of as many units': (ids, maskZero) =>
    on(L.lstm({units: STEPS}), L.softmax())(embedded(ids, maskZero)),
  'a softmax behind an LSTM of other units': (ids, maskZero) => on(lstm(), L.softmax())(embedded(ids, maskZero)),
  convLstm2d: (ids, maskZero) =>
    on(L.reshape({targetShape: [STEPS, 2, 2, 1]}), L.convLstm2d({filters: 2, kernelSize: 1}))(embedded(ids, maskZero)),
};

export const MASKED: readonly MaskedCase[] = [
  ...Object.entries(BETWEEN).flatMap(([between, layers]) =>
    Object.entries(READERS).map(([reader, make]) =>
      modelOf(`${reader} behind ${between}`, (ids, maskZero) => on(...layers(), make())(embedded(ids, maskZero))),
    ),
  ),
  ...Object.entries(READERS).flatMap(([reader, make]) =>
    (['conv1d', 'valid conv1d', 'dense', 'elu', 'maxPooling1d'] as const).map(between =>
      modelOf(
        `${reader} behind ${between}, any number of steps`,
        (ids, maskZero) => on(...(BETWEEN[between] as () => tf.layers.Layer[])(), make())(embedded(ids, maskZero)),
        null,
      ),
    ),
  ),
  ...Object.entries(BRANCHED).map(([name, apply]) => modelOf(name, apply)),
];
