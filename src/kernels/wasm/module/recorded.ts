import * as tf from '@tensorflow/tfjs';

/** The parts of the engine's state that tell what is being computed. They are private; where they are missing, nothing counts as training. */
interface EngineState {
  readonly gradientDepth?: number;
  readonly scopeStack?: readonly {readonly name?: string}[];
}

/** The name of the scope that tfjs opens for a backward pass. */
const BACKWARD = 'backward';

/**
 * Whether a gradient is being taken right now: a forward pass is recorded, or a backward pass runs. Then the last bits need not be those of
 * `predict`.
 */
export function isRecorded(): boolean {
  const {gradientDepth = 0, scopeStack = []} = tf.engine().state as unknown as EngineState;
  return gradientDepth > 0 || scopeStack.some(({name}) => name === BACKWARD);
}
