import * as tf from '@tensorflow/tfjs';
import {checkCount} from '../../../platform/errors';
import {asFloat, type Forward, onlyTensor} from '../../../core/layers/forward';
import {PLAIN_FORWARDS} from '../../../core/layers/plainForwards';
import type {CallArgs} from '../../../core/layers/wrapperLayer';
import {registerKernelModules} from '../../../core/peft/kernelModules';
import {registerOwn} from '../../../platform/tfjs/configs';
import {learns} from '../../../platform/tfjs/lazyOp';
import {type WindowArgs, WindowLayer} from './windows';

/** Arguments of {@link WindowBias}. */
export interface WindowBiasArgs extends WindowArgs {
  heads: number;
}

/** A layer whose result is added to the scores of attention within windows. */
abstract class WindowScores extends WindowLayer {
  protected readonly heads: number;
  /** Added to the scores of positions that are no neighbors in the image. */
  readonly apartBy: number = -100;

  constructor({heads, ...rest}: WindowBiasArgs) {
    checkCount('heads', heads);
    super(rest);
    this.heads = heads;
  }

  override computeOutputShape(): tf.Shape {
    return [null, this.heads, this.size ** 2, this.size ** 2];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    return this.scores(onlyTensor(inputs));
  }

  /** What is added to the scores of the windows of features. */
  private scores(x: tf.Tensor): tf.Tensor {
    const {rows, columns, shift} = this.gridOf(x);
    const bias = this.bias();
    return shift === 0 ? bias : tf.add(bias, tf.mul(this.apartOf(rows, columns, shift), this.apartBy));
  }

  /**
   * The same, computed once for all steps if the weights are frozen.
   *
   * @internal
   */
  static readonly frozen: Forward = (layer, x, {prepared}) => {
    const own = layer as WindowScores;
    const weights = own.weights.map(weight => weight.read());
    if (weights.some(learns)) {
      return own.scores(x);
    }
    const grid = Object.values(own.gridOf(x)).join();
    const [scores] = prepared.get(weights, () => [own.scores(x)] as const, grid);
    return tf.clone(scores); // tfjs disposes of what a layer returns
  };

  /** The scores of all pairs of positions in a window, `[1, heads, size², size²]`. */
  bias(): tf.Tensor4D {
    return tf.tidy(() => {
      const {heads, size} = this;
      const count = size ** 2;
      const values = tf.gather(this.distances(), tf.tensor1d(distanceIndices(size), 'int32')); // [size⁴, heads]
      return tf.reshape(tf.transpose(values), [1, heads, count, count]);
    });
  }

  /** The score of each distance between two positions, `[(2·size − 1)², heads]`. */
  protected abstract distances(): tf.Tensor2D;

  /** 1 for pairs of positions that the shift brought together, `[windows, 1, size², size²]`. */
  private apartOf(rows: number, columns: number, shift: number): tf.Tensor4D {
    const {size} = this;
    const regions = (windows: number) =>
      Array.from(
        {length: windows * size},
        (_, i) => Number(i >= windows * size - size) + Number(i >= windows * size - shift),
      );
    const [down, across] = [regions(rows), regions(columns)];
    const count = size ** 2;
    const values = new Float32Array(rows * columns * count * count);
    let at = 0;
    for (let window = 0; window < rows * columns; window++) {
      const [top, left] = [Math.floor(window / columns) * size, (window % columns) * size];
      const ofWindow = Array.from(
        {length: count},
        (_, i) => 3 * (down[top + Math.floor(i / size)] as number) + (across[left + (i % size)] as number),
      );
      for (const one of ofWindow) {
        for (const other of ofWindow) {
          values[at++] = one === other ? 0 : 1;
        }
      }
    }
    return tf.tensor4d(values, [rows * columns, 1, count, count]);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), heads: this.heads};
  }
}

/** For each pair of positions in a window the row of their distance, `[size⁴]`. */
function distanceIndices(size: number): Int32Array {
  const count = size ** 2;
  const span = 2 * size - 1;
  return Int32Array.from({length: count * count}, (_, pair) => {
    const [query, key] = [Math.floor(pair / count), pair % count];
    const down = Math.floor(query / size) - Math.floor(key / size) + size - 1;
    return down * span + (query % size) - (key % size) + size - 1;
  });
}

/**
 * A learned bias for the distance of two positions in a window, as a bias of `Attention`: features `[batch, height,
 * width, channels]` → `[1 or windows, heads, size², size²]`. If the windows are shifted, positions that are no
 * neighbors in the image hardly attend to each other.
 *
 * @experimental
 */
export class WindowBias extends WindowScores {
  static readonly className = 'tfjs-lora/transformers>WindowBias';
  private table!: tf.LayerVariable;

  override build(): void {
    const start = tf.initializers.truncatedNormal({stddev: 0.02});
    this.table = this.addWeight('table', [(2 * this.size - 1) ** 2, this.heads], 'float32', start);
    this.built = true;
  }

  protected distances(): tf.Tensor2D {
    return this.table.read() as tf.Tensor2D;
  }
}
registerOwn(WindowBias);
PLAIN_FORWARDS[WindowBias.className] = WindowScores.frozen;

/** Arguments of {@link ContinuousWindowBias}. */
export interface ContinuousWindowBiasArgs extends WindowBiasArgs {
  /** The edge of the windows in pretraining. Default: `size`. */
  pretrained?: number | null;
}

/** The values between both layers of the network of a continuous bias. */
export const BIAS_WIDTH = 512;

/**
 * The bias of {@link WindowBias} as the result of a small network, of logarithmic distances: `16·sigmoid(relu(d·W₀ +
 * b₀)·W₁)`. (Liu et al., "Swin Transformer V2", arXiv 2111.09883, §3.3.)
 *
 * @experimental
 */
export class ContinuousWindowBias extends WindowScores {
  static readonly className = 'tfjs-lora/transformers>ContinuousWindowBias';
  /** transformers adds it twice. */
  override readonly apartBy = -200;
  private readonly pretrained: number | null;
  private readonly parts: tf.LayerVariable[] = [];

  constructor({pretrained = null, ...rest}: ContinuousWindowBiasArgs) {
    if (pretrained !== null) {
      checkCount('pretrained', pretrained);
    }
    super(rest);
    this.pretrained = pretrained;
  }

  override build(): void {
    const start = tf.initializers.glorotUniform({});
    this.parts.push(
      this.addWeight('kernel_0', [2, BIAS_WIDTH], 'float32', start),
      this.addWeight('bias_0', [BIAS_WIDTH], 'float32', tf.initializers.zeros()),
      this.addWeight('kernel_1', [BIAS_WIDTH, this.heads], 'float32', start),
    );
    this.built = true;
  }

  protected distances(): tf.Tensor2D {
    const {size} = this;
    const span = 2 * size - 1;
    const most = (this.pretrained ?? size) - 1;
    const spread = Array.from({length: span}, (_, i) => {
      const distance = (8 * (i - size + 1)) / (this.pretrained === null && size === 1 ? 1 : most);
      return (Math.sign(distance) * Math.log2(Math.abs(distance) + 1)) / 3;
    });
    const pairs = spread.flatMap(down => spread.map(across => [down, across]));
    const [first, bias, second] = this.parts.map(part => part.read()) as [tf.Tensor2D, tf.Tensor1D, tf.Tensor2D];
    const hidden = tf.relu<tf.Tensor2D>(tf.add(tf.matMul(tf.tensor2d(pairs), first), bias));
    return tf.mul(tf.sigmoid(tf.matMul(hidden, second)), 16);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), pretrained: this.pretrained};
  }
}
registerOwn(ContinuousWindowBias);
registerKernelModules(ContinuousWindowBias.className, {kernel_0: '0', kernel_1: '2'});
PLAIN_FORWARDS[ContinuousWindowBias.className] = WindowScores.frozen;

/** The largest factor of cosines. */
const MOST_OF_SCALE = Math.log(100);

/**
 * Gives each head of queries or keys the length 1, and with `scaled` multiplies it by a learned factor, so that their
 * products are scaled cosines: `[batch, positions, heads·size]`. (Liu et al., arXiv 2111.09883, §3.2.)
 *
 * @experimental
 */
export class UnitHeads extends tf.layers.Layer {
  static readonly className = 'tfjs-lora/transformers>UnitHeads';
  private readonly heads: number;
  private readonly scaled: boolean;
  private logScale: tf.LayerVariable | undefined;

  constructor({heads, scaled = false, ...rest}: {heads: number; scaled?: boolean; name?: string}) {
    checkCount('heads', heads);
    super(rest);
    this.heads = heads;
    this.scaled = scaled;
  }

  override build(): void {
    if (this.scaled) {
      const start = tf.initializers.constant({value: Math.log(10)});
      this.logScale = this.addWeight('logit_scale', [this.heads], 'float32', start);
    }
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const x = asFloat(onlyTensor(inputs)) as tf.Tensor3D;
      const [batch, positions, width] = x.shape;
      const byHead = tf.reshape(x, [batch, positions, this.heads, width / this.heads]);
      const norms = tf.sqrt(tf.maximum(tf.sum(tf.square(byHead), -1, true), 1e-24));
      const unit = tf.div(byHead, norms);
      const scale = this.logScale && tf.exp(tf.minimum(this.logScale.read(), MOST_OF_SCALE));
      return tf.reshape(scale ? tf.mul(unit, tf.reshape(scale, [this.heads, 1])) : unit, x.shape);
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), heads: this.heads, scaled: this.scaled};
  }
}
registerOwn(UnitHeads);
