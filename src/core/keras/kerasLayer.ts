import * as tf from '@tensorflow/tfjs';
import {damagedError, misfitError, show, showShape} from '../../platform/errors';
import {channelsLast} from '../layers/convolutions';
import {FusedDepthwiseConv2D} from '../layers/fusedDepthwiseConv2d';
import {registerResetAfterGRU} from '../layers/gruResetAfter';
import {onlyTensor} from '../layers/forward';
import {nearest} from '../../backends/shared/resizing';
import {completedEntry} from '../../platform/tfjs/configs';
import {layerClass, stockClass} from '../../platform/tfjs/stockClass';
import {MaskedBidirectional} from './maskedBidirectional';

type Sizes = readonly [number, number];

/** What a {@link KerasLayer} computes, and its settings in Keras. */
export interface KerasLayerArgs {
  name?: string;
  /** A key of `OPERATIONS`. */
  computes: string;
  maxValue?: number | null;
  negativeSlope?: number;
  threshold?: number;
  scale?: number | number[];
  offset?: number | number[];
  /** The axes of a weight, or those that a pooling or a softmax runs over. */
  axes?: number[];
  keepdims?: boolean;
  mean?: number[];
  variance?: number[];
  invert?: boolean;
  /** The scale of an image's upsampling. */
  factors?: Sizes;
  /** The size that an image is resized or cropped to. */
  sizes?: Sizes;
  interpolation?: 'nearest' | 'bilinear';
  crops?: boolean;
  dataFormat?: 'channelsFirst' | 'channelsLast';
}

interface Operation {
  compute(x: tf.Tensor, args: KerasLayerArgs, weights: tf.Tensor[]): tf.Tensor;
  /** Default: that of the input. */
  shape?(input: tf.Shape, args: KerasLayerArgs): tf.Shape;
  /** The weights, all with the sizes of `axes`. */
  weights?: readonly string[];
}

function imageShape([n = null, ...image]: tf.Shape, {dataFormat, factors, sizes}: KerasLayerArgs): tf.Shape {
  const first = dataFormat === 'channelsFirst';
  const space = (sizes ?? image.slice(first ? 1 : 0, first ? 3 : 2)).map(
    (size, axis) => size && size * (factors?.[axis] ?? 1),
  );
  return first ? [n, image[0] ?? null, ...space] : [n, ...space, image[2] ?? null];
}

/** The operations of Keras that no layer of tfjs computes. */
const OPERATIONS: Readonly<Record<string, Operation>> = {
  relu: {
    compute(x, {maxValue, negativeSlope = 0, threshold = 0}) {
      const above = tf.mul(x, tf.step(tf.sub(x, threshold)));
      const kept = maxValue == null ? above : tf.clipByValue(above, 0, maxValue);
      return negativeSlope === 0 ? kept : tf.sub(kept, tf.mul(negativeSlope, tf.relu(tf.sub(threshold, x))));
    },
  },
  rescaling: {
    compute: (x, {scale = 1, offset = 0}) => tf.add(tf.mul(tf.cast(x, 'float32'), scale), offset),
  },
  average: {compute: (x, {axes, keepdims}) => tf.mean(x, axes, keepdims), shape: pooled},
  max: {compute: (x, {axes, keepdims}) => tf.max(x, axes, keepdims), shape: pooled},
  softmax: {
    compute(x, {axes}) {
      const powers = tf.exp(tf.sub(x, tf.max(x, axes, true)));
      return tf.div(powers, tf.sum(powers, axes, true));
    },
  },
  normalization: {
    weights: ['mean', 'variance'],
    compute(x, {axes, mean, variance, invert}, weights) {
      const kept = fromFront(axes, x.rank);
      const shape = x.shape.map((size, axis) => (kept.includes(axis) ? size : 1));
      const given = mean === undefined ? weights : [mean, variance ?? []].map(values => tf.tensor1d(values));
      const [center, squares] = given.map(tensor =>
        tensor.size === 1 ? tf.reshape(tensor, []) : tf.reshape(tensor, shape),
      ) as [tf.Tensor, tf.Tensor];
      const deviation = tf.maximum(tf.sqrt(squares), 1e-7);
      return invert === true ? tf.add(center, tf.mul(x, deviation)) : tf.div(tf.sub(x, center), deviation);
    },
  },
  resizing: {
    shape: imageShape,
    compute(x, {factors, sizes, interpolation, crops, ...format}) {
      const {last, restore} = imagesOf(x, format);
      const [, height, width] = last.shape as [number, number, number, number];
      const [h, w] = sizes ?? [height * (factors?.[0] ?? 1), width * (factors?.[1] ?? 1)];
      return restore(resized(crops === true ? croppedToAspect(last, [h, w]) : last, [h, w], interpolation));
    },
  },
  centerCrop: {
    shape: imageShape,
    compute(x, {sizes = [1, 1], ...format}) {
      const {last, restore} = imagesOf(x, format);
      const [, height, width] = last.shape as [number, number, number, number];
      return restore(
        height >= sizes[0] && width >= sizes[1]
          ? centered(last, sizes)
          : resized(croppedToAspect(last, sizes), sizes, 'bilinear'),
      );
    },
  },
};

function pooled(input: tf.Shape, {axes = [], keepdims}: KerasLayerArgs): tf.Shape {
  const sizes = input.map((size, axis) => (axes.includes(axis) ? 1 : size));
  return keepdims === true ? sizes : sizes.filter((_, axis) => !axes.includes(axis));
}

/** Axes in their order, including those counted from the end. */
function fromFront(axes: readonly number[] = [], rank: number): number[] {
  return axes.map(axis => (axis < 0 ? axis + rank : axis)).sort((a, b) => a - b);
}

function imagesOf(x: tf.Tensor, {dataFormat = 'channelsLast'}: Pick<KerasLayerArgs, 'dataFormat'>) {
  return channelsLast(tf.cast(x, 'float32'), {dataFormat});
}

/** The middle of images. */
function centered(x: tf.Tensor, [h, w]: Sizes): tf.Tensor {
  const [n, height, width, channels] = x.shape as [number, number, number, number];
  return tf.slice(x, [0, Math.floor((height - h) / 2), Math.floor((width - w) / 2), 0], [n, h, w, channels]);
}

/** The largest middle part of images that has given proportions. */
function croppedToAspect(x: tf.Tensor, [h, w]: Sizes): tf.Tensor {
  const [, height, width] = x.shape as [number, number, number, number];
  return centered(x, [
    Math.max(Math.min(height, Math.floor((width * h) / w)), 1),
    Math.max(Math.min(width, Math.floor((height * w) / h)), 1),
  ]);
}

/** Backends differ in the pixels that `nearest` picks with half-pixel centers. */
function resized(x: tf.Tensor, [h, w]: Sizes, interpolation: KerasLayerArgs['interpolation']): tf.Tensor {
  if (interpolation !== 'nearest') {
    return tf.image.resizeBilinear(x as tf.Tensor4D, [h, w], false, true);
  }
  const pixels = (from: number, to: number) =>
    Array.from({length: to}, (_, i) => {
      const [parts] = nearest(i, from, to, {alignCorners: false, halfPixelCenters: true});
      return Math.min(parts?.[0] ?? 0, from - 1);
    });
  const [, height, width] = x.shape as [number, number, number, number];
  return tf.gather(tf.gather(x, pixels(height, h), 1), pixels(width, w), 2);
}

// Bundlers leave out what follows if a page loads no models of Keras.
const Layer = /* @__PURE__ */ layerClass();
const StockAdd = /* @__PURE__ */ stockClass('Add');
const StockSeparableConv2D = /* @__PURE__ */ stockClass('SeparableConv2D');

/** A layer for an operation of Keras that no layer of tfjs computes. Its weights never train. */
export class KerasLayer extends Layer {
  static readonly className = 'tfjs-lora>KerasLayer';
  private readonly operation: Operation;
  private variables: tf.LayerVariable[] = [];

  constructor(private readonly args: KerasLayerArgs) {
    super(args);
    const operation = Object.hasOwn(OPERATIONS, args.computes) ? OPERATIONS[args.computes] : undefined;
    if (operation === undefined) {
      throw damagedError(`Layer "${this.name}" computes ${show(args.computes)}, which is not known here.`);
    }
    this.operation = operation;
    this.supportsMasking = true;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const {axes, mean, variance} = this.args;
    const names = mean === undefined ? (this.operation.weights ?? []) : [];
    const shape = fromFront(axes, inputShape.length).map(axis => (inputShape as tf.Shape)[axis] ?? null);
    for (const {length} of [mean, variance].filter(values => values !== undefined)) {
      if (length !== 1 && length !== tf.util.sizeFromShape(shape as number[])) {
        throw misfitError(
          `Layer "${this.name}" has ${length} numbers for an input of ${showShape(inputShape as tf.Shape)}.`,
        );
      }
    }
    this.variables = names.map(name =>
      this.addWeight(name, shape, 'float32', tf.initializers.zeros(), undefined, false),
    );
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: Record<string, unknown>): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const weights = this.variables.map(variable => variable.read());
      return this.operation.compute(onlyTensor(inputs), this.args, weights);
    });
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const shape = inputShape as tf.Shape;
    return this.operation.shape?.(shape, this.args) ?? shape;
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...(this.args as unknown as tf.serialization.ConfigDict), ...super.getConfig()};
  }
}

/** Keras's `Subtract`: the first input minus the second. */
export class Subtract extends StockAdd {
  static readonly className: string = 'tfjs-lora>Subtract';

  /** Called by tfjs with inputs of one rank. */
  protected mergeFunction([first, second]: [tf.Tensor, tf.Tensor]): tf.Tensor {
    return tf.sub(first, second);
  }
}

/** A `SeparableConv1D` of Keras: a 2-D convolution of tfjs over images with one row. */
export class SeparableConv1D extends StockSeparableConv2D {
  static readonly className: string = 'tfjs-lora>SeparableConv1D';

  /** The stock class forgets its depth multiplier. */
  override getConfig(): tf.serialization.ConfigDict {
    return completedEntry(this, {className: 'SeparableConv2D', config: super.getConfig()}).config;
  }

  override build([n = null, ...sizes]: tf.Shape): void {
    super.build([n, 1, ...sizes]);
    this.inputSpec = [];
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: Record<string, unknown>): tf.Tensor {
    return tf.tidy(() => tf.squeeze(super.call(tf.expandDims(onlyTensor(inputs), 1), kwargs) as tf.Tensor, [1]));
  }

  override computeOutputShape([n = null, ...sizes]: tf.Shape): tf.Shape {
    const [, , ...rest] = super.computeOutputShape([n, 1, ...sizes]) as tf.Shape;
    return [n, ...rest];
  }
}

/** Activations of Keras that tfjs does not have, by the names of their classes here. */
const ACTIVATIONS: Readonly<Record<string, (x: tf.Tensor) => tf.Tensor>> = {
  exponential: x => tf.exp(x),
  hardSilu: x => tf.mul(x, relu6Sigmoid(x)),
  leakyRelu: x => tf.leakyRelu(x, 0.2),
  relu6Sigmoid,
};

function relu6Sigmoid(x: tf.Tensor): tf.Tensor {
  return tf.div(tf.relu6(tf.add(x, 3)), 6);
}

/** The name of an activation of `ACTIVATIONS` in a file. */
export function ownActivation(name: string): string {
  return `tfjs-lora>${name}`;
}

type ActivationClass = new () => Pick<tf.layers.Layer, 'getConfig' | 'getClassName'>;
type Registrable = Parameters<typeof tf.serialization.registerClass>[0];

type OwnClass = 'kerasLayer' | 'subtract' | 'separableConv1d' | 'dilated' | 'bidirectional' | 'gru' | 'gruCell';

function registered(): Readonly<Record<OwnClass, string>> {
  const gru = registerResetAfterGRU();
  [KerasLayer, Subtract, SeparableConv1D, FusedDepthwiseConv2D, MaskedBidirectional].forEach(one =>
    tf.serialization.registerClass(one),
  );
  const Activation = Object.getPrototypeOf(stockClass('linear')) as ActivationClass;
  for (const [name, apply] of Object.entries(ACTIVATIONS)) {
    class Own extends Activation {
      static readonly className = ownActivation(name);
      readonly apply = apply;
    }
    tf.serialization.registerClass(Own as unknown as Registrable);
  }
  return {
    kerasLayer: KerasLayer.className,
    subtract: Subtract.className,
    separableConv1d: SeparableConv1D.className,
    dilated: FusedDepthwiseConv2D.className,
    bidirectional: MaskedBidirectional.className,
    gru: gru.layer,
    gruCell: gru.cell,
  };
}

/** The names of these classes. Bundlers leave this out if a page cannot load models of Keras. */
export const OWN_CLASSES = /* @__PURE__ */ registered();
