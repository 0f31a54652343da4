import * as tf from '@tensorflow/tfjs';

/** The record of a kernel run in tfjs. */
export interface TapeNode {
  kernelName: string;
  inputs: Record<string, tf.Tensor>;
  outputs: tf.Tensor[];
  /** What its gradient is given. */
  saved?: tf.Tensor[];
}

// Access to tfjs's engine and its tables of kernels and gradients.

/** The parts of the engine's private state that are read here. If one is missing, nothing is being recorded. */
interface EngineState {
  /** How many gradients have a forward pass in progress. */
  gradientDepth?: number;
  /** How many kernels run: what they call is not recorded. */
  kernelDepth?: number;
  /** There is none before the first gradient is taken, and `null` between two. It stays for the backward pass. */
  activeTape?: TapeNode[] | null;
  activeScope?: {readonly track?: readonly tf.Tensor[]} | null;
  scopeStack?: readonly {readonly name?: string}[];
  tensorInfo: WeakMap<object, unknown>;
}

function state(): EngineState {
  return tf.engine().state;
}

/** The name of the scope that tfjs opens for a backward pass. */
const BACKWARD = 'backward';

/** Whether a forward pass is being recorded, so that a gradient may be taken of what is computed now. */
export function isRecording(): boolean {
  return (state().gradientDepth ?? 0) > 0;
}

/** Whether a gradient is being taken: a forward pass is recorded, or a backward pass runs. */
export function isTakingGradient(): boolean {
  return isRecording() || isPropagating();
}

/** Whether a backward pass runs, and not a forward pass in it, such as the recomputation of activations. */
export function isPropagating(): boolean {
  return !isRecording() && (state().scopeStack ?? []).some(({name}) => name === BACKWARD);
}

/** The recorded tape of the current gradient: a new list for each. */
export function currentTape(): readonly TapeNode[] | undefined {
  return state().activeTape ?? undefined;
}

/** Runs `f` within a backward pass. tfjs forgets the outer tape when a gradient taken in `f` ends. */
export function keepingTape<T>(f: () => T): T {
  const current = state();
  const {activeTape} = current;
  try {
    return freeingTape(f);
  } finally {
    current.activeTape = activeTape;
  }
}

/** Runs `f`. If a gradient taken in it fails, frees what its forward pass saved, which tfjs does only at the end. */
export function freeingTape<T>(f: () => T): T {
  const {activeTape} = state();
  try {
    return f();
  } catch (error) {
    const failed = state().activeTape;
    if (failed !== activeTape) {
      failed?.forEach(({saved}) => saved?.forEach(tensor => tensor.dispose()));
      state().activeTape = activeTape ?? null;
    }
    throw error;
  }
}

/** Runs `f` as if no gradient were being taken: nothing in it is recorded, except by gradients taken in it. */
export function detached<T>(f: () => T): T {
  const current = state();
  const {gradientDepth, kernelDepth, activeTape} = current;
  Object.assign(current, {gradientDepth: 0, kernelDepth: 0, activeTape: null});
  try {
    return freeingTape(f);
  } finally {
    Object.assign(current, {gradientDepth, kernelDepth, activeTape});
  }
}

/** Runs `f`, and returns the tensors that it made and left to the scope around it. */
export function withMade<T>(f: () => T): {result: T; made: readonly tf.Tensor[]} {
  const track = state().activeScope?.track ?? [];
  const from = track.length;
  const result = f();
  return {result, made: track.slice(from).filter(({kept: isKept}) => !isKept)};
}

export function holds(dataId: unknown): boolean {
  return typeof dataId === 'object' && dataId !== null && state().tensorInfo.has(dataId);
}

/** Runs `f`; if it fails, frees the variables that it made. */
export function withoutResidue<T>(f: () => T): T {
  // Later tensors have larger numbers.
  const last = tf.scalar(0);
  last.dispose();
  try {
    return f();
  } catch (error) {
    tf.dispose(Object.values(tf.engine().registeredVariables).filter(({id}) => id > last.id));
    throw error;
  }
}

/** A kernel of a backend, if it has one of that name. */
export function kernelOf(name: string, backend: string): tf.KernelConfig | undefined {
  return tf.getKernel(name, backend); // in tfjs's types, every kernel exists
}

/** The gradient of a kernel, if it has one. */
export function gradientOf(kernelName: string): tf.GradConfig | undefined {
  return tf.getGradient(kernelName); // in tfjs's types, every gradient exists
}

/**
 * Launches a kernel that has no public function. tfjs calls its fused kernels only while no gradient is recorded.
 * Operations with their own gradient can call them in training too, and so compute what stock layers compute in
 * `predict`, to the last bit.
 */
export function run(kernel: string, inputs: Record<string, tf.Tensor>, attributes: object): tf.Tensor {
  return tf.engine().runKernel(kernel, inputs, attributes as tf.NamedAttrMap);
}

/**
 * Gives a variable the values of a tensor with its shape, like `assign`, but without counting them: that would request
 * from the current backend values that are on another one.
 */
export function takeData(variable: tf.Variable, {dataId}: tf.Tensor): void {
  const engine = tf.engine();
  engine.disposeTensor(variable);
  variable.dataId = dataId;
  (engine as unknown as {trackTensor(tensor: tf.Tensor, backend: null): void}).trackTensor(variable, null);
}
