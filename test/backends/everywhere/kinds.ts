import * as tf from '@tensorflow/tfjs';
import type {ACTIVATIONS} from '../../helpers';

/** An activation of tfjs. */
export type Activation = (typeof ACTIVATIONS)[number];

/** What the suite gives a layer: a name, the shape of the input if it is the first of a model, and an activation if it has one. */
export interface LayerArgs {
  name: string;
  inputShape?: number[];
  activation?: Activation;
}

/** A kind of layer that can be adapted, small, and with another number of channels out than in. */
export interface Kind {
  name: string;
  layer(args: LayerArgs): tf.layers.Layer;
  /** Of one example. What the layer answers has to be of rank 3 at least, the batch included, and an input for another such layer. */
  inputShape: number[];
  /** Inputs are whole numbers below this, not differentiable, and no layer of the kind can follow another. */
  tokens?: number;
  /** Whether the layer has an `activation`. Default: true. */
  activates?: boolean;
}

const {layers} = tf;

/** Every kind of layer that can be adapted: a row each is all that the suite needs to know. */
export const KINDS: readonly Kind[] = [
  {name: 'Dense', inputShape: [3, 5], layer: args => layers.dense({units: 4, ...args})},
  {name: 'Conv1D', inputShape: [7, 3], layer: args => layers.conv1d({filters: 4, kernelSize: 3, ...args})},
  {name: 'Conv2D', inputShape: [6, 7, 2], layer: args => layers.conv2d({filters: 5, kernelSize: 3, ...args})},
  {
    name: 'Conv2D, dilated',
    inputShape: [6, 7, 2],
    layer: args => layers.conv2d({filters: 5, kernelSize: 2, dilationRate: 2, padding: 'same', ...args}),
  },
  {
    name: 'Conv2DTranspose',
    inputShape: [3, 4, 3],
    layer: args => layers.conv2dTranspose({filters: 4, kernelSize: 3, strides: 2, padding: 'same', ...args}),
  },
  {name: 'Conv3D', inputShape: [4, 5, 4, 2], layer: args => layers.conv3d({filters: 4, kernelSize: 2, ...args})},
  {
    name: 'Conv3D, strided',
    inputShape: [4, 5, 4, 2],
    layer: args => layers.conv3d({filters: 4, kernelSize: 2, strides: [1, 2, 2], padding: 'same', ...args}),
  },
];
