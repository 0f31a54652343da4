import * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../platform/errors';
import {adaptedProducts, type CellProduct, frozenProducts, masked} from '../ops/cellProducts';
import {type CellKind, partWidths} from '../ops/recurrent';
import {changeOf, type Update} from '../ops/update';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {Cell} from '../../platform/tfjs/layerFields';
import type {AdaptableWeight} from '../methods/method';
import type {Adaptation} from './adaptation';
import {type CallArgs, checkedArgs, type LoRALayerArgs} from './layerArgs';
import {LoRALayer} from './loraLayer';
import {cellKind, type CellProducts, cellsOf, disposeMasks, frozenCellProducts, replaceSteps} from './recurrentCells';
import {registerOwn} from '../../platform/tfjs/configs';

/**
 * A recurrent layer with a low-rank update of the kernel and of the recurrent kernel of each of its cells:
 *
 *     x·(W + s·A·B)    and    h·(U + s·A'·B')
 *
 * in every step. The kernels are merged once for a pass over a sequence. Masks, states, dropout and all options are
 * those of the base.
 */
export abstract class LoRARecurrentLayer extends LoRALayer {
  private products = new Map<Cell, CellProducts>();

  constructor(args: LoRALayerArgs) {
    checkedArgs(args);
    if ('goBackwards' in args) {
      throw unsupportedError(
        `Layer "${args.layer.name}": a LoRA layer cannot be inside a Bidirectional, nor have goBackwards. Adapt ` +
          'the whole layer by adaptLayer({layer: tf.layers.bidirectional({layer: tf.layers.lstm(…)})}) of ' +
          'tfjs-lora/layers, or give goBackwards to the layer that is adapted.',
      );
    }
    super(args);
    replaceSteps(this.baseLayer, (cell, kind) => this.products.get(cell) ?? frozenCellProducts(cell, kind));
  }

  protected override compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    const updates = this.update.forOperations(kwargs.training === true);
    const [first] = [inputs].flat() as [tf.Tensor];
    this.products = new Map(
      cellsOf(this.baseLayer).map(({cell}, i) => {
        const fields = fieldsOf<Cell>(cell);
        const [ofInput, ofState] = updates.slice(2 * i) as [Update, Update];
        const widths = partWidths(cellKind(cell) as CellKind, fields.recurrentKernel.read());
        const products = {
          input: updatedProducts(fields.kernel, ofInput, first.shape[0]),
          recurrent: updatedProducts(fields.recurrentKernel, ofState, first.shape[0], widths),
        };
        return [fields, products];
      }),
    );
    try {
      // A stock RNN around a stack of cells would go on with the dropout masks of its first batch.
      disposeMasks(this.baseLayer);
      return this.computeBase(inputs, kwargs);
    } finally {
      this.products.clear();
      disposeMasks(this.baseLayer);
    }
  }
}

/** The products with an updated kernel for a batch. With dropout, updates use separate inputs and states. */
function updatedProducts(
  variable: tf.LayerVariable,
  update: Update,
  examples: number,
  widths?: readonly number[],
): CellProduct {
  const kernel = variable.read();
  const {dropout, factors} = update;
  if (dropout === undefined) {
    return adaptedProducts(update.kernel ?? kernel, factors ?? null, widths);
  }
  const products = variable.trainable ? adaptedProducts(kernel, null, widths) : frozenProducts(kernel, widths);
  const mask = dropout.mask([examples, kernel.shape[0]]);
  return masked(products, mask, adaptedProducts(changeOf(kernel, update), null, widths));
}

/** The adaptation of a class of recurrent layers: the kernel and the recurrent kernel of each cell. */
function recurrentAdaptation(baseClassName: string): Adaptation {
  return {
    baseClassName,
    form: 'recurrent',
    weights: layer =>
      cellsOf(layer).flatMap(({prefix, cell}): AdaptableWeight[] => {
        const {kernel, recurrentKernel} = fieldsOf<Cell>(cell);
        return [
          {name: `${prefix}kernel`, variable: kernel},
          {name: `${prefix}recurrent_kernel`, variable: recurrentKernel},
        ];
      }),
    refusal: layer => {
      const foreign = cellsOf(layer).find(({cell}) => cellKind(cell) === undefined)?.cell;
      return (
        foreign &&
        `LoRA supports SimpleRNNCell, GRUCell and LSTMCell, not a ${foreign.getClassName()}. Exclude the layer, or ` +
          'let it train in full.'
      );
    },
  };
}

/** A `SimpleRNN` with low-rank updates of its kernel, `[in, units]`, and its recurrent kernel, `[units, units]`. */
export class LoRASimpleRNN extends LoRARecurrentLayer {
  static readonly className = 'tfjs-lora>LoRASimpleRNN';
  /** @internal */
  static readonly adaptation = recurrentAdaptation('SimpleRNN');
}
registerOwn(LoRASimpleRNN);

/**
 * A `GRU` layer with low-rank updates of its kernel, `[in, 3 · units]`, and its recurrent kernel, `[units, 3 · units]`.
 * The gates share `A` and have separate columns of `B`.
 */
export class LoRAGRU extends LoRARecurrentLayer {
  static readonly className = 'tfjs-lora>LoRAGRU';
  /** @internal */
  static readonly adaptation = recurrentAdaptation('GRU');
}
registerOwn(LoRAGRU);

/**
 * An `LSTM` layer with low-rank updates of its kernel, `[in, 4 · units]`, and its recurrent kernel,
 * `[units, 4 · units]`. The gates share `A` and have separate columns of `B`.
 */
export class LoRALSTM extends LoRARecurrentLayer {
  static readonly className = 'tfjs-lora>LoRALSTM';
  /** @internal */
  static readonly adaptation = recurrentAdaptation('LSTM');
}
registerOwn(LoRALSTM);

/**
 * An `RNN` layer around a stock cell, or a stack of them, with low-rank updates of the kernel and the recurrent kernel
 * of each cell. Draws the cells' dropout masks again for each pass over a sequence; the stock layer keeps those of its
 * first batch.
 */
export class LoRARNN extends LoRARecurrentLayer {
  static readonly className = 'tfjs-lora>LoRARNN';
  /** @internal */
  static readonly adaptation = recurrentAdaptation('RNN');
}
registerOwn(LoRARNN);

/**
 * A `Bidirectional` layer around a stock recurrent layer, with low-rank updates of the kernel and the recurrent kernel
 * of each direction.
 *
 * It adapts the layer as a whole: `adaptLayer({layer: tf.layers.bidirectional({layer: tf.layers.lstm(…)})})`.
 */
export class LoRABidirectional extends LoRARecurrentLayer {
  static readonly className = 'tfjs-lora>LoRABidirectional';
  /** @internal */
  static readonly adaptation = recurrentAdaptation('Bidirectional');
}
registerOwn(LoRABidirectional);
