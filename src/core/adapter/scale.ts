import * as tf from '@tensorflow/tfjs';
import {LoRAError, show} from '../../platform/errors';
import {resolveStrength} from '../methods/lora';
import {methodOf} from '../methods/registry';
import {type Adapter, makeAdapter} from './adapter';
import {checkAdapter} from './checkAdapter';
import {shareBase} from './base';

/**
 * Returns an adapter with `k` times the strength: multiplies every `alpha`, so that each update becomes `k·s·A·B`. The
 * tensors share their buffers with the adapter's own. `k = 0` turns the updates off; `k = 1` changes nothing.
 *
 * Weights that the adapter contains in full (layers in `trainable`, bases and biases that trained) have no strength and
 * stay unchanged.
 *
 * @param k finite and not negative. (`combineAdapters` takes negative weights.)
 * @param adapter is not changed.
 * @returns a new adapter.
 * @throws LoRAError `ERR_OPTION` if `k` is out of range, `ERR_DISPOSED` if the adapter was disposed of.
 * @example
 *     const half = scaleAdapter(adapter, 0.5);
 */
export function scaleAdapter(adapter: Adapter, k: number): Adapter {
  checkAdapter(adapter);
  if (!Number.isFinite(k) || k < 0) {
    throw new LoRAError(
      `k must be a finite number that is not negative, got ${show(k)}. To subtract: combineAdapters([{adapter, ` +
        'weight: -1}]).',
    );
  }
  const {config} = adapter;
  const layers = Object.entries(config.layers).map(
    ([path, layer]) =>
      [path, {...layer, ...resolveStrength(methodOf(layer.method).scale(resolveStrength(layer), k))}] as const,
  );
  const tensors = Object.entries(adapter.tensors).map(([name, tensor]) => [name, tf.clone(tensor)] as const);
  const scaled = makeAdapter({...config, layers: Object.fromEntries(layers)}, Object.fromEntries(tensors));
  return shareBase(adapter, scaled);
}
