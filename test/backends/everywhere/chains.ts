import * as tf from '@tensorflow/tfjs';
import {randomFrom} from '../../attack/damage';

/** What is between the input and the outputs of a model. */
export type Layers = (input: tf.SymbolicTensor) => tf.SymbolicTensor | tf.SymbolicTensor[];

const apply = (x: tf.SymbolicTensor, ...layers: tf.layers.Layer[]) =>
  layers.reduce((y, layer) => layer.apply(y) as tf.SymbolicTensor, x);

const conv = (filters: number, args = {}) => tf.layers.conv2d({filters, kernelSize: 3, padding: 'same', ...args});
const small = (filters: number, args = {}) => tf.layers.conv2d({filters, kernelSize: 1, ...args});
const norm = (args = {}) =>
  tf.layers.batchNormalization({
    ...{betaInitializer: 'randomNormal', movingMeanInitializer: 'randomNormal'},
    ...{gammaInitializer: tf.initializers.randomUniform({minval: 0.5, maxval: 2})},
    ...args,
  });
const depthwise = (args = {}) =>
  tf.layers.depthwiseConv2d({kernelSize: 3, padding: 'same', depthwiseInitializer: 'glorotNormal', ...args});

const shared = () => {
  const [layer, after] = [conv(16), norm()];
  return {layer, after};
};

/** Models in which a convolution, a normalization and a relu follow each other, or nearly. */
export const CHAINS: Record<string, Layers> = {
  'conv, norm, relu': x => apply(x, conv(16), norm(), tf.layers.reLU(), conv(8)),
  'conv, norm, relu6': x => apply(x, conv(16), norm(), tf.layers.reLU({maxValue: 6}), conv(8)),
  'conv, norm, activation': x => apply(x, conv(12), norm(), tf.layers.activation({activation: 'relu6'}), conv(8)),
  'conv, norm, tanh': x => apply(x, conv(12), norm(), tf.layers.activation({activation: 'tanh'}), conv(8)),
  'conv, norm': x => apply(x, conv(16), norm(), conv(8), norm()),
  'conv, relu': x => apply(x, conv(16), tf.layers.reLU(), conv(8)),
  'depthwise, norm, relu6': x =>
    apply(x, conv(8), depthwise(), norm(), tf.layers.reLU({maxValue: 6}), depthwise({strides: 2}), norm()),
  'kernels of size 1 around a depthwise one, and a sum': x => {
    const first = apply(x, small(8), norm(), tf.layers.reLU({maxValue: 6}));
    const second = apply(first, depthwise(), norm(), tf.layers.reLU({maxValue: 6}), small(8, {useBias: false}), norm());
    return apply(tf.layers.add().apply([first, second]) as tf.SymbolicTensor, small(4), norm(), tf.layers.reLU());
  },
  'a depthwise convolution that multiplies channels': x =>
    apply(
      ...([x, small(5), norm(), tf.layers.reLU()] as const),
      ...[
        depthwise({depthMultiplier: 2, strides: 2, padding: 'valid'}),
        norm(),
        tf.layers.reLU({maxValue: 6}),
        small(5),
      ],
    ),
  'strides and no padding': x =>
    apply(x, conv(9, {strides: 2}), norm(), tf.layers.reLU(), conv(6, {padding: 'valid'}), norm(), tf.layers.reLU()),
  'without bias, scale and center': x =>
    apply(x, conv(8, {useBias: false}), norm({scale: false, center: false}), tf.layers.reLU()),
  'a result used twice': x => {
    const y = apply(x, conv(8));
    return tf.layers.add().apply([apply(y, norm(), tf.layers.reLU()), y]) as tf.SymbolicTensor;
  },
  'a normalization used twice': x => {
    const y = apply(x, conv(8), norm());
    return tf.layers.add().apply([apply(y, tf.layers.reLU()), y]) as tf.SymbolicTensor;
  },
  'inner outputs': x => {
    const convolved = apply(x, conv(8));
    const normalized = apply(convolved, norm());
    const byChannel = apply(convolved, depthwise({biasInitializer: 'randomNormal'}));
    return [convolved, normalized, byChannel, apply(normalized, tf.layers.reLU())];
  },
  'shared layers': x => {
    const {layer, after} = shared();
    const first = apply(apply(x, conv(16)), layer, after, tf.layers.reLU());
    return apply(first, layer, after, tf.layers.reLU({maxValue: 6}), layer);
  },
};

/** A model of small pictures. */
export function chainModel(layers: Layers, shape = [9, 8, 3]): tf.LayersModel {
  const input = tf.input({shape});
  return tf.model({inputs: input, outputs: layers(input)});
}

/** Kernels of size 1 around a depthwise one, of sizes that a seed chooses. */
export function randomChain(seed: number): {layers: Layers; shape: number[]} {
  const random = randomFrom(seed);
  const whole = (from: number, to: number) => from + Math.floor(random() * (to - from + 1));
  const relu = () => tf.layers.reLU(random() < 0.5 ? {} : {maxValue: whole(1, 6)});
  const [first, last] = [small(whole(2, 9), {useBias: random() < 0.5}), small(whole(2, 9))];
  const kernelSize: [number, number] = [whole(1, 5), whole(1, 5)];
  const stride = whole(1, 3);
  const middle = depthwise({kernelSize, strides: stride, padding: random() < 0.5 ? 'same' : 'valid'});
  const layers = [first, norm(), relu(), middle, norm(), ...(random() < 0.5 ? [] : [relu()]), last, norm()];
  return {layers: x => apply(x, ...layers), shape: [whole(5, 12), whole(5, 12), whole(1, 6)]};
}
