import * as tf from '@tensorflow/tfjs';
import {damagedError, misfitError, show, showShape} from '../../platform/errors';
import {FusedDepthwiseConv2D} from './fusedDepthwiseConv2d';
import {registerResetAfterGRU} from './gruResetAfter';
import {onlyTensor} from '../layers/forward';
import {TENSOR_OPS} from '../ops/formulaOps';
import type {CallArgs} from '../layers/layerArgs';
import {completedEntry, type LayerEntry} from '../../platform/tfjs/configs';
import {layerClass, stockClass} from '../../platform/tfjs/stockClass';
import {camelCase} from './json';
import {fromFront, type KerasLayerArgs, type Operation} from './layerOperation';
import {OPERATIONS} from './layerOperations';
import {MaskedBidirectional} from './maskedBidirectional';

// Bundlers leave out what follows if a page loads no models of Keras.
const Layer = /* @__PURE__ */ layerClass();
const StockAdd = /* @__PURE__ */ stockClass('Add');
const StockSeparableConv2D = /* @__PURE__ */ stockClass('SeparableConv2D');

/** A layer for an operation of Keras that no layer of tfjs computes. */
export class KerasLayer extends Layer {
  static readonly className: string = 'tfjs-lora>KerasLayer';
  /** Read by what writes the layer, as `args` and `variables`. @internal */
  readonly operation: Operation;
  private variables: Readonly<Record<string, tf.LayerVariable>> = {};

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
    const [input] = shapesOf(inputShape) as [tf.Shape];
    const {axes, mean, variance} = this.args;
    const shape = fromFront(axes, input.length).map(axis => input[axis] ?? null);
    for (const {length} of [mean, variance].filter(values => values !== undefined)) {
      if (length !== 1 && length !== tf.util.sizeFromShape(shape as number[])) {
        throw misfitError(`Layer "${this.name}" has ${length} numbers for an input of ${showShape(input)}.`);
      }
    }
    const settings = this.args as unknown as tf.serialization.ConfigDict;
    const variables = (this.operation.weights?.(input, this.args) ?? []).map(({name, shape: sizes, trainable}) => {
      const [regularizer, constraint] = ['Regularizer', 'Constraint'].map(kind =>
        madeFrom(settings[camelCase(name) + kind]),
      );
      const zeros = tf.initializers.zeros();
      return [
        name,
        this.addWeight(name, sizes, 'float32', zeros, regularizer as never, trainable, constraint as never),
      ];
    });
    this.variables = Object.fromEntries(variables) as Record<string, tf.LayerVariable>;
    this.built = true;
  }

  override call(inputOrInputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputOrInputs, kwargs);
      const inputs = [inputOrInputs].flat();
      const weights = Object.fromEntries(Object.entries(this.variables).map(([name, weight]) => [name, weight.read()]));
      const {mask} = kwargs as {mask?: tf.Tensor | null};
      const {operation, args} = this;
      const x = inputs[0] as tf.Tensor;
      const y = operation.formula
        ? operation.formula(TENSOR_OPS, x, args, {weights, mask, shape: x.shape})
        : operation.compute(x, args, {inputs, weights, mask});
      return activated(y, args.activation);
    });
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const shapes = shapesOf(inputShape);
    const [shape] = shapes as [tf.Shape];
    return this.operation.shape?.(shape, this.args, shapes) ?? shape;
  }

  override computeMask(inputs: tf.Tensor | tf.Tensor[], mask?: tf.Tensor | tf.Tensor[]): tf.Tensor | tf.Tensor[] {
    if (this.args.computes !== 'mask') {
      return super.computeMask(inputs, mask);
    }
    const [x, steps] = [inputs].flat() as [tf.Tensor, tf.Tensor?];
    return steps === undefined ? tf.ones(x.shape.slice(0, 2), 'bool') : tf.cast(steps, 'bool');
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...(this.args as unknown as tf.serialization.ConfigDict), ...super.getConfig()};
  }
}

/** A convolution with groups, or a transposed one that is dilated or padded at its end. */
export class KerasConvolution extends KerasLayer {
  static override readonly className = 'tfjs-lora>Convolution';
}

/** An `EinsumDense` of Keras. */
export class EinsumDense extends KerasLayer {
  static override readonly className = 'tfjs-lora>EinsumDense';
}

function shapesOf(shape: tf.Shape | tf.Shape[]): tf.Shape[] {
  return Array.isArray(shape[0]) ? (shape as tf.Shape[]) : [shape as tf.Shape];
}

/** A regularizer or a constraint of a config. */
function madeFrom(value: unknown): tf.serialization.Serializable | undefined {
  const {className, config} = (value ?? {}) as Partial<LayerEntry>;
  const registered =
    className === undefined ? undefined : tf.serialization.SerializationMap.getMap().classNameMap[className];
  return registered?.[1](registered[0], config ?? {});
}

function activated(y: tf.Tensor, name = 'linear'): tf.Tensor {
  const Activation = stockClass(name) as unknown as new () => {apply(x: tf.Tensor): tf.Tensor};
  return name === 'linear' ? y : new Activation().apply(y);
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
    const [, , ...spatialSizes] = super.computeOutputShape([n, 1, ...sizes]) as tf.Shape;
    return [n, ...spatialSizes];
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

function registered() {
  const {layer: gru, cell: gruCell} = registerResetAfterGRU();
  const classes = {
    ...{kerasLayer: KerasLayer, convolution: KerasConvolution, einsumDense: EinsumDense, subtract: Subtract},
    ...{separableConv1d: SeparableConv1D, dilated: FusedDepthwiseConv2D, bidirectional: MaskedBidirectional},
  };
  Object.values(classes).forEach(layer => tf.serialization.registerClass(layer));
  const Activation = Object.getPrototypeOf(stockClass('linear')) as ActivationClass;
  for (const [name, apply] of Object.entries(ACTIVATIONS)) {
    class Own extends Activation {
      static readonly className = ownActivation(name);
      readonly apply = apply;
    }
    tf.serialization.registerClass(Own as unknown as Registrable);
  }
  const names = Object.entries(classes).map(([key, {className}]) => [key, className]);
  return {...(Object.fromEntries(names) as Record<keyof typeof classes, string>), gru, gruCell};
}

/** The names of these classes. Bundlers leave this out if a page cannot load models of Keras. */
export const OWN_CLASSES = /* @__PURE__ */ registered();
