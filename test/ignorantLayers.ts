import * as tf from '@tensorflow/tfjs';
import {random} from './helpers';
import {type Specimen, stir} from './models';

// Layers as many write them: the constructor takes no config, so that tfjs gives each rebuilt layer a new automatic
// name.

type Inputs = tf.Tensor | tf.Tensor[];

/** An activation of one's own. */
export class Gelu extends tf.layers.Layer {
  static readonly className = 'TestGelu';

  constructor() {
    super({});
  }

  override computeOutputShape(inputShape: tf.Shape): tf.Shape {
    return inputShape;
  }

  override call(inputs: Inputs): tf.Tensor {
    return tf.tidy(() => {
      const x = [inputs].flat()[0]!;
      return tf.mul(x, tf.sigmoid(tf.mul(x, 1.702)));
    });
  }
}

/** The positive and the negative part side by side: twice as wide as its input. It lists no config at all. */
export class BothParts extends tf.layers.Layer {
  static readonly className = 'TestBothParts';

  constructor() {
    super({});
    this.supportsMasking = true;
  }

  override computeOutputShape(inputShape: tf.Shape): tf.Shape {
    return [...inputShape.slice(0, -1), 2 * inputShape.at(-1)!];
  }

  override call(inputs: Inputs): tf.Tensor {
    return tf.tidy(() => {
      const x = [inputs].flat()[0]!;
      return tf.concat([tf.relu(x), tf.relu(tf.neg(x))], -1);
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {};
  }
}

/** A residual branch made weaker. */
export class Weaken extends tf.layers.Layer {
  static readonly className = 'TestWeaken';
  readonly beta: number;

  constructor() {
    super({});
    this.beta = 0.2;
  }

  override call(inputs: Inputs): tf.Tensor {
    return tf.mul([inputs].flat()[0]!, this.beta);
  }
}

/** Moves channels into space, as upscalers end. */
export class Shuffle extends tf.layers.Layer {
  static readonly className = 'TestShuffle';
  readonly scale: number;

  constructor() {
    super({});
    this.scale = 2;
  }

  override computeOutputShape([rows, height, width, channels]: tf.Shape): tf.Shape {
    const {scale} = this;
    const grown = (size: number | null | undefined) => (size == null ? null : size * scale);
    return [rows!, grown(height), grown(width), channels! / scale ** 2];
  }

  override call(inputs: Inputs): tf.Tensor {
    return tf.depthToSpace([inputs].flat()[0] as tf.Tensor4D, this.scale, 'NHWC');
  }
}

/** Adds a vector that trains. */
export class Shift extends tf.layers.Layer {
  static readonly className = 'TestShift';
  private shift!: tf.LayerVariable;

  constructor() {
    super({});
  }

  override build(inputShape: tf.Shape): void {
    this.shift = this.addWeight('shift', [inputShape.at(-1)!], 'float32', tf.initializers.randomNormal({seed: 4}));
    this.built = true;
  }

  override call(inputs: Inputs): tf.Tensor {
    return tf.add([inputs].flat()[0]!, this.shift.read());
  }
}

/** A latent vector from a mean and a logarithm of a variance; here without chance, so that it can be compared. */
export class Latent extends tf.layers.Layer {
  static readonly className = 'TestLatent';

  override computeOutputShape([mean]: tf.Shape[]): tf.Shape {
    return mean!;
  }

  override call(inputs: Inputs): tf.Tensor {
    const [mean, logVariance] = inputs as [tf.Tensor, tf.Tensor];
    return tf.tidy(() => tf.add(mean, tf.exp(tf.mul(logVariance, 0.5))));
  }
}
[Gelu, BothParts, Weaken, Shuffle, Shift, Latent].forEach(each => {
  tf.serialization.registerClass(each);
});

const {layers} = tf;
const symbol = (value: unknown) => value as tf.SymbolicTensor;

function specimen(model: tf.LayersModel, shape: number[]): Specimen {
  stir(model);
  return {model, inputs: [random(shape as [number, number], 7)]};
}

/** A sequential model with two layers whose names tfjs made. */
export function activations(): Specimen {
  const model = tf.sequential({
    layers: [
      layers.dense({units: 6, name: 'hidden', inputShape: [5]}),
      new Gelu(),
      layers.dense({units: 4, name: 'middle'}),
      new BothParts(),
      layers.dense({units: 3, name: 'head'}),
    ],
  });
  return specimen(model, [4, 5]);
}

/** Residual blocks of convolutions, each weakened, then a shuffle; the same weakening twice in a row. */
export function upscaler(): Specimen {
  const conv = (name: string, filters: number) => layers.conv2d({filters, kernelSize: 3, padding: 'same', name});
  const input = tf.input({shape: [null, null, 2], name: 'small'});
  let x = symbol(conv('first', 4).apply(input));
  for (const block of [1, 2]) {
    const branch = symbol(conv(`block${block}`, 4).apply(x));
    x = symbol(layers.add({name: `sum${block}`}).apply([x, symbol(new Weaken().apply(branch))]));
  }
  const outputs = symbol(new Shuffle().apply(symbol(conv('last', 8).apply(x))));
  return specimen(tf.model({inputs: input, outputs}), [2, 4, 4, 2]);
}

/** Such layers in a nested model with slashes in its names, in a `TimeDistributed`, shared, and with a weight. */
export function blocks(): Specimen {
  const inner = tf.input({shape: [3, 4], name: 'net/h0/input'});
  const gelu = new Gelu();
  let x = symbol(layers.dense({units: 4, name: 'net/h0/mlp/fc'}).apply(inner));
  x = symbol(gelu.apply(x));
  x = symbol(gelu.apply(symbol(layers.dense({units: 4, name: 'net/h0/mlp/proj'}).apply(x))));
  const block = tf.model({inputs: inner, outputs: symbol(new Shift().apply(x)), name: 'net/h0'});
  const input = tf.input({shape: [3, 4], name: 'tokens'});
  let y = symbol(block.apply(input));
  y = symbol(layers.timeDistributed({layer: new Gelu(), name: 'each'}).apply(y));
  y = symbol(new Shift().apply(y));
  return specimen(
    tf.model({inputs: input, outputs: symbol(layers.dense({units: 2, name: 'head'}).apply(y))}),
    [2, 3, 4],
  );
}

/** A variational autoencoder: a nested model called on its own input. */
export function autoencoder(): Specimen {
  const input = tf.input({shape: [5], name: 'encoder_input'});
  const hidden = symbol(layers.dense({units: 6, activation: 'relu', name: 'encoder_hidden'}).apply(input));
  const mean = symbol(layers.dense({units: 2, name: 'mean'}).apply(hidden));
  const logVariance = symbol(layers.dense({units: 2, name: 'log_variance'}).apply(hidden));
  const latent = symbol(new Latent({name: 'latent'}).apply([mean, logVariance]));
  const encoder = tf.model({inputs: input, outputs: [mean, logVariance, latent], name: 'encoder'});

  const code = tf.input({shape: [2], name: 'code'});
  const outputs = layers.dense({units: 5, activation: 'sigmoid', name: 'pixels'}).apply(code);
  const decoder = tf.model({inputs: code, outputs: symbol(outputs), name: 'decoder'});

  const encoded = encoder.apply(encoder.inputs) as tf.SymbolicTensor[];
  const decoded = symbol(decoder.apply(encoded[2]!));
  return specimen(tf.model({inputs: encoder.inputs, outputs: [decoded, ...encoded]}), [4, 5]);
}

/** One that starts and ends on the inputs of others, and a layer without weights in two containers. */
export function sharedFlatten(): Specimen {
  const act = new Gelu();
  const inner = tf.sequential({layers: [layers.dense({units: 5, name: 'inside', inputShape: [5]}), act], name: 'body'});
  const input = tf.input({shape: [5], name: 'in'});
  const outside = symbol(act.apply(symbol(inner.apply(input))));
  return specimen(
    tf.model({inputs: input, outputs: symbol(layers.dense({units: 3, name: 'head'}).apply(outside))}),
    [4, 5],
  );
}

/** Models that tfjs rebuilds from their JSON, though not under their names. */
export const IGNORANT: [name: string, make: () => Specimen][] = [
  ['activations of its own', activations],
  ['an upscaler', upscaler],
  ['nested blocks with slashes in their names', blocks],
  ['an autoencoder', autoencoder],
  ['a layer without weights in two containers', sharedFlatten],
];
