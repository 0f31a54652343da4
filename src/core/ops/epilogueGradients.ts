import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';
import {defer, type Deferred, deferredOf} from '../../backends/shared/deferred';
import type {EpilogueGradient} from '../../backends/shared/launches';
import {isRecording} from '../../platform/tfjs/engine';

// The backward pass of a convolution with its normalization and relu: the operation before them computes their
// gradients together with its own.

/** A gradient through an epilogue, which the operation before it computes with its own. */
type Pending = EpilogueGradient & Deferred;

/**
 * The gradient through a part of an epilogue. The operation before the epilogue takes it with `epilogueGradient`, or it
 * is computed when something else reads it. `undefined` where it has to be computed at once.
 */
export function throughEpilogue(dy: tf.Tensor, epilogue: Omit<EpilogueGradient, 'dy'>): tf.Tensor | undefined {
  const epilogues = capabilities().fusedConvolution?.epilogues;
  if (epilogues === undefined || isRecording()) {
    return undefined;
  }
  const before = epilogueGradient(dy);
  const {dy: outer, y, m, cap} = {...(before.m === undefined ? before : {dy}), ...epilogue};
  const held: tf.Tensor[] = [];
  const hold = (tensor: tf.Tensor) => {
    const clone = tf.clone(tensor);
    held.push(clone);
    return clone;
  };
  const mergedEpilogue = {dy: hold(outer), ...(y && {y: hold(y)}), ...(m && {m: hold(m)}), cap};
  const pending: Pending = {...mergedEpilogue, held, compute: () => epilogues.through(mergedEpilogue)};
  return defer(dy.shape, pending);
}

/** A gradient, or that of the epilogue after an operation, from which it has not been computed. */
export function epilogueGradient(dy: tf.Tensor): EpilogueGradient {
  const deferred = deferredOf(dy);
  return deferred !== undefined && 'dy' in deferred ? (deferred as Pending) : {dy};
}
