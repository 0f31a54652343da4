import * as tf from '@tensorflow/tfjs';
import {checkCount, LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {asFloat, onlyShape, onlyTensor} from '../../../core/layers/forward';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link WidthPart}. */
export interface WidthPartArgs {
  /** Which part, or the first of them. */
  index: number;
  /** How many parts there are. */
  of: number;
  /** How many parts to take. Default: 1. */
  span?: number;
  /** Whether to add a bias. Default: false. */
  bias?: boolean;
  name?: string;
}

/**
 * One or more of several equal parts of the last axis, plus a bias: `[.., of·width]` → `[.., span·width]`.
 *
 * @experimental
 */
export class WidthPart extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>WidthPart';
  private readonly index: number;
  private readonly of: number;
  private readonly span: number;
  private readonly hasBias: boolean;
  private bias: tf.LayerVariable | null = null;

  constructor({index, of, span = 1, bias = false, ...rest}: WidthPartArgs) {
    checkCount('of', of);
    checkCount('span', span);
    if (!Number.isInteger(index) || index < 0 || index + span > of) {
      throw new LoRAError(`index must be an integer from 0 to ${of - span}, got ${show(index)}.`);
    }
    super(rest);
    this.index = index;
    this.of = of;
    this.span = span;
    this.hasBias = bias;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const width = this.computeOutputShape(inputShape).at(-1) as number;
    this.bias = this.hasBias ? this.addWeight('bias', [width], 'float32', tf.initializers.zeros()) : null;
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const shape = onlyShape(inputShape);
    const width = (shape.at(-1) ?? NaN) / this.of;
    if (!Number.isInteger(width)) {
      throw misfitError(`"${this.name}" takes ${this.of} equal parts of the last axis, got ${showShape(shape)}.`);
    }
    return [...shape.slice(0, -1), this.span * width];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs));
    const width = (x.shape.at(-1) ?? 0) / this.of;
    const begin = x.shape.map((_, axis) => (axis === x.rank - 1 ? this.index * width : 0));
    const part = tf.slice(x, begin, [...x.shape.slice(0, -1), this.span * width]);
    return this.bias === null ? part : tf.add(part, this.bias.read());
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {index, of, span, hasBias: bias} = this;
    return {...super.getConfig(), index, of, ...(span > 1 && {span}), bias};
  }
}
registerOwn(WidthPart);
