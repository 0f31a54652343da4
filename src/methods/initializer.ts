import * as tf from '@tensorflow/tfjs';
import {LoRAError, show} from '../errors';
import {fieldsOf} from '../tfjs/fields';

/** An initializer of tfjs. */
export type InitializerObject = ReturnType<typeof tf.initializers.zeros>;

/**
 * The initializer of the factor that starts random, if the other, `zeroFactor`, starts at zero: what was asked for, else for `A`
 * U(−1/√fan-in, 1/√fan-in), which is what PEFT's Kaiming initialisation with a = √5 comes to, and for `B` N(0, 1), as in PEFT.
 */
export function initializerOfRandom(
  zeroFactor: 'A' | 'B',
  asked: Initializer | undefined,
  fanIn: number,
  seed: number | undefined,
): InitializerObject {
  const initializer = asked === undefined ? usual(zeroFactor, fanIn) : resolveInitializer(asked);
  return seed === undefined ? initializer : withSeed(initializer, seed);
}

function usual(zeroFactor: 'A' | 'B', fanIn: number): InitializerObject {
  const bound = 1 / Math.sqrt(fanIn);
  return zeroFactor === 'B'
    ? tf.initializers.randomUniform({minval: -bound, maxval: bound})
    : tf.initializers.randomNormal({mean: 0, stddev: 1});
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

/** An initializer of tfjs, its name, or its config. */
export type Initializer = ReturnType<typeof tf.initializers.zeros> | string | tf.serialization.ConfigDict;
