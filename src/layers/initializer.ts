import * as tf from '@tensorflow/tfjs';
import type {Initializer} from '../config';
import {fieldsOf} from './stock';

/** An initializer of tfjs. */
export type InitializerObject = ReturnType<typeof tf.initializers.zeros>;

/**
 * The initializer of `A`: what was asked for, or U(−1/√fan-in, 1/√fan-in), which is what PEFT's Kaiming initialisation with a = √5
 * comes to.
 */
export function initializerOfA(
  asked: Initializer | undefined,
  fanIn: number,
  seed: number | undefined,
): InitializerObject {
  const bound = 1 / Math.sqrt(fanIn);
  const initializer =
    asked === undefined ? tf.initializers.randomUniform({minval: -bound, maxval: bound}) : resolveInitializer(asked);
  return seed === undefined ? initializer : withSeed(initializer, seed);
}

/** An initializer by name or config, as `tf.layers` understands them. */
export function resolveInitializer(asked: Initializer): InitializerObject {
  // tfjs keeps its table of names to itself; its layers look them up.
  const dense = tf.layers.dense({units: 1, kernelInitializer: asked as 'zeros'});
  return fieldsOf<{kernelInitializer: InitializerObject}>(dense).kernelInitializer;
}

/** An initializer as tfjs nests it in a layer's config. */
export function initializerEntry(asked: Initializer): tf.serialization.ConfigDict {
  const initializer = resolveInitializer(asked);
  return {className: initializer.getClassName(), config: initializer.getConfig()};
}

function withSeed(initializer: InitializerObject, seed: number): InitializerObject {
  const config = {...initializer.getConfig(), seed};
  return resolveInitializer({className: initializer.getClassName(), config});
}
