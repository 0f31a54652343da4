import * as tf from '@tensorflow/tfjs';

// Layers of a user's own, in the ways in which users write them.

/** `y = tanh(x·M)`, with one weight and nothing else. */
export class Mix extends tf.layers.Layer {
  static readonly className = 'Mix';
  readonly units: number;
  private kernel!: tf.LayerVariable;

  constructor(args: {units: number; name?: string; inputShape?: number[]}) {
    super(args);
    this.units = args.units;
  }

  override build(inputShape: tf.Shape): void {
    const initializer = tf.initializers.randomNormal({seed: 3});
    this.kernel = this.addWeight('mix_Kernel', [inputShape.at(-1)!, this.units], 'float32', initializer);
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    const x = [inputs].flat()[0] as tf.Tensor;
    return tf.tidy(() => {
      const rows = tf.reshape<tf.Rank.R2>(x, [-1, x.shape.at(-1)!]);
      const y = tf.tanh(tf.matMul(rows, this.kernel.read() as tf.Tensor2D));
      return tf.reshape(y, this.computeOutputShape(x.shape) as number[]);
    });
  }

  override computeOutputShape(inputShape: tf.Shape): tf.Shape {
    return [...inputShape.slice(0, -1), this.units];
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), units: this.units};
  }
}
tf.serialization.registerClass(Mix);

/** What a call of a {@link Pair} was given. */
export interface PairCall {
  training: unknown;
  mask: unknown;
}

/**
 * Two sequences in, two tensors out, with a kernel `[in, heads, size]`, one `[heads, size, out]`, a bias and a table of
 * no use for an update. It keeps what it was called with, and fails when told to.
 */
export class Pair extends tf.layers.Layer {
  static readonly className = 'Pair';
  readonly heads: number;
  readonly size: number;
  readonly calls: PairCall[] = [];
  fails = false;
  private spread!: tf.LayerVariable;
  private gather!: tf.LayerVariable;
  private bias!: tf.LayerVariable;

  constructor(args: {heads: number; size: number; name?: string}) {
    super(args);
    this.heads = args.heads;
    this.size = args.size;
    this.supportsMasking = true;
  }

  override build([shape]: tf.Shape[]): void {
    const width = shape!.at(-1)!;
    const start = (seed: number) => tf.initializers.randomNormal({seed, stddev: 0.5});
    this.spread = this.addWeight('spread', [width, this.heads, this.size], 'float32', start(1));
    this.gather = this.addWeight('gather', [this.heads, this.size, width], 'float32', start(2));
    this.bias = this.addWeight('bias', [width], 'float32', start(3));
    this.addWeight('ids', [2, 2], 'int32', tf.initializers.zeros(), undefined, false);
    this.built = true;
  }

  override call(inputs: tf.Tensor[], {training, mask}: Record<string, unknown>): tf.Tensor[] {
    this.calls.push({training, mask});
    return tf.tidy(() => {
      const [x, y] = inputs as [tf.Tensor, tf.Tensor];
      const width = x.shape.at(-1)!;
      const inner = this.heads * this.size;
      const flat = tf.matMul(tf.reshape(x, [-1, width]), tf.reshape<tf.Rank.R2>(this.spread.read(), [width, inner]));
      if (this.fails) {
        throw new Error('told to fail');
      }
      const back = tf.matMul(tf.sigmoid(flat), tf.reshape<tf.Rank.R2>(this.gather.read(), [inner, width]));
      const out = tf.reshape(tf.add(back, this.bias.read()), x.shape);
      return [out, tf.mul(out, y)];
    });
  }

  override computeOutputShape(inputShape: tf.Shape[]): tf.Shape[] {
    return [inputShape[0]!, inputShape[0]!];
  }

  override computeMask(_inputs: tf.Tensor[], mask?: tf.Tensor[]): tf.Tensor {
    return (mask ?? [null, null]) as unknown as tf.Tensor;
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), heads: this.heads, size: this.size};
  }
}
tf.serialization.registerClass(Pair);

/** `y = x + dense(mix(x))`: holds two layers, whose weights it lists as its own. */
export class Block extends tf.layers.Layer {
  static readonly className = 'Block';
  private readonly parts: tf.layers.Layer[];
  readonly units: number;

  constructor(args: {units: number; name?: string; inputShape?: number[]}) {
    super(args);
    this.units = args.units;
    this.parts = [];
  }

  override build(inputShape: tf.Shape): void {
    this.parts.push(
      new Mix({units: this.units, name: 'inner'}),
      tf.layers.dense({units: inputShape.at(-1)!, name: 'outer'}),
    );
    // Applied to symbols, each builds under its own name.
    this.parts.reduce((x, part) => part.apply(x) as tf.SymbolicTensor, tf.input({batchShape: inputShape}));
    this._trainableWeights = this.parts.flatMap(part => part.weights);
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    const x = [inputs].flat()[0]!;
    return tf.tidy(() =>
      tf.add(
        x,
        this.parts.reduce((y, part) => part.apply(y) as tf.Tensor, x),
      ),
    );
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), units: this.units};
  }
}
tf.serialization.registerClass(Block);

/** `y = x·W − m`, with `m` a running mean that it writes itself in training, as a normalization of one's own does. */
export class Centred extends tf.layers.Layer {
  static readonly className = 'Centred';
  private kernel!: tf.LayerVariable;
  private mean!: tf.LayerVariable;

  override build(inputShape: tf.Shape): void {
    const width = inputShape.at(-1)!;
    const start = (seed: number) => tf.initializers.randomNormal({seed, stddev: 0.5});
    this.kernel = this.addWeight('kernel', [width, width], 'float32', start(1));
    this.mean = this.addWeight('running_mean', [width], 'float32', start(2), undefined, false);
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], {training}: Record<string, unknown>): tf.Tensor {
    return tf.tidy(() => {
      const z = tf.matMul([inputs].flat()[0]!, this.kernel.read());
      if (training === true) {
        this.mean.write(tf.add(tf.mul(this.mean.read(), 0.9), tf.mul(tf.mean(z, 0), 0.1)));
      }
      return tf.sub(z, this.mean.read());
    });
  }
}
tf.serialization.registerClass(Centred);
