import * as tf from '@tensorflow/tfjs';

// What is asked of tfjs's engine and of its tables of kernels and gradients.

/** The parts of the engine's state that tell what it does. They are private; where one is missing, nothing counts as training. */
interface EngineState {
  readonly gradientDepth?: number;
  readonly scopeStack?: readonly {readonly name?: string}[];
}

function state(): EngineState {
  return tf.engine().state;
}

/** Whether tfjs is recording, so that a gradient may be taken of what is computed now. */
export function isRecording(): boolean {
  return (state().gradientDepth ?? 0) > 0;
}

/**
 * Whether a gradient is being taken: a forward pass is recorded, or a backward pass runs. Then the last bits need not be those of `predict`.
 */
export function isTakingGradient(): boolean {
  // The name of the scope that tfjs opens for a backward pass.
  return isRecording() || (state().scopeStack ?? []).some(({name}) => name === 'backward');
}

/** A kernel of a backend, if it has one of that name. */
export function kernelOf(name: string, backend: string): tf.KernelConfig | undefined {
  return tf.getKernel(name, backend); // in tfjs's types, every kernel exists
}

/** The gradient of a kernel, if it has one. */
export function gradientOf(kernelName: string): tf.GradConfig | undefined {
  return tf.getGradient(kernelName); // in tfjs's types, every gradient exists
}
