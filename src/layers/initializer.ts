import * as tf from '@tensorflow/tfjs';
import {type Initializer, show} from '../config';
import {LoRAError} from '../errors';
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

/**
 * An initializer by name or config, as `tf.layers` understands them.
 *
 * @throws LoRAError if there is none of that name.
 */
export function resolveInitializer(asked: Initializer): InitializerObject {
  // tfjs keeps its table of names to itself; its layers look them up.
  try {
    const dense = tf.layers.dense({units: 1, kernelInitializer: asked as 'zeros'});
    return fieldsOf<{kernelInitializer: InitializerObject}>(dense).kernelInitializer;
  } catch (error) {
    throw new LoRAError(
      `initializer must be one of tfjs's, such as 'heUniform', got ${show(asked)}: ${(error as Error).message}`,
    );
  }
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
