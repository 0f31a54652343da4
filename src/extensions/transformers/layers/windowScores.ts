import * as tf from '@tensorflow/tfjs';
import {count, flag, type FormulaLayer, nullable} from '../../../core/layers/formulaLayer';
import type {Forward} from '../../../core/layers/forward';
import {PLAIN_FORWARDS} from '../../../core/layers/plainForwards';
import {TENSOR_OPS} from '../../../core/ops/formulaOps';
import {registerKernelModules} from '../../../core/peft/kernelModules';
import {registerOwn} from '../../../platform/tfjs/configs';
import {learns} from '../../../platform/tfjs/lazyOp';
import {definedLayer, defineLayer} from './definedLayer';
import {checkShift, gridOf, WINDOW_SETTINGS, windowsMisfit, type WindowSettings} from './windows';

const SETTINGS = {...WINDOW_SETTINGS, heads: count()};

interface ScoreSettings extends WindowSettings {
  readonly heads: number;
}

/** A layer whose result is added to the scores of attention within windows. */
interface WindowScores extends FormulaLayer<ScoreSettings> {
  /** Added to the scores of positions that are no neighbors in the image. */
  readonly apartBy: number;
  /** The scores of all pairs of positions in a window, `[1, heads, size², size²]`. */
  bias(): tf.Tensor4D;
  /** The score of each distance between two positions, `[(2·size − 1)², heads]`. */
  distances(): tf.Tensor2D;
}

function shapeOfScores({heads, size}: ScoreSettings): tf.Shape {
  return [null, heads, size ** 2, size ** 2];
}

function scoresOf(layer: WindowScores, x: tf.Tensor): tf.Tensor {
  const {rows, columns, shift} = gridOf(TENSOR_OPS, x, layer.settings);
  const bias = layer.bias();
  return shift === 0 ? bias : tf.add(bias, tf.mul(apartOf(layer.settings.size, rows, columns, shift), layer.apartBy));
}

/** The same, computed once for all steps if the weights are frozen. */
const frozen: Forward = (layer, x, {prepared}) => {
  const weights = layer.weights.map(weight => weight.read());
  if (weights.some(learns)) {
    return scoresOf(layer as WindowScores, x);
  }
  const grid = Object.values(gridOf(TENSOR_OPS, x, (layer as WindowScores).settings)).join();
  const [scores] = prepared.get(weights, () => [scoresOf(layer as WindowScores, x)] as const, grid);
  return tf.clone(scores); // tfjs disposes of what a layer returns
};

function biasOf(layer: WindowScores): tf.Tensor4D {
  const {heads, size} = layer.settings;
  return tf.tidy(() => {
    const values = tf.gather(layer.distances(), tf.tensor1d(distanceIndices(size), 'int32')); // [size⁴, heads]
    return tf.reshape(tf.transpose(values), [1, heads, size ** 2, size ** 2]);
  });
}

/** 1 for pairs of positions that the shift brought together, `[windows, 1, size², size²]`. */
function apartOf(size: number, rows: number, columns: number, shift: number): tf.Tensor4D {
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
export class WindowBias
  extends definedLayer({
    settings: SETTINGS,
    check: checkShift,
    misfit: ([features], settings) => windowsMisfit(features, settings),
    weights: ({size, heads}) => ({
      table: {shape: [(2 * size - 1) ** 2, heads], start: tf.initializers.truncatedNormal({stddev: 0.02})},
    }),
    shape: (_, settings) => shapeOfScores(settings),
  })
  implements WindowScores
{
  static readonly className = 'tfjs-lora/transformers>WindowBias';
  readonly apartBy = -100;
  readonly bias = () => biasOf(this);
  readonly distances = () => this.variables.table.variable.read() as tf.Tensor2D;

  protected override compute([x]: [tf.Tensor]): tf.Tensor {
    return scoresOf(this, x);
  }
}
registerOwn(WindowBias);
PLAIN_FORWARDS[WindowBias.className] = frozen;

/** The values between both layers of the network of a continuous bias. */
export const BIAS_WIDTH = 512;

/**
 * The bias of {@link WindowBias} as the result of a small network, of logarithmic distances: `16·sigmoid(relu(d·W₀ +
 * b₀)·W₁)`. (Liu et al., "Swin Transformer V2", arXiv 2111.09883, §3.3.)
 *
 * `pretrained` is the edge of the windows in pretraining, if that is another one.
 *
 * @experimental
 */
export class ContinuousWindowBias
  extends definedLayer({
    settings: {...SETTINGS, pretrained: nullable(count())},
    check: checkShift,
    misfit: ([features], settings) => windowsMisfit(features, settings),
    weights: ({heads}) => ({
      kernel_0: {shape: [2, BIAS_WIDTH], start: tf.initializers.glorotUniform({})},
      bias_0: {shape: [BIAS_WIDTH], start: tf.initializers.zeros()},
      kernel_1: {shape: [BIAS_WIDTH, heads], start: tf.initializers.glorotUniform({})},
    }),
    shape: (_, settings) => shapeOfScores(settings),
  })
  implements WindowScores
{
  static readonly className = 'tfjs-lora/transformers>ContinuousWindowBias';
  /** transformers adds it twice. */
  readonly apartBy = -200;
  readonly bias = () => biasOf(this);

  readonly distances = (): tf.Tensor2D => {
    const {size, pretrained} = this.settings;
    const span = 2 * size - 1;
    const most = (pretrained ?? size) - 1;
    const spread = Array.from({length: span}, (_, i) => {
      const distance = (8 * (i - size + 1)) / (pretrained === null && size === 1 ? 1 : most);
      return (Math.sign(distance) * Math.log2(Math.abs(distance) + 1)) / 3;
    });
    const pairs = spread.flatMap(down => spread.map(across => [down, across]));
    const [first, bias, second] = Object.values(this.variables).map(({variable}) => variable.read()) as [
      tf.Tensor2D,
      tf.Tensor1D,
      tf.Tensor2D,
    ];
    const hidden = tf.relu<tf.Tensor2D>(tf.add(tf.matMul(tf.tensor2d(pairs), first), bias));
    return tf.mul(tf.sigmoid(tf.matMul(hidden, second)), 16);
  };

  protected override compute([x]: [tf.Tensor]): tf.Tensor {
    return scoresOf(this, x);
  }
}
registerOwn(ContinuousWindowBias);
registerKernelModules(ContinuousWindowBias.className, {kernel_0: '0', kernel_1: '2'});
PLAIN_FORWARDS[ContinuousWindowBias.className] = frozen;

/** The largest factor of cosines. */
const MAX_LOG_SCALE = Math.log(100);

/**
 * Gives each head of queries or keys the length 1, and with `scaled` multiplies it by a learned factor, so that their
 * products are scaled cosines: `[batch, positions, heads·size]`. (Liu et al., arXiv 2111.09883, §3.2.)
 *
 * @experimental
 */
export const UnitHeads = defineLayer('UnitHeads', {
  settings: {heads: count(), scaled: flag(false)},
  weights: ({heads, scaled}) => ({
    ...(scaled && {
      logit_scale: {shape: [heads], start: tf.initializers.constant({value: Math.log(10)}), form: [heads, 1]},
    }),
  }),
  formula(o, [x], {heads}, w, [shape]) {
    const width = Number(shape[2]);
    const byHead = o.reshape(x, [0, 0, heads, width / heads]);
    const unit = o.div(byHead, o.sqrt(o.max(o.sum(o.square(byHead), [3]), 1e-24)));
    const {logit_scale: scale} = w;
    return o.reshape(scale === undefined ? unit : o.mul(unit, o.exp(o.min(scale, MAX_LOG_SCALE))), [0, 0, width]);
  },
});
