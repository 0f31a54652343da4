import * as tf from '@tensorflow/tfjs';
import type {LoRALayer} from '../layers/loraLayer';
import {replaceValue} from '../tfjs/weights';

/** Gives parameters of which all layers have parts, those of one rank, the beginning of the largest, which is drawn already. */
export function shareParameters(layers: readonly LoRALayer[]): void {
  const groups = new Map<string, tf.LayerVariable[]>();
  for (const layer of layers) {
    for (const [name, variable] of layer.update.shared()) {
      const key = `${name}, rank ${layer.rank}`;
      groups.set(key, [...(groups.get(key) ?? []), variable]);
    }
  }
  tf.tidy(() => {
    for (const [key, variables] of groups) {
      // As matrices they have the rank on one side.
      const matrixOf = (variable: tf.LayerVariable) => {
        const x = variable.read();
        return key.startsWith('vera_A') ? tf.reshape(x, [-1, x.shape.at(-1) ?? 1]) : tf.reshape(x, [x.shape[0], -1]);
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
