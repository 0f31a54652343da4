import * as tf from '@tensorflow/tfjs';

/** The backends that the suites run on in Node. */
export const BACKENDS = ['cpu', 'wasm'] as const;

/** The activations of tfjs, as its layers spell them. Early versions of tfjs 4 have no `gelu`. */
export const ACTIVATIONS = (
  [
    'linear',
    'relu',
    'relu6',
    'elu',
    'selu',
    'sigmoid',
    'hardSigmoid',
    'tanh',
    'softmax',
    'softplus',
    'softsign',
    'swish',
    'mish',
    'gelu',
    'gelu_new',
  ] as const
).filter(isActivation);

function isActivation(activation: string): boolean {
  try {
    tf.layers.activation({activation: activation as 'linear'});
    return true;
  } catch {
    return false;
  }
}

/** Makes `backend` current, and fails rather than falling back to another. */
export async function useBackend(backend: string): Promise<void> {
  if (!(await tf.setBackend(backend))) {
    throw new Error(`Backend ${backend} is not available.`);
  }
}

/** Runs `f` and expects that it leaves as many tensors and data buffers as it found. */
export async function withoutLeaks(f: () => unknown): Promise<void> {
  const before = tf.memory();
  await f();
  const after = tf.memory();
  expect({tensors: after.numTensors, buffers: after.numDataBuffers}).toEqual({
    tensors: before.numTensors,
    buffers: before.numDataBuffers,
  });
}

/** The numbers of a tensor, with -0 as 0: what is left to compare bit for bit. */
export function numbers(tensor: tf.Tensor): number[] {
  return Array.from(tensor.dataSync(), value => value + 0);
}

/** Random numbers, the same on each backend. */
export function random<R extends tf.Rank>(shape: tf.ShapeMap[R], seed: number, deviation = 1): tf.Tensor<R> {
  return tf.randomNormal<R>(shape, 0, deviation, 'float32', seed);
}

/**
 * The deviation of inputs of which sums over a fan-in are about 1, where an activation is neither linear nor constant.
 */
export function deviationFor(fanIn: number): number {
  return 1 / Math.sqrt(fanIn);
}

/** Runs `compute` on a backend and gives the numbers of the tensors that it returns. */
export async function on(backend: string, compute: () => tf.Tensor[]): Promise<number[][]> {
  await useBackend(backend);
  const tensors = tf.tidy(compute);
  const values = tensors.map(numbers);
  tf.dispose(tensors);
  return values;
}

/**
 * `f` of named inputs, then its gradients in all of them, for a random upstream gradient. That is mostly positive, so
 * that a sum over it does not cancel.
 */
export function differentiate(
  inputs: Record<string, tf.Tensor>,
  f: (inputs: Record<string, tf.Tensor>) => tf.Tensor,
): tf.Tensor[] {
  const names = Object.keys(inputs);
  const y = f(inputs);
  const dy = tf.add(random(y.shape as [number, number], 6), 1);
  const named = (list: tf.Tensor[]) => f(Object.fromEntries(names.map((name, i) => [name, list[i]!])));
  return [y, ...tf.grads((...list) => named(list))(Object.values(inputs), dy)];
}

/**
 * Expects gradients that agree to 1e-4 of each number, or 1e-5 of the largest where numbers cancel. All may be small
 * where an activation is near its bound: `1 − y²` of tanh rounds by 1.2e-7 there, times an upstream gradient of up to
 * 4, so that 5e-7 are always allowed. A caller whose sums cancel further passes a larger `least`.
 */
export function expectGradients(actual: number[][], expected: number[][], least = 0.05): void {
  expect(actual).toHaveLength(expected.length);
  for (const [i, gradient] of actual.entries()) {
    const largest = Math.max(least, ...expected[i]!.map(Math.abs));
    expect(gradient).toBeAllClose(expected[i]!, {rtol: 1e-4, atol: 1e-5 * largest});
  }
}

/** An optimizer that keeps the gradients instead of applying them. */
export class KeptGradients extends tf.SGDOptimizer {
  readonly values = new Map<string, number[]>();

  /** @param read what is kept of a gradient. Default: its numbers. */
  constructor(private readonly read: (gradient: tf.Tensor) => number[] = numbers) {
    super(0);
  }

  override applyGradients(gradients: Parameters<tf.SGDOptimizer['applyGradients']>[0]): void {
    const entries: [string, tf.Tensor][] = Array.isArray(gradients)
      ? gradients.map(({name, tensor}) => [name, tensor])
      : Object.entries(gradients);
    entries.forEach(([name, tensor]) => this.values.set(name, this.read(tensor)));
  }
}

/** A kernel that ran, as `tf.profile` tells it. */
export interface KernelRun {
  name: string;
  /** Shape of its first output, joined by ×. */
  output: string;
}

/** The kernels that run while `f` computes. */
export async function kernelsOf(f: () => unknown): Promise<KernelRun[]> {
  const {kernels} = await tf.profile(() => {
    tf.dispose(f() as tf.TensorContainer);
    return tf.scalar(0);
  });
  return kernels.map(({name, outputShapes}) => ({
    name,
    output: (outputShapes[0] ?? []).filter(size => size !== 1).join('×'),
  }));
}
