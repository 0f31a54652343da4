import type * as tf from '@tensorflow/tfjs';
import {fieldsOf} from '../../../platform/tfjs/fields';
import {type GraphWriter, Tensor} from '../write/graphWriter';
import {TYPE} from '../write/messages';

/** A call of a layer that is being written. */
export class Call {
  constructor(
    readonly layer: tf.layers.Layer,
    readonly inputs: readonly Tensor[],
    /** The shapes of the outputs. */
    readonly shapes: readonly tf.Shape[],
  ) {}

  get input(): Tensor {
    return this.inputs[0] as Tensor;
  }

  get shape(): tf.Shape {
    return this.shapes[0] as tf.Shape;
  }

  fields<Fields>(): Fields {
    return fieldsOf<Fields>(this.layer);
  }

  /** An output, whose axes are in an order. */
  output(name: string, order?: readonly number[]): Tensor {
    return new Tensor(this.shape, TYPE.float, name, order);
  }
}

/** Writes the call of a layer as nodes, and gives its outputs. */
export type Write = (out: GraphWriter, call: Call) => Tensor | Tensor[];
