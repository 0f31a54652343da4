import * as tf from '@tensorflow/tfjs';

// Two custom layers, since tfjs has no attention layer. They know nothing about LoRA.

/** Causal multi-head self-attention: `[n, t, width] → [n, t, width]`. */
export class CausalSelfAttention extends tf.layers.Layer {
  static readonly className = 'CausalSelfAttention';
  private readonly heads: number;
  private readonly seed: number;
  private attention!: tf.LayerVariable;
  private projection!: tf.LayerVariable;

  constructor(args: {heads: number; seed: number; name?: string}) {
    super(args);
    this.heads = args.heads;
    this.seed = args.seed;
  }

  override build(inputShape: tf.Shape): void {
    const width = inputShape.at(-1)!;
    const start = (seed: number) => tf.initializers.glorotUniform({seed});
    this.attention = this.addWeight('attn_kernel', [width, 3 * width], 'float32', start(this.seed));
    this.projection = this.addWeight('proj_kernel', [width, width], 'float32', start(this.seed + 1));
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => {
      const x = [inputs].flat()[0] as tf.Tensor3D;
      const [n, t, width] = x.shape;
      const size = width / this.heads;
      const byHead = (part: tf.Tensor) => tf.transpose(tf.reshape(part, [n, t, this.heads, size]), [0, 2, 1, 3]);
      const [q, k, v] = tf.split(times(x, this.attention.read()), 3, 2).map(byHead) as [
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
      ];
      const scores = tf.div(tf.matMul(q, k, false, true), Math.sqrt(size)); // [n, heads, t, t]
      const seen = tf.matMul(tf.softmax(tf.add(scores, future(t))), v); // [n, heads, t, size]
      return times(tf.reshape(tf.transpose(seen, [0, 2, 1, 3]), [n, t, width]), this.projection.read());
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), heads: this.heads, seed: this.seed};
  }
}
tf.serialization.registerClass(CausalSelfAttention);

/** Adds position embeddings: `[n, t, width] → [n, t, width]`. */
export class Positions extends tf.layers.Layer {
  static readonly className = 'Positions';
  private readonly seed: number;
  private table!: tf.LayerVariable;

  constructor(args: {seed: number; name?: string}) {
    super(args);
    this.seed = args.seed;
  }

  override build(inputShape: tf.Shape): void {
    const [, t, width] = inputShape as number[];
    const start = tf.initializers.randomNormal({stddev: 0.5, seed: this.seed});
    this.table = this.addWeight('table', [t!, width!], 'float32', start);
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => tf.add([inputs].flat()[0]!, this.table.read()));
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), seed: this.seed};
  }
}
tf.serialization.registerClass(Positions);

/** `[n, t, in] · [in, out] → [n, t, out]`. tfjs computes a wrong gradient for a product of rank 3 and rank 2. */
function times(x: tf.Tensor, kernel: tf.Tensor): tf.Tensor3D {
  const [n = 1, t = 1, width = 1] = x.shape;
  const product = tf.matMul(tf.reshape<tf.Rank.R2>(x, [n * t, width]), kernel);
  return tf.reshape(product, [n, t, -1]);
}

/** Nearly minus infinity for each later position: `[t, t]`. */
function future(t: number): tf.Tensor2D {
  const ahead = Array.from({length: t}, (_, row) => Array.from({length: t}, (_, column) => (column > row ? -1e9 : 0)));
  return tf.tensor2d(ahead);
}
