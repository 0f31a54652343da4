import * as tf from '@tensorflow/tfjs';
import {damagedError, misfitError} from '../../../platform/errors';
import {type SentenceDense, type SentenceModules, type SentenceWeights, tensorsOf} from '../net/sentenceModules';
import {gate} from '../ops/gate';
import {poolStates} from '../ops/poolStates';

/** Turns states, `[texts, positions, width]`, and their mask into vectors, `[texts, width]`. */
export type Vectors = (states: tf.Tensor3D, mask: tf.Tensor) => tf.Tensor2D;

/** How texts become vectors by modules, and the tensors that it uses, which the caller disposes. */
export interface VectorMaker {
  vectors: Vectors;
  tensors: ReadonlyMap<string, tf.Tensor>;
}

/**
 * What modules of a sentence-transformer compute. A normalization at the end is left to the caller.
 *
 * @throws LoRAError if the weights of a module `Dense` are not there. Nothing is created then.
 */
export function vectorsBy({steps}: SentenceModules, weights: SentenceWeights | undefined): VectorMaker {
  const named = steps.flatMap(step =>
    step.kind === 'dense' ? tensorsOf(step).map(([name]) => `${step.path}/${name}`) : [],
  );
  const missing = named.find(name => weights?.get(name) === undefined);
  if (missing !== undefined) {
    throw misfitError(
      `The model's vectors need the tensor "${missing}" of its folder, which a model that tfjs saved and loaded does ` +
        "not have. Load the model from its folder with loadTransformer, or choose a pooling: {pooling: 'mean'}.",
    );
  }
  const tensors = new Map(
    named.map(name => {
      const {shape, data} = weights?.get(name) as {shape: number[]; data: Float32Array};
      return [name, tf.tensor(data, shape)];
    }),
  );
  const chosen = steps.at(-1)?.kind === 'normalize' ? steps.slice(0, -1) : steps;
  const vectors: Vectors = (states, mask) => {
    let x: tf.Tensor2D | undefined;
    for (const step of chosen) {
      if (step.kind === 'pooling') {
        if (states.shape[2] !== step.width) {
          throw damagedError(
            `The model's folder says that its states have width ${step.width}, but they have ${states.shape[2]}.`,
          );
        }
        x = tf.concat(
          step.modes.map(mode => poolStates(states, mask, mode)),
          1,
        );
      } else if (step.kind === 'normalize') {
        x = x && unitVectors(x);
      } else {
        x = x && dense(x, step, name => tensors.get(`${step.path}/${name}`) as tf.Tensor2D);
      }
    }
    return x as tf.Tensor2D;
  };
  return {vectors, tensors};
}

/** Scales each row to length 1. */
export function unitVectors(x: tf.Tensor2D): tf.Tensor2D {
  return tf.divNoNan<tf.Tensor2D>(x, tf.norm(x, 2, 1, true));
}

function dense(
  x: tf.Tensor2D,
  {bias, activation, residual, from, to}: SentenceDense,
  weight: (name: string) => tf.Tensor2D,
): tf.Tensor2D {
  const product: tf.Tensor2D = tf.matMul(x, weight('linear.weight'), false, true);
  const sum = bias ? tf.add<tf.Tensor2D>(product, weight('linear.bias')) : product;
  const y = activated(sum, activation);
  return residual ? tf.add(y, from === to ? x : tf.matMul(x, weight('residual.weight'), false, true)) : y;
}

function activated(x: tf.Tensor2D, activation: SentenceDense['activation']): tf.Tensor2D {
  switch (activation) {
    case 'linear':
      return x;
    case 'silu':
    case 'gelu':
      return gate(x, tf.onesLike(x), activation) as tf.Tensor2D;
    case 'tanh':
      return tf.tanh(x);
    case 'relu':
      return tf.relu(x);
    case 'sigmoid':
      return tf.sigmoid(x);
  }
}
