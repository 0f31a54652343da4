import * as tf from '@tensorflow/tfjs';
import type {LayerConfig} from '../layers/layerConfig';
import type {Method} from '../methods/method';
import {resolveStrength, withRank} from '../methods/lora';
import {methodOf} from '../methods/registry';
import {type Adapter, layerConfigAt, makeAdapter} from './adapter';
import {rankLimitOf, tensorsByLayer} from './layerTensors';
import {matricesOf, reduced} from './mixing';

/**
 * Converts low-rank products to LoRA; the result computes the same, to rounding. Updates of PiSSA and OLoRA then have
 * twice the rank, or the highest that the layer can hold. Other updates stay as they are.
 *
 * @param converts whether an update of a method is converted. Default: always.
 */
export function asLoRA(adapter: Adapter, converts: (method: Method) => boolean = () => true): Adapter {
  const {config, tensors} = adapter;
  const layers: Record<string, LayerConfig> = {...config.layers};
  const byName = new Map(Object.entries(tensors));
  const ranks = new Map<string, number>();
  const made = tf.tidy(() => {
    const products: Record<string, tf.Tensor> = {};
    for (const [start, {path, parameters}] of tensorsByLayer(adapter).updates) {
      const {method: name, ...layer} = layerConfigAt(config, path) as LayerConfig;
      const method = methodOf(name);
      const isWhole = method.parameterNames.every(parameter => parameters[parameter] !== undefined);
      if (!isWhole || method.parametersOf !== undefined || !converts(method) || method.product === undefined) {
        continue;
      }
      const {a, b} = method.product(parameters);
      const product = rankLimitOf({a, b}) < b.shape[0] ? reduced(matricesOf({a, b})) : {a, b};
      const rank = product.b.shape[0];
      products[`${start}lora_A`] = tf.reshape(product.a, [...a.shape.slice(0, -1), rank]);
      products[`${start}lora_B`] = tf.reshape(product.b, [rank, ...b.shape.slice(1)]);
      method.parameterNames.forEach(parameter => byName.delete(start + parameter));
      // a smaller weight of the layer has the highest rank that it can hold
      ranks.set(path, Math.max(rank, ranks.get(path) ?? 1));
      layers[path] = {...layer, ...withRank(resolveStrength(layer), ranks.get(path) ?? rank)};
    }
    return products;
  });
  const clones = [...byName].map(([name, tensor]) => [name, tf.clone(tensor)] as const);
  return makeAdapter({...config, layers}, {...Object.fromEntries(clones), ...made});
}
