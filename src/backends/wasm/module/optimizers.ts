import * as tf from '@tensorflow/tfjs';
import type {AdamSettings, MomentumSettings, OptimizerSteps} from '../../shared/optimizerSteps';
import {oneByOne} from '../../shared/variableSteps';
import {BY_NUMBER, type Native} from './native';

/** The steps by our module. */
export function nativeSteps(native: Native): OptimizerSteps {
  return oneByOne({
    adam: (value, gradient, [first, second], settings) => adam(native, value, gradient, first, second, settings),
    momentum: (value, gradient, [velocity], settings) => momentum(native, value, gradient, velocity, settings),
    descend: (value, gradient, _slots, {learningRate, gradientScale}) =>
      updated(native, value, out => {
        const {size} = value;
        native.functions.descend(native.at(value), native.at(gradient), out, size, learningRate, gradientScale);
      }),
    sumOfSquares: gradient => native.functions.sumOfSquares(native.at(gradient), gradient.size),
  });
}

function adam(
  native: Native,
  value: tf.Tensor,
  gradient: tf.Tensor,
  first: tf.Variable,
  second: tf.Variable,
  {learningRate, gradientScale, beta1, beta2, epsilon, corrections, decayFactor}: AdamSettings,
): tf.Tensor {
  const [m, v] = [first, second].map(slot => ownPlace(native, slot)) as [number, number];
  return updated(native, value, out => {
    const places = [native.at(value), native.at(gradient), m, v, out];
    native.runParts(native.partsOf(value.size, 4, BY_NUMBER * value.size), (thread, {first, size}) => {
      thread.adam(
        ...[...places.map(place => place + 4 * first), size],
        ...[beta1, 1 - beta1, beta2, 1 - beta2, ...corrections, learningRate, epsilon, gradientScale, decayFactor],
      );
    });
  });
}

function momentum(
  native: Native,
  value: tf.Tensor,
  gradient: tf.Tensor,
  velocity: tf.Variable,
  {learningRate, gradientScale, momentum: factor, nesterov}: MomentumSettings,
): tf.Tensor {
  const place = ownPlace(native, velocity);
  return updated(native, value, out => {
    native.functions.momentum(
      ...[native.at(value), native.at(gradient), place, out, value.size],
      ...[factor, learningRate, nesterov ? 1 : 0, gradientScale],
    );
  });
}

/** A new value like `value`, written by `write` to separate memory: others may share the old one's. */
function updated(native: Native, value: tf.Tensor, write: (out: number) => void): tf.Tensor {
  const info = native.output(value.shape);
  write(native.at(info));
  return tf.engine().makeTensorFromTensorInfo(info);
}

/** The address of a slot's values, which the step overwrites. If other tensors share them, the slot is copied first. */
function ownPlace(native: Native, slot: tf.Variable): number {
  native.at(slot); // fetches it from another backend
  const backend = tf.backend() as unknown as {refCount(dataId: tf.DataId): number};
  if (backend.refCount(slot.dataId) > 1) {
    tf.tidy(() => {
      slot.assign(tf.add(slot, 0));
    });
  }
  return native.at(slot);
}
