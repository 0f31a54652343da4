import * as tf from '@tensorflow/tfjs';

/** Whether all values of tensors are finite. Reads only one sum, computed on their backend. */
export async function allFinite(tensors: readonly tf.Tensor[]): Promise<boolean> {
  const sum = tf.tidy(() => {
    const [first, ...laterTensors] = tensors
      .filter(({dtype}) => dtype === 'float32')
      .map(tensor => tf.reshape(tensor, [tensor.size]));
    const all = first === undefined || laterTensors.length === 0 ? first : tf.concat([first, ...laterTensors]);
    // 0 · x is NaN for infinities and NaN, and 0 for all other numbers: the sum of these does not overflow.
    return tf.sum(tf.mul(all ?? 0, 0));
  });
  const [value] = await sum.data();
  sum.dispose();
  return value === 0;
}

/** The names of tensors that are not finite, in order. */
export async function namesNotFinite(tensors: Readonly<Record<string, tf.Tensor>>): Promise<string[]> {
  if (await allFinite(Object.values(tensors))) {
    return [];
  }
  const entries = Object.entries(tensors);
  const finite = await Promise.all(entries.map(([, tensor]) => allFinite([tensor])));
  return entries.filter((_, i) => !finite[i]).map(([name]) => name);
}
