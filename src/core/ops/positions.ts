import * as tf from '@tensorflow/tfjs';

/** The targets as integers, 1 for the positions that count, and whether one of these has an invalid target. */
export function factsOf(targets: tf.Tensor, classes: number, ignoreIndex: number) {
  const flatTargets = tf.cast(tf.reshape(targets, [-1]), 'float32');
  const counts = tf.notEqual(flatTargets, ignoreIndex);
  const isClass = tf.logicalAnd(tf.greaterEqual(flatTargets, 0), tf.less(flatTargets, classes));
  const isWrong = tf.logicalNot(tf.logicalAnd(isClass, tf.equal(flatTargets, tf.floor(flatTargets))));
  return {
    classes,
    numbers: tf.cast(flatTargets, 'int32'),
    counts: tf.cast(counts, 'float32'),
    hasWrong: tf.any(tf.logicalAnd(isWrong, counts)),
  };
}

export function positionsOf(logits: tf.Tensor, targets: tf.Tensor, ignoreIndex: number) {
  const classes = logits.shape.at(-1) ?? 1;
  return {...factsOf(targets, classes, ignoreIndex), rows: tf.reshape(logits, [-1, classes])};
}

/** One-hot rows, with zeros for an invalid class. */
export function oneHot(numbers: tf.Tensor, classes: number): tf.Tensor {
  if (classes === 1) {
    return tf.cast(tf.expandDims(tf.equal(numbers, 0), -1), 'float32'); // tfjs refuses a depth of 1
  }
  // With dtype float, `tf.oneHot` on WASM returns the bits of integers.
  return tf.cast(tf.oneHot(numbers as tf.Tensor1D, classes), 'float32');
}
