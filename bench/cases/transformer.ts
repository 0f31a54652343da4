import * as tf from '@tensorflow/tfjs';
import type {BenchCase} from './case';
import {layerNames} from './tools';

const BATCH = 16;
const SEQUENCE = 64;
const WIDTH = 256;
const HEADS = 4;

/** Makes the layers of a block that tfjs has not, or has in another form. */
export interface BlockLayers {
  readonly attention: (args: {name: string; heads: number}) => tf.layers.Layer;
  readonly norm: (args: {name: string}) => tf.layers.Layer;
  readonly activation: (args: {name: string}) => tf.layers.Layer;
}

/** A block of an encoder. */
export function blockOf({attention, norm, activation}: BlockLayers): tf.LayersModel {
  const dense = (name: string, units: number) => tf.layers.dense({name, units});
  const input = tf.input({shape: [SEQUENCE, WIDTH]});
  const normed = norm({name: 'attention_norm'}).apply(input);
  const [q, k, v] = ['q', 'k', 'v'].map(name => dense(name, WIDTH).apply(normed));
  const mixed = attention({name: 'attention', heads: HEADS}).apply([q, k, v] as tf.SymbolicTensor[]);
  const attended = add(input, dense('proj', WIDTH).apply(mixed));
  const hidden = norm({name: 'mlp_norm'}).apply(attended);
  const expanded = activation({name: 'mlp_activation'}).apply(dense('mlp_up', 4 * WIDTH).apply(hidden));
  return tf.model({inputs: input, outputs: add(attended, dense('mlp_down', WIDTH).apply(expanded))});
}

export const transformer: BenchCase = {
  title: (examples = BATCH) =>
    `transformer block: width ${WIDTH}, ${HEADS} heads, sequence ${SEQUENCE}, batch ${examples}, rank 8 on every Dense`,
  loss: 'meanSquaredError',
  build: () =>
    Promise.resolve(
      blockOf({
        attention: args => new Attention(args),
        norm: args => tf.layers.layerNormalization(args),
        activation: args => tf.layers.activation({...args, activation: 'relu'}),
      }),
    ),
  batch: (examples = BATCH) => ({
    xs: tf.randomNormal([examples, SEQUENCE, WIDTH]),
    ys: tf.randomNormal([examples, SEQUENCE, WIDTH]),
  }),
  targets: model => ({rank: 8, targets: layerNames(model, 'Dense')}),
};

function add(...inputs: (tf.SymbolicTensor | tf.Tensor | tf.Tensor[] | tf.SymbolicTensor[])[]) {
  return tf.layers.add().apply(inputs as tf.SymbolicTensor[]) as tf.SymbolicTensor;
}

interface AttentionArgs {
  name: string;
  heads: number;
}

/** `softmax(q·kᵀ/√d)·v`, head by head. It has no weights, and tfjs has no layer of the kind. */
class Attention extends tf.layers.Layer {
  static readonly className = 'BenchAttention';
  private readonly heads: number;

  constructor({heads, ...args}: AttentionArgs) {
    super(args);
    this.heads = heads;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return inputShape[0] as tf.Shape;
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => {
      const [q, k, v] = (inputs as tf.Tensor3D[]).map(x => this.split(x)); // [n, heads, sequence, d]
      const depth = q!.shape[3]!;
      const scores = tf.mul(tf.matMul(q!, k!, false, true), 1 / Math.sqrt(depth));
      return this.merge(tf.matMul(tf.softmax(scores), v!));
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), heads: this.heads};
  }

  private split(x: tf.Tensor3D): tf.Tensor {
    const [n, sequence, width] = x.shape;
    const parts = tf.reshape(x, [n, sequence, this.heads, width / this.heads]);
    return tf.transpose(parts, [0, 2, 1, 3]);
  }

  private merge(x: tf.Tensor): tf.Tensor {
    const [n, heads, sequence, depth] = x.shape as [number, number, number, number];
    return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [n, sequence, heads * depth]);
  }
}
tf.serialization.registerClass(Attention);
