import * as tf from '@tensorflow/tfjs';
import {type CellStep, gruStep, lstmStep, simpleRNNStep} from '../ops/recurrent';
import {fieldsOf} from './stock';
import type {CallArgs} from './wrapperLayer';

type ActivationObject = {apply(x: tf.Tensor): tf.Tensor};

/** What a stock recurrent cell holds. The masks live for one pass over a sequence; the layer around the cell clears them. */
interface Cell {
  kernel: tf.LayerVariable;
  recurrentKernel: tf.LayerVariable;
  bias: tf.LayerVariable | null;
  activation: ActivationObject;
  recurrentActivation?: ActivationObject;
  dropout: number;
  recurrentDropout: number;
  dropoutFunc?: (x: tf.Tensor, rate: number) => tf.Tensor;
  dropoutMask: tf.Tensor | tf.Tensor[] | null;
  recurrentDropoutMask: tf.Tensor | tf.Tensor[] | null;
  call(inputs: tf.Tensor[], kwargs: CallArgs): tf.Tensor[];
}

const STEPS: Readonly<Record<string, CellStep>> = {
  SimpleRNNCell: simpleRNNStep,
  GRUCell: gruStep,
  LSTMCell: lstmStep,
};

/**
 * Gives the cells of a recurrent layer that is ours alone a step that computes the same and records no gradient for their weights.
 * Layers and cells of other classes stay as they are.
 */
export function freezeCells(layer: tf.layers.Layer): void {
  for (const cell of cellsOf(layer)) {
    const step = STEPS[cell.getClassName()];
    if (step !== undefined) {
      const fields = fieldsOf<Cell>(cell);
      fields.call = (inputs, kwargs) => tf.tidy(() => frozenStep(fields, step, inputs, kwargs));
    }
  }
}

/** Frees the dropout masks of the last pass, which a cell keeps until the next one. */
export function disposeMasks(layer: tf.layers.Layer): void {
  for (const cell of cellsOf(layer)) {
    const fields = fieldsOf<Partial<Cell>>(cell);
    tf.dispose([fields.dropoutMask ?? [], fields.recurrentDropoutMask ?? []].flat());
    if (cell.getClassName() in STEPS) {
      fields.dropoutMask = null;
      fields.recurrentDropoutMask = null;
    }
  }
}

/** The innermost cells of a layer: its own, those of a stack, those of both directions. */
function cellsOf(layer: tf.layers.Layer): tf.layers.Layer[] {
  type Part = tf.layers.Layer | undefined;
  const {cell, cells, forwardLayer, backwardLayer} = fieldsOf<{
    cell?: Part;
    cells?: tf.layers.Layer[];
    forwardLayer?: Part;
    backwardLayer?: Part;
  }>(layer);
  const parts = [cell, ...(cells ?? []), forwardLayer, backwardLayer].filter(part => part !== undefined);
  return parts.length === 0 ? [layer] : parts.flatMap(cellsOf);
}

function frozenStep(cell: Cell, step: CellStep, [x, ...states]: tf.Tensor[], {training}: CallArgs): tf.Tensor[] {
  const [h, ...others] = states;
  if (x === undefined || h === undefined) {
    throw new Error('A recurrent cell is called with an input and its states.');
  }
  cell.dropoutMask ??= dropoutMask(cell, x, cell.dropout, training === true);
  cell.recurrentDropoutMask ??= dropoutMask(cell, h, cell.recurrentDropout, training === true);
  const next = step(masked(x, cell.dropoutMask), [masked(h, cell.recurrentDropoutMask), ...others], {
    kernel: cell.kernel.read(),
    recurrentKernel: cell.recurrentKernel.read(),
    bias: cell.bias?.read() ?? null,
    activation: z => cell.activation.apply(z),
    recurrentActivation: z => (cell.recurrentActivation ?? cell.activation).apply(z),
  });
  const [output] = next;
  return output === undefined ? next : [output, ...next];
}

/** One mask for all time steps, as the stock cells have it. */
function dropoutMask({dropoutFunc}: Cell, like: tf.Tensor, rate: number, training: boolean): tf.Tensor | null {
  if (rate <= 0 || rate >= 1 || !training) {
    return null;
  }
  const ones = tf.onesLike(like);
  return tf.keep(dropoutFunc === undefined ? tf.dropout(ones, rate) : dropoutFunc(ones, rate));
}

function masked(x: tf.Tensor, mask: Cell['dropoutMask']): tf.Tensor {
  const first = Array.isArray(mask) ? mask[0] : mask;
  return first ? tf.mul(x, first) : x;
}
