import * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../adapter/adapter';
import {checkAdapter} from '../adapter/checkAdapter';
import {checkOptions, faultsOf, kindOf, LoRAError, misfitError} from '../../platform/errors';
import {isTensorOfOtherCopy, OTHER_COPY} from '../../platform/tfjs/copies';
import {adaptedSites} from './adapted';
import {checkAdapterFits, setAdapter, withAdapter} from './currentAdapter';

/** Options of `predictWith`. */
export interface PredictWithOptions {
  /** How many rows run at a time, as for `predict`. Default: 32. */
  batchSize?: number;
}

/**
 * Predicts each row with its own adapter, as if each were set in turn: row `i` with `adapters[i]`, or without one for
 * `null`. Rows with the same adapter run together, so a call costs one `predict` for each distinct adapter. The model's
 * own adapter is always restored afterwards.
 *
 * @param x as for `model.predict`: a tensor, or a list of them for several inputs.
 * @param adapters one for each row.
 * @returns what `model.predict` returns: a tensor, or a list of them for several outputs, with the rows in the order of
 * `x`.
 * @param model an adapted model.
 * @param options as for `model.predict`.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_OPTION` if inputs differ in their rows or the
 *     number of adapters is not that of the rows, `ERR_MISFIT` if an adapter does not fit.
 * @example
 *     const outputs = predictWith(model, tf.stack([one, other]), [adapter, null]);
 */
export function predictWith(
  model: tf.LayersModel,
  x: tf.Tensor | tf.Tensor[],
  adapters: readonly (Adapter | null)[],
  options: PredictWithOptions = {},
): tf.Tensor | tf.Tensor[] {
  checkOptions(options, {batchSize: true});
  const {batchSize = 32} = options;
  const inputs = [x].flat();
  const groups = groupRows(inputs, adapters);
  const sites = adaptedSites(model);
  for (const adapter of groups.keys()) {
    if (adapter !== null) {
      checkAdapterFits(adapter, model, sites);
    }
  }
  const [only] = groups.size === 1 ? groups.keys() : [];
  if (only !== undefined) {
    return withAdapter(model, only, () => model.predict(x, {batchSize}));
  }
  const order = [...groups.values()].flat();
  const places = order.map((_, row) => row).sort((one, other) => (order[one] ?? 0) - (order[other] ?? 0));
  return tf.tidy(() => {
    // `withAdapter` restores the model's own adapter; inside it the others take turns.
    const results = withAdapter(model, null, () =>
      [...groups].map(([adapter, rows]) => {
        setAdapter(model, adapter);
        const picked = inputs.map(input => pick(input, rows));
        return [model.predict(Array.isArray(x) ? picked : (picked[0] as tf.Tensor), {batchSize})].flat();
      }),
    );
    const outputs = model.outputs.map((_, i) => pick(tf.concat(results.map(result => result[i] as tf.Tensor)), places));
    return outputs.length === 1 ? (outputs[0] as tf.Tensor) : outputs;
  });
}

function exampleCount(inputs: readonly tf.Tensor[]): number {
  if (inputs.some(isTensorOfOtherCopy)) {
    throw misfitError(`x is ${OTHER_COPY}`);
  }
  if (!inputs.every(input => (input as unknown) instanceof tf.Tensor)) {
    const stranger: unknown = inputs.find(input => !((input as unknown) instanceof tf.Tensor));
    throw new LoRAError(
      `x must be a tensor, such as tf.tensor(values), or a list of tensors for several inputs, got ${kindOf(stranger)}.`,
    );
  }
  const [rows = 0, ...otherRows] = inputs.map(({rank, shape}) => (rank === 0 ? 0 : shape[0]));
  if (otherRows.some(other => other !== rows)) {
    throw new LoRAError(`All inputs must have the same number of rows, got ${[rows, ...otherRows].join(', ')}.`);
  }
  return rows;
}

/** The rows of each adapter, in the order in which adapters first occur. */
function groupRows(inputs: readonly tf.Tensor[], adapters: readonly (Adapter | null)[]): Map<Adapter | null, number[]> {
  const rows = exampleCount(inputs);
  const adapterList: readonly (Adapter | null)[] = Array.isArray(adapters) ? adapters : [];
  if (adapterList.length !== rows) {
    throw new LoRAError(`There must be an adapter, or null, for each of the ${rows} rows, got ${adapterList.length}.`);
  }
  if (rows === 0) {
    throw new LoRAError('There are no rows to predict.');
  }
  const groups = new Map<Adapter | null, number[]>();
  for (const [row, entry] of adapterList.entries()) {
    const group = groups.get(entry);
    if (group !== undefined) {
      group.push(row);
      continue;
    }
    const [fault] = entry === null ? [] : faultsOf(() => checkAdapter(entry));
    if (fault !== undefined) {
      throw misfitError(`adapters[${row}]: ${fault}`);
    }
    groups.set(entry, [row]);
  }
  return groups;
}

/** Some rows of a tensor, in the given order. */
function pick(tensor: tf.Tensor, rows: readonly number[]): tf.Tensor {
  return tf.gather(tensor, tf.tensor1d([...rows], 'int32'));
}
