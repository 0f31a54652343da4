import * as tf from '@tensorflow/tfjs';
import type {LoRALayer} from '../layers/loraLayer';
import type {SharedSide} from '../methods/method';
import {replaceValue} from '../tfjs/weights';

/**
 * Gives parameters of which all layers have parts, those of one rank, the beginning of the largest, which is drawn
 * already.
 */
export function shareParameters(layers: readonly LoRALayer[]): void {
  const groups = new Map<string, {side: SharedSide; variables: tf.LayerVariable[]}>();
  for (const layer of layers) {
    for (const {name, side, variable} of layer.update.shared()) {
      const key = `${name}, rank ${layer.rank}`;
      groups.set(key, {side, variables: [...(groups.get(key)?.variables ?? []), variable]});
    }
  }
  tf.tidy(() => {
    for (const {side, variables} of groups.values()) {
      const matrixOf = (variable: tf.LayerVariable) => {
        const x = variable.read();
        return tf.reshape(x, side === 'rows' ? [-1, x.shape.at(-1) ?? 1] : [x.shape[0], -1]);
      };
      const [largest, ...others] = [...variables].sort((one, other) => other.read().size - one.read().size);
      const whole = matrixOf(largest as tf.LayerVariable);
      for (const variable of others) {
        const {shape} = matrixOf(variable);
        replaceValue(variable, tf.reshape(tf.slice(whole, [0, 0], shape), variable.read().shape));
      }
    }
  });
}
