import * as tf from '@tensorflow/tfjs';
import {type CellKind, gates, plus, state} from '../ops/recurrent';
import {registerOwn} from '../../platform/tfjs/configs';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {Cell, InnerLayers} from '../../platform/tfjs/layerFields';
import {stockClass} from '../../platform/tfjs/stockClass';
import type {CallArgs} from '../layers/layerArgs';
import {addCellKind, step} from '../layers/recurrentCells';

/** `h' = z∘h + (1 − z)∘g` with `g = f(x·W + b + r∘(h·U + b'))`. The biases are rows of a tensor `[2, 3 · units]`. */
const gruResetAfter: CellKind = {
  recurrentParts: [3],
  step: (x, [h], {input, recurrent, bias, activation, recurrentActivation}) => {
    const previous = state(h);
    const [ofInput = null, ofState = null] = bias === null ? [] : tf.unstack(bias);
    const [xz, xr, xg] = gates(plus(input(x, 0), ofInput), 3);
    const [hz, hr, hg] = gates(plus(recurrent(previous, 0), ofState), 3);
    const z = recurrentActivation(tf.add(xz, hz));
    const r = recurrentActivation(tf.add(xr, hr));
    const g = activation(tf.add(xg, tf.mul(r, hg)));
    return [tf.add(tf.mul(z, previous), tf.mul(tf.sub(1, z), g))];
  },
};

/** The arguments of a stock `GRUCell` for its bias. */
interface BiasFields {
  units: number;
  useBias: boolean;
  biasInitializer: Parameters<tf.layers.Layer['addWeight']>[3];
  biasRegularizer: Parameters<tf.layers.Layer['addWeight']>[4];
  biasConstraint: Parameters<tf.layers.Layer['addWeight']>[6];
}

// Bundlers leave out what follows if a page has no such layer.

const StockGRUCell = /* @__PURE__ */ stockClass('GRUCell');
const StockGRU = /* @__PURE__ */ stockClass('GRU');

/** A `GRUCell` that resets the state after the product with the recurrent kernel, which the stock class refuses. */
class ResetAfterGRUCell extends StockGRUCell {
  static readonly className: string = 'tfjs-lora>GRUCell';

  constructor(args: tf.serialization.ConfigDict) {
    super({...args, resetAfter: false});
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const fields = fieldsOf<Cell & BiasFields>(this);
    const {units, useBias, biasInitializer, biasRegularizer, biasConstraint} = fields;
    fields.useBias = false;
    super.build(inputShape);
    fields.useBias = useBias;
    if (useBias) {
      const shape = [2, 3 * units];
      fields.bias = this.addWeight('bias', shape, 'float32', biasInitializer, biasRegularizer, true, biasConstraint);
    }
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor[] {
    const cell = fieldsOf<Cell>(this);
    const productWith = (weight: tf.LayerVariable) => (x: tf.Tensor) => tf.matMul(x, weight.read());
    const products = {input: productWith(cell.kernel), recurrent: productWith(cell.recurrentKernel)};
    return tf.tidy(() => step(cell, gruResetAfter, products, [inputs].flat(), kwargs));
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), resetAfter: true};
  }
}

/**
 * A `GRU` with `reset_after`, the default of Keras. Register it with {@link registerResetAfterGRU} before making one.
 */
class ResetAfterGRU extends StockGRU {
  static readonly className: string = 'tfjs-lora>GRU';
  static readonly adaptedLike = 'GRU';

  constructor(args: tf.serialization.ConfigDict) {
    super({...args, resetAfter: false});
    fieldsOf<InnerLayers>(this).cell = new ResetAfterGRUCell(args);
  }
}

export function registerResetAfterGRU(): {layer: string; cell: string} {
  addCellKind(ResetAfterGRUCell.className, gruResetAfter);
  [ResetAfterGRUCell, ResetAfterGRU].forEach(registerOwn);
  return {layer: ResetAfterGRU.className, cell: ResetAfterGRUCell.className};
}
