import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, trainableVariables} from 'tfjs-lora';
import {crossEntropyFromLogits, FusedLayerNormalization} from 'tfjs-lora/transformers';
import {random} from '../../test/helpers';
import {read} from '../../test/backends/everywhere/case';
import {OPTIMIZERS, trained} from '../../test/backends/everywhere/programCases';
import {
  CONFIGS,
  MATRICES,
  ofBlocks,
  ofNumbers,
  outcome as ofQuantized,
} from '../../test/backends/everywhere/quantizedCases';
import {OPERATIONS} from '../../test/backends/everywhere/threadCases';
import {type LayerTrial, losses, outcome as ofLayer, TRIALS} from '../../test/backends/everywhere/transformerCases';
import {stir, stirFactors} from '../../test/models';

/** A computation in which code of the library's own takes part. */
export interface Trial {
  name: string;
  /** The largest deviation that is right, relative to the largest number. */
  tolerance: number;
  /** The same with 16-bit floats; `null` where these leave nothing to measure. */
  halfTolerance: number | null;
  compute: () => Promise<number[][]>;
  /** What cpu computes for it. Default: the same. */
  expected?: () => Promise<number[][]>;
}

/** Products, with the activations whose gradients come from their outputs. */
function products(): tf.LayersModel {
  const {dense} = tf.layers;
  const relu6 = tf.layers.reLU({maxValue: 6});
  return tf.sequential({
    layers: [
      dense({units: 24, activation: 'relu', inputShape: [12]}),
      dense({units: 20, activation: 'sigmoid'}),
      dense({units: 17}),
      relu6,
      dense({units: 16, activation: 'tanh'}),
      dense({units: 9, activation: 'relu6'}),
      dense({units: 7, activation: 'softmax'}),
    ],
  });
}

/** Convolutions with normalizations by fixed statistics. */
function convolutions(): tf.LayersModel {
  const {conv2d, depthwiseConv2d, batchNormalization, reLU, dense, globalAveragePooling2d} = tf.layers;
  return tf.sequential({
    layers: [
      conv2d({filters: 12, kernelSize: 3, padding: 'same', inputShape: [9, 7, 5]}),
      batchNormalization(),
      reLU(),
      depthwiseConv2d({kernelSize: 3, strides: 2, padding: 'same'}),
      batchNormalization(),
      reLU({maxValue: 6}),
      conv2d({filters: 16, kernelSize: 1, useBias: false}),
      batchNormalization(),
      globalAveragePooling2d({}),
      dense({units: 7}),
    ],
  });
}

/** What an adapted network gives, and the gradients of its factors. */
async function ofNetwork(make: () => tf.LayersModel): Promise<number[][]> {
  const base = make();
  stir(base);
  const model = applyLoRA(base, {rank: 3, seed: 1});
  stirFactors(model);
  const variables = trainableVariables(model);
  const shape = base.inputs[0]!.shape.slice(1) as number[];
  const found = tf.tidy(() => {
    const x = random([4, ...shape], 50);
    const y = model.apply(x, {training: true}) as tf.Tensor;
    const dy = random(y.shape, 51);
    const loss = () => tf.sum<tf.Scalar>(tf.mul(model.apply(x, {training: true}) as tf.Tensor, dy));
    const {grads} = tf.variableGrads(loss, variables);
    return [y, ...variables.map(({name}) => grads[name]!)];
  });
  [model, base].forEach(disposeModel);
  return read(found);
}

/** A loss of rows of which one does not count, and its gradient. */
function crossEntropy(): Promise<number[][]> {
  const logits = random([6, 70], 1, 3);
  const targets = tf.tensor1d([3, 0, -100, 69, 12, 3]);
  const {value, grad} = tf.valueAndGrad((x: tf.Tensor) => crossEntropyFromLogits(targets, x))(logits);
  tf.dispose([logits, targets]);
  return read([value, grad]);
}

const NETWORKS = {products, convolutions};

/** Layers of transformers: those of the suite, and what is left of the programs. */
const LAYERS: readonly LayerTrial[] = [
  ...TRIALS,
  {
    kind: 'FusedLayerNormalization of one input',
    make: () => new FusedLayerNormalization(),
    inputs: () => [random([2, 3, 7], 1)],
  },
];

/** All of them that a backend has. */
export function trialsOn(backend: string): Trial[] {
  return [
    ...Object.entries(NETWORKS).map(([name, make]): Trial => ({
      name: `adapted ${name}`,
      tolerance: 1e-4,
      halfTolerance: 5e-2,
      compute: () => ofNetwork(make),
    })),
    ...OPTIMIZERS.map(([name, own, stock]): Trial => ({
      name: `optimizer: ${name}`,
      tolerance: 1e-5,
      halfTolerance: null,
      compute: () => trained(own),
      expected: () => trained(stock),
    })),
    {name: 'cross-entropy', tolerance: 1e-4, halfTolerance: 5e-2, compute: crossEntropy},
    ...LAYERS.map((trial): Trial => ({
      name: trial.kind,
      tolerance: 1e-4,
      halfTolerance: 5e-2,
      compute: () => ofLayer(trial),
    })),
    {name: 'training of a decoder', tolerance: 1e-3, halfTolerance: null, compute: async () => [await losses()]},
    ...CONFIGS.flatMap(([method, config]) =>
      ([8, 4] as const).map((bits): Trial => ({
        name: `base of ${bits} bits, by ${method}`,
        tolerance: 2e-4,
        halfTolerance: 5e-2,
        compute: () => ofQuantized(bits, config, false),
        expected: () => ofQuantized(bits, config, true),
      })),
    ),
    ...MATRICES.map((matrix): Trial => ({
      name: `matrix in blocks of ${matrix.join(', ')}`,
      tolerance: 1e-5,
      halfTolerance: null,
      compute: () => ofBlocks(...matrix),
      expected: () => ofNumbers(...matrix),
    })),
    // Kernels of tfjs whose place our module takes.
    ...(backend === 'wasm' ? OPERATIONS : []).map(([name, compute]): Trial => ({
      name,
      tolerance: 1e-4,
      halfTolerance: null,
      compute: () => read(tf.tidy(compute)),
    })),
  ];
}
