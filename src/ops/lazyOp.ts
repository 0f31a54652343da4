import * as tf from '@tensorflow/tfjs';
import {gradientOf, kernelOf} from '../tfjs/engine';
import {freeingHeld} from './heldTensors';

/** What was kept of the forward pass. Only what the operation asked for is there. */
export interface Saved {
  /** The input named `x`. */
  x: tf.Tensor;
  /** The input named `kernel`, and so on. */
  kernel: tf.Tensor;
  a: tf.Tensor;
  b: tf.Tensor;
  gain: tf.Tensor;
  dropped?: tf.Tensor;
  k: tf.Tensor;
  v: tf.Tensor;
  mask: tf.Tensor;
  up: tf.Tensor;
  bias: tf.Tensor;
  /** The result. */
  y: tf.Tensor;
  /** The outputs beside the result that were asked for. */
  h?: tf.Tensor;
  z?: tf.Tensor;
}

/** The inputs that can be kept. */
const SAVED_INPUTS = ['x', 'kernel', 'a', 'b', 'gain', 'dropped', 'k', 'v', 'mask', 'up', 'bias'] as const;

/** The outputs beside the result: for the backward pass alone, and without a gradient. */
const EXTRA_OUTPUTS = ['h', 'z'] as const;

/** A differentiable operation made of others, with a gradient of its own for each input. */
export interface LazyOp {
  /** The tensors that the result can be differentiated in. */
  inputs: Record<string, tf.Tensor>;
  /** Which tensors to keep for the backward pass. `h` and `z` are outputs beside the result. */
  save: Partial<Record<keyof Saved, boolean>>;
  /** Computes the result, and after it `h` and `z` where they are kept. Nothing in here is recorded. */
  forward(): tf.Tensor | tf.Tensor[];
  /**
   * Given the gradient of the result, returns a function for each input. tfjs calls only those whose gradient is
   * needed; what is computed before returning them is computed always.
   */
  gradient(dy: tf.Tensor, saved: Saved): Record<string, () => tf.Tensor>;
}

/** Whether a tensor can need a gradient: a variable that does not train cannot. */
export function learns(x: tf.Tensor): boolean {
  return !(x instanceof tf.Variable) || x.trainable;
}

/**
 * Runs an operation as one step of the tape.
 *
 * `tf.customGrad` would compute the gradient of every input, wanted or not, and plain ops would keep every intermediate
 * tensor. A registered kernel does neither: tfjs asks a registered gradient for each input by itself, and keeps what
 * the registration names.
 */
export function runLazyOp(op: LazyOp & {forward(): tf.Tensor}): tf.Tensor;
export function runLazyOp(op: LazyOp): tf.Tensor | tf.Tensor[];
export function runLazyOp(op: LazyOp): tf.Tensor | tf.Tensor[] {
  const kernelName = register(op);
  // The registration is the same for all operations, so the operation itself travels as an attribute.
  return tf.engine().runKernel<tf.Tensor | tf.Tensor[]>(kernelName, op.inputs, {op} as unknown as tf.NamedAttrMap);
}

/** Makes sure that the kernel and the gradient that keep just these tensors exist on the current backend. */
function register({inputs, save}: LazyOp): string {
  // A variable outlives the step, so it is read again instead of being kept.
  const kept = SAVED_INPUTS.filter(name => save[name] && !(inputs[name] instanceof tf.Variable));
  const extra = EXTRA_OUTPUTS.filter(name => save[name]);
  const saved: readonly (keyof Saved)[] = [...kept, ...(save.y ? (['y'] as const) : []), ...extra];
  const kernelName = `TfjsLoRA_${saved.join('_')}`;
  const backendName = tf.getBackend();
  if (kernelOf(kernelName, backendName) === undefined) {
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({attrs}) => tf.tidy(() => opOf(attrs).forward()),
    });
  }
  if (gradientOf(kernelName) === undefined) {
    tf.registerGradient({
      kernelName,
      inputsToSave: [...kept],
      outputsToSave: [save.y ?? false, ...extra.map(() => true)],
      gradFunc: (dy, tensors, attrs) => {
        const op = opOf(attrs);
        const variables = SAVED_INPUTS.filter(name => op.save[name] && !kept.includes(name));
        const named = Object.fromEntries([
          ...saved.map((name, i) => [name, tensors[i]]),
          ...variables.map(name => [name, op.inputs[name]]),
        ]) as unknown as Saved;
        const hasExtra = extra.length > 0;
        const [ofResult, ...others] = [dy].flat() as [tf.Tensor, ...tf.Tensor[]];
        const held = {
          gradients: [ofResult, ...(hasExtra ? [] : others)],
          unasked: hasExtra ? others : [],
          saved: tensors,
        };
        return freeingHeld(held, () => op.gradient((hasExtra ? ofResult : dy) as tf.Tensor, named));
      },
    });
  }
  return kernelName;
}

function opOf(attrs: tf.NamedAttrMap | undefined): LazyOp {
  return (attrs as unknown as {op: LazyOp}).op;
}

/**
 * Tensors that are computed from frozen weights once and kept as long as these stay as they are: a kernel's adjoint,
 * the factors of a normalization. They belong to the layer whose weights they come from, which disposes them with
 * itself.
 */
export class Prepared {
  private sources: readonly tf.DataId[] = [];
  private tensors: readonly tf.Tensor[] = [];

  /** What `prepare` made of `sources`, made again if the data of any of these changed. */
  get<T extends readonly tf.Tensor[]>(sources: readonly tf.Tensor[], prepare: () => T): T {
    const current = this.tensors.length > 0 && sources.every(({dataId}, i) => dataId === this.sources[i]);
    if (!current) {
      this.dispose();
      this.tensors = tf.tidy(() => [...prepare()]).map(tensor => tf.keep(tensor));
      this.sources = sources.map(({dataId}) => dataId);
    }
    return this.tensors as unknown as T;
  }

  /** Frees what is kept. The next request makes it again. */
  dispose(): void {
    this.tensors.forEach(tensor => tensor.dispose());
    this.tensors = [];
  }
}
