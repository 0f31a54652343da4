import * as tf from '@tensorflow/tfjs';
import {type RotationSettings, transformerKernels} from '../kernels/transformer';
import {runLazyOp} from '../../../platform/tfjs/lazyOp';

/** Cosines and sines of angles, `[positions, half]` each, or `[batch · positions, half]`. */
export interface Angles {
  cosines: tf.Tensor2D;
  sines: tf.Tensor2D;
}

/**
 * Rotates pairs of values of each head by the angles of its position: `y₁ = x₁·cos − x₂·sin`, `y₂ = x₂·cos + x₁·sin`.
 * The gradient rotates back, so nothing is kept for it. (Su et al., "RoFormer", arXiv 2104.09864; the pairs `(j, j +
 * half)` are those of GPT-NeoX and Llama.)
 *
 * @param x `[batch, positions, heads · size]`. Values of a head beyond `2 · half` stay as they are.
 * @param anglesOf makes the tables; called again in the backward pass.
 * @param mask the input that the angles depend on, if any.
 */
export function rotate(
  x: tf.Tensor3D,
  anglesOf: (mask: tf.Tensor | null) => Angles,
  settings: RotationSettings,
  mask: tf.Tensor | null = null,
): tf.Tensor3D {
  const rotated = (z: tf.Tensor3D, shown: tf.Tensor | null, back: boolean) =>
    tf.tidy(() => {
      const angles = anglesOf(shown);
      return transformerKernels()?.rotate(z, angles, {...settings, back}) ?? composed(z, angles, settings, back);
    });
  return runLazyOp({
    inputs: {x, ...(mask && {mask})},
    save: {mask: mask !== null},
    forward: () => rotated(x, mask, false),
    gradient: (dy, saved) => ({x: () => rotated(dy as tf.Tensor3D, mask && saved.mask, true)}),
  }) as tf.Tensor3D;
}

function composed(
  x: tf.Tensor3D,
  {cosines, sines}: Angles,
  {heads, interleaved}: RotationSettings,
  back: boolean,
): tf.Tensor {
  return tf.tidy(() => {
    const [batch, positions, width] = x.shape;
    const size = width / heads;
    const half = cosines.shape[1];
    const pairs = interleaved ? [half, 2] : [2, half];
    const axis = interleaved ? 4 : 3;
    const byHead = tf.reshape(x, [batch, positions, heads, size]);
    const [start, unrotated] = 2 * half === size ? [byHead] : tf.split(byHead, [2 * half, size - 2 * half], 3);
    const [first, second] = tf.unstack(tf.reshape(start as tf.Tensor, [batch, positions, heads, ...pairs]), axis) as [
      tf.Tensor,
      tf.Tensor,
    ];
    const c = tf.reshape(cosines, [-1, positions, 1, half]);
    const s = tf.reshape(back ? tf.neg(sines) : sines, [-1, positions, 1, half]);
    const rotated = tf.stack(
      [tf.sub(tf.mul(first, c), tf.mul(second, s)), tf.add(tf.mul(second, c), tf.mul(first, s))],
      axis,
    );
    const flat = tf.reshape(rotated, [batch, positions, heads, 2 * half]);
    return tf.reshape(unrotated === undefined ? flat : tf.concat([flat, unrotated], 3), x.shape);
  });
}

/** Rotates queries or keys by angles whose cosines and sines a tensor holds, `[2, positions, size / 2]`. */
export function rotateByAngles(x: tf.Tensor, angles: tf.Tensor, heads: number): tf.Tensor {
  const tables = (shown: tf.Tensor | null) => {
    const [cosines, sines] = tf.unstack(shown ?? angles) as [tf.Tensor2D, tf.Tensor2D];
    return {cosines, sines};
  };
  return rotate(x as tf.Tensor3D, tables, {heads, interleaved: false}, angles);
}
