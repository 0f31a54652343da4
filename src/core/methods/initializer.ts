import * as tf from '@tensorflow/tfjs';
import {prefixed, show} from '../../platform/errors';
import {isClassOf} from '../../platform/tfjs/configs';
import {fieldsOf} from '../../platform/tfjs/fields';

/** An initializer of tfjs. */
export type InitializerObject = ReturnType<typeof tf.initializers.zeros>;

/**
 * The initializer of the factor that starts random, while the other, `zeroFactor`, starts at zero: the given one or
 * PEFT's, U(−1/√fan-in, 1/√fan-in) for `A` (Kaiming's with a = √5) and N(0, 1) for `B`.
 */
export function initializerOfRandom(
  zeroFactor: 'A' | 'B',
  asked: Initializer | undefined,
  fanIn: number,
  seed: number | undefined,
): InitializerObject {
  const usual = () =>
    zeroFactor === 'B' ? uniform(1 / Math.sqrt(fanIn)) : tf.initializers.randomNormal({mean: 0, stddev: 1});
  const initializer = asked === undefined ? usual() : resolveInitializer(asked);
  return seed === undefined
    ? initializer
    : resolveInitializer({className: initializer.getClassName(), config: {...initializer.getConfig(), seed}});
}

/** U(−bound, bound). Initializers that share a seed have different `i`. */
export function uniform(bound: number, seed?: number, i = 0): InitializerObject {
  return tf.initializers.randomUniform({
    minval: -bound,
    maxval: bound,
    ...(seed !== undefined && {seed: seed + i}),
  });
}

/**
 * An initializer by name or config, as `tf.layers` understands them.
 *
 * @throws LoRAError if no initializer has that name.
 */
function resolveInitializer(asked: Initializer): InitializerObject {
  // tfjs keeps its table of names to itself; its layers look them up.
  try {
    checkClass(asked);
    const dense = tf.layers.dense({units: 1, kernelInitializer: asked as 'zeros'});
    const {kernelInitializer} = fieldsOf<{kernelInitializer: InitializerObject}>(dense);
    checkNumbers(kernelInitializer);
    return kernelInitializer;
  } catch (error) {
    const expected = "init must be 'pissa', 'olora', or an initializer of tfjs, such as 'heUniform'";
    throw prefixed(`${expected}, got ${show(asked)}: `, error);
  }
}

/** Refuses the config of something else, before it is made. */
function checkClass(asked: Initializer): void {
  const className: unknown = (asked as {className?: unknown}).className;
  if (className !== undefined && !(typeof className === 'string' && isClassOf('initializer', className))) {
    throw new Error(`${show(className)} is not a class of initializers.`);
  }
}

/** Refuses values with which tfjs never stops drawing: it draws until one is within two deviations of the mean. */
function checkNumbers(initializer: InitializerObject): void {
  const config = initializer.getConfig();
  for (const key of ['value', 'minval', 'maxval', 'mean', 'stddev', 'scale', 'gain']) {
    const value = config[key] ?? 0;
    const isFine = Number.isFinite(value) && (key !== 'stddev' || Number(value) >= 0);
    if (!isFine && STOCK.test(initializer.getClassName())) {
      throw new Error(`its ${key} is ${show(value)}.`);
    }
  }
}

/** The classes of tfjs with numeric settings. */
const STOCK = /^(?:Constant|Random(?:Uniform|Normal)|TruncatedNormal|Identity|VarianceScaling|Orthogonal)$/;

/** An initializer as tfjs nests it in a layer's config. */
export function initializerEntry(asked: Initializer): tf.serialization.ConfigDict {
  const initializer = resolveInitializer(asked);
  return {className: initializer.getClassName(), config: initializer.getConfig()};
}

/** The initializations of LoRA that are computed from the weight. */
export type PrincipalInit = 'pissa' | 'olora';

/** Whether `init` names an initialization from the weight, not an initializer. */
export function isPrincipal(init: unknown): init is PrincipalInit {
  return init === 'pissa' || init === 'olora';
}

/** An initializer of tfjs, its name, or its config. */
export type Initializer = InitializerObject | InitializerName | tf.serialization.ConfigDict;

type InitializerName =
  | `${'glorot' | 'he' | 'leCun' | 'random'}${'Normal' | 'Uniform'}`
  | 'constant'
  | 'identity'
  | 'ones'
  | 'orthogonal'
  | 'truncatedNormal'
  | 'varianceScaling'
  | 'zeros';
