import * as tf from '@tensorflow/tfjs';
import {freeingSpent} from './spent';

/** What was kept of the forward pass. Only what the operation asked for is there. */
export interface Saved {
  /** The input named `x`. */
  x: tf.Tensor;
  /** The input named `w`, and so on. */
  w: tf.Tensor;
  b: tf.Tensor;
  /** The output. */
  y: tf.Tensor;
  /** The second output. */
  h?: tf.Tensor;
}

/** The inputs that can be kept. */
const SAVED_INPUTS = ['x', 'w', 'b'] as const;

/** A differentiable operation made of others, with a gradient of its own for each input. */
export interface LazyOp {
  /** The tensors that the result can be differentiated in. */
  inputs: Record<string, tf.Tensor>;
  /** Which tensors to keep for the backward pass. With `h` there is a second output, that is for this alone and has no gradient. */
  save: Partial<Record<keyof Saved, boolean>>;
  /** Computes the result. Nothing in here is recorded. */
  forward(): tf.Tensor | tf.Tensor[];
  /**
   * Given the gradient of the result, returns a function for each input. Only those are called whose gradient somebody asks for;
   * what is computed before returning them is computed always.
   */
  gradient(dy: tf.Tensor, saved: Saved): Record<string, () => tf.Tensor>;
}

/**
 * Runs an operation as one step of the tape.
 *
 * `tf.customGrad` would compute the gradient of every input, wanted or not, and plain ops would keep every intermediate tensor. A
 * registered kernel does neither: tfjs asks a registered gradient for each input by itself, and keeps what the registration names.
 */
export function runLazyOp(op: LazyOp & {forward(): tf.Tensor}): tf.Tensor;
export function runLazyOp(op: LazyOp): tf.Tensor | tf.Tensor[];
export function runLazyOp(op: LazyOp): tf.Tensor | tf.Tensor[] {
  const kernelName = register(op.save);
  // The registration is the same for all operations, so the operation itself travels as an attribute.
  return tf.engine().runKernel<tf.Tensor | tf.Tensor[]>(kernelName, op.inputs, {op} as unknown as tf.NamedAttrMap);
}

/** Makes sure that the kernel and the gradient that keep just these tensors exist on the current backend. */
function register(save: LazyOp['save']): string {
  const inputs = SAVED_INPUTS.filter(name => save[name]);
  const outputs = (['y', 'h'] as const).filter(name => save[name]);
  const saved: readonly (keyof Saved)[] = [...inputs, ...outputs];
  const kernelName = `TfjsLoRA${saved.join('').toUpperCase()}`;
  const backendName = tf.getBackend();
  // tfjs declares both to be always there.
  const kernel = tf.getKernel(kernelName, backendName) as tf.KernelConfig | undefined;
  const gradient = tf.getGradient(kernelName) as tf.GradConfig | undefined;
  if (kernel === undefined) {
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({attrs}) => tf.tidy(() => opOf(attrs).forward()),
    });
  }
  if (gradient === undefined) {
    tf.registerGradient({
      kernelName,
      inputsToSave: [...inputs],
      outputsToSave: save.h ? [save.y ?? false, true] : [save.y ?? false],
      gradFunc: (dy, tensors, attrs) => {
        const named = Object.fromEntries(saved.map((name, i) => [name, tensors[i]])) as unknown as Saved;
        const [ofResult, ...others] = [dy].flat() as [tf.Tensor, ...tf.Tensor[]];
        const spent = {gradients: [ofResult, ...(save.h ? [] : others)], unasked: save.h ? others : [], saved: tensors};
        return freeingSpent(spent, () => opOf(attrs).gradient((save.h ? ofResult : dy) as tf.Tensor, named));
      },
    });
  }
  return kernelName;
}

function opOf(attrs: tf.NamedAttrMap | undefined): LazyOp {
  return (attrs as unknown as {op: LazyOp}).op;
}
