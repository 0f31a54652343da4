import * as tf from '@tensorflow/tfjs';
import {shortName} from './configs';
import {setRelease} from './release';
import {chainOf, freeOptimizer, reviveOptimizer} from './slots';
import {isDisposed} from './weights';

// The optimizers of this library that models are compiled with. All copies of the library share what is noted here.

/** Marks a `compile` that is watched. */
const WATCHED = Symbol.for('tfjs-lora.watchedCompile');

const MODELS = Symbol.for('tfjs-lora.compiledModels');

interface CompiledOptimizer extends tf.Optimizer {
  [MODELS]?: Set<tf.LayersModel>;
}

type Compile = (this: tf.LayersModel, args: tf.ModelCompileArgs) => void;

/** Whether an optimizer is of this library, or around or inside one. */
export function hasOwnOptimizer(optimizer: tf.Optimizer): boolean {
  return chainOf(optimizer).some(isOwn);
}

function isOwn(optimizer: tf.Optimizer): boolean {
  const {className} = optimizer.constructor as {className?: unknown}; // an optimizer of the user's may have none
  return typeof className === 'string' && shortName(className) !== className;
}

/**
 * From now on, notes which models are compiled with optimizers of this library, and frees an optimizer when the last of
 * its models is compiled with another one. Call this before such an optimizer can be made: `model.compile({optimizer:
 * adam()})` looks up `compile` first.
 */
export function watchCompile(): void {
  let isInside = false;
  for (const {prototype} of [tf.LayersModel, tf.Sequential] as {prototype: {compile: Compile}}[]) {
    const {compile} = prototype;
    if (WATCHED in compile) {
      continue;
    }
    const watched: Compile = function (args) {
      if (isInside) {
        compile.call(this, args); // of the model that a Sequential makes each time
        return;
      }
      const before = this.optimizer;
      isInside = true;
      try {
        compile.call(this, args);
      } finally {
        isInside = false;
        const now = this.optimizer;
        release(this, before, optimizersIn(now));
        for (const nestedOptimizer of optimizersIn(now)) {
          (nestedOptimizer[MODELS] ??= new Set()).add(this);
          reviveOptimizer(nestedOptimizer);
        }
        setRelease(this, () => release(this, this.optimizer, []));
      }
    };
    prototype.compile = Object.assign(watched, {[WATCHED]: true});
  }
}

function release(
  model: tf.LayersModel,
  optimizer: tf.Optimizer | undefined, // of a model that is not compiled
  remaining: readonly CompiledOptimizer[],
): void {
  for (const nestedOptimizer of optimizersIn(optimizer)) {
    const models = nestedOptimizer[MODELS];
    const isLast =
      !remaining.includes(nestedOptimizer) &&
      models?.delete(model) === true &&
      [...models].every(({weights}) => weights.some(isDisposed));
    if (isLast) {
      freeOptimizer(nestedOptimizer);
    }
  }
}

function optimizersIn(optimizer: tf.Optimizer | undefined): CompiledOptimizer[] {
  return optimizer == null ? [] : chainOf(optimizer).filter(isOwn);
}
