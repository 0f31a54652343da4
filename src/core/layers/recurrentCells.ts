import * as tf from '@tensorflow/tfjs';
import {activate, outputActivation} from '../ops/activation';
import {frozenProducts} from '../ops/cellProducts';
import {type CellKind, type CellWeights, gru, lstm, partWidths, simpleRNN} from '../ops/recurrent';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ActivationObject, Cell, InnerLayers} from '../../platform/tfjs/layerFields';
import type {CallArgs} from './wrapperLayer';

export type CellProducts = Pick<CellWeights, 'input' | 'recurrent'>;

export interface NamedCell {
  /** The prefix of the cell's weight names in its layer: nothing, or `forward_lstm/`, `RNNCell_0/`. */
  prefix: string;
  cell: tf.layers.Layer;
}

const KINDS = new Map<string, CellKind>([
  ['SimpleRNNCell', simpleRNN],
  ['GRUCell', gru],
  ['LSTMCell', lstm],
]);

/** Recognizes the cells of another class. */
export function addCellKind(className: string, kind: CellKind): void {
  KINDS.set(className, kind);
}

/** The kind of a stock cell or one of this library; `undefined` for other cells. */
export function cellKind(cell: tf.layers.Layer): CellKind | undefined {
  return KINDS.get(cell.getClassName());
}

/**
 * Gives the cells of a recurrent layer of this library a step that computes the same without recording gradients for
 * their weights. Layers and cells of other classes stay as they are.
 */
export function freezeCells(layer: tf.layers.Layer): void {
  replaceSteps(layer, frozenCellProducts);
}

/** The products with the weights of a cell, without a gradient for them. */
export function frozenCellProducts({kernel, recurrentKernel}: Cell, kind: CellKind): CellProducts {
  const u = recurrentKernel.read();
  return {input: frozenProducts(kernel.read()), recurrent: frozenProducts(u, partWidths(kind, u))};
}

/** Gives the stock cells of a recurrent layer of this library a step that computes the same with other products. */
export function replaceSteps(layer: tf.layers.Layer, productsOf: (cell: Cell, kind: CellKind) => CellProducts): void {
  for (const {cell} of cellsOf(layer)) {
    const kind = cellKind(cell);
    if (kind !== undefined) {
      const fields = fieldsOf<Cell>(cell);
      fields.call = (inputs, kwargs) => tf.tidy(() => step(fields, kind, productsOf(fields, kind), inputs, kwargs));
    }
  }
}

/** Frees the dropout masks of the last pass, which a cell keeps until the next one. */
export function disposeMasks(layer: tf.layers.Layer): void {
  for (const {cell} of cellsOf(layer)) {
    const fields = fieldsOf<Partial<Cell>>(cell);
    tf.dispose([fields.dropoutMask ?? [], fields.recurrentDropoutMask ?? []].flat());
    if (cellKind(cell) !== undefined) {
      fields.dropoutMask = null;
      fields.recurrentDropoutMask = null;
    }
  }
}

/** The innermost cells of a layer: its own, a stack's, those of both directions; otherwise the layer itself. */
export function cellsOf(layer: tf.layers.Layer): NamedCell[] {
  const {cell, cells, forwardLayer, backwardLayer} = fieldsOf<InnerLayers>(layer);
  const children = [
    {prefix: '', child: cell},
    ...(cells ?? []).map((child, i) => ({prefix: `RNNCell_${i}/`, child})),
    ...[forwardLayer, backwardLayer].map(child => ({prefix: `${child?.name ?? ''}/`, child})),
  ];
  const inner = children.flatMap(({prefix, child}) =>
    child === undefined ? [] : cellsOf(child).map(innerCell => ({...innerCell, prefix: prefix + innerCell.prefix})),
  );
  return inner.length === 0 ? [{prefix: '', cell: layer}] : inner;
}

/** A step with the cell's dropout: from an input and the states to the output and the states. */
export function step(
  cell: Cell,
  kind: CellKind,
  products: CellProducts,
  [x, ...states]: tf.Tensor[],
  {training}: CallArgs,
): tf.Tensor[] {
  const [h, ...laterStates] = states;
  if (x === undefined || h === undefined) {
    throw new Error('A recurrent cell is called with an input and its states.');
  }
  cell.dropoutMask ??= dropoutMask(cell, x, cell.dropout, training === true);
  cell.recurrentDropoutMask ??= dropoutMask(cell, h, cell.recurrentDropout, training === true);
  const next = kind.step(masked(x, cell.dropoutMask), [masked(h, cell.recurrentDropoutMask), ...laterStates], {
    ...products,
    bias: cell.bias?.read() ?? null,
    activation: activationOf(cell.activation),
    recurrentActivation: activationOf(cell.recurrentActivation ?? cell.activation),
  });
  const [output] = next;
  return output === undefined ? next : [output, ...next];
}

/** An activation, with a gradient from its output if that is known: it takes fewer kernels than tfjs's own. */
function activationOf(activation: ActivationObject): (z: tf.Tensor) => tf.Tensor {
  const apply = (z: tf.Tensor) => activation.apply(z);
  const fused = outputActivation(activation.getClassName());
  return fused === undefined ? apply : z => activate(z, {...fused, apply});
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
