import * as tf from '@tensorflow/tfjs';
import {gradientOf, isRecording, kernelOf} from './engine';
import {freeingHeld} from './heldTensors';

/** The tensors that an operation saves from its forward pass, by name. */
export type Saved<Name extends string> = Readonly<Record<Name, tf.Tensor>>;

/** A differentiable operation made of others, with a gradient for each input. */
export interface LazyOp<Name extends string = string> {
  /** The tensors that the result can be differentiated in. */
  inputs: Readonly<Record<string, tf.Tensor>>;
  /**
   * Which tensors to keep for the backward pass: inputs by their names, the result as `y`. Any other name is a further
   * output, for the backward pass alone and without a gradient.
   */
  save: Readonly<Partial<Record<Name, boolean>>>;
  /** Computes the result, followed by the further outputs in the order of their names. Nothing in it is recorded. */
  forward(): tf.Tensor | tf.Tensor[];
  /**
   * Given the gradient of the result, returns a function for each input. tfjs calls only those whose gradient is
   * needed; what is computed before returning them is computed always. `saved` holds only what was asked for.
   */
  gradient(dy: tf.Tensor, saved: Saved<Name>): Record<string, () => tf.Tensor>;
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
 * the registration names. While nothing is recorded, the operation is simply computed: the engine's part in a kernel
 * takes as long as a small product.
 */
export function runLazyOp<Name extends string>(op: LazyOp<Name> & {forward(): tf.Tensor}): tf.Tensor;
export function runLazyOp<Name extends string>(op: LazyOp<Name>): tf.Tensor | tf.Tensor[];
export function runLazyOp(op: LazyOp): tf.Tensor | tf.Tensor[] {
  if (!isRecording()) {
    return tf.tidy(() => op.forward());
  }
  const kernelName = register(op);
  // The registration is the same for all operations, so the operation itself travels as an attribute.
  return tf.engine().runKernel<tf.Tensor | tf.Tensor[]>(kernelName, {...op.inputs}, {
    op,
  } as unknown as tf.NamedAttrMap);
}

/** Makes sure that the kernel and the gradient that keep just these tensors exist on the current backend. */
function register({inputs, save}: LazyOp): string {
  const names = Object.keys(save).filter(name => save[name]);
  // A variable outlives the step, so it is read again instead of being kept.
  const kept = names.filter(name => name in inputs && !(inputs[name] instanceof tf.Variable));
  const result = names.filter(name => name === 'y');
  const further = names.filter(name => name !== 'y' && !(name in inputs));
  const kernelName = ['TfjsLoRA', ...kept, ...result, ...further.map(name => `+${name}`)].join('_');
  const backendName = tf.getBackend();
  if (kernelOf(kernelName, backendName) === undefined) {
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({attrs}) => tf.tidy(() => opOf(attrs).forward()),
    });
  }
  if (gradientOf(kernelName) === undefined) {
    const saved = [...kept, ...result, ...further];
    tf.registerGradient({
      kernelName,
      inputsToSave: kept,
      outputsToSave: [result.length > 0, ...further.map(() => true)],
      gradFunc: (dy, tensors, attrs) => {
        const op = opOf(attrs);
        const variables = Object.entries(op.inputs).filter(([name]) => op.save[name] && !kept.includes(name));
        const tensorsKept = saved.map((name, i) => [name, tensors[i] as tf.Tensor] as const);
        const named = Object.fromEntries([...tensorsKept, ...variables]);
        const hasFurther = further.length > 0;
        const [ofResult, ...others] = [dy].flat() as [tf.Tensor, ...tf.Tensor[]];
        const held = {
          gradients: [ofResult, ...(hasFurther ? [] : others)],
          unasked: hasFurther ? others : [],
          saved: tensors,
        };
        return freeingHeld(held, () => op.gradient((hasFurther ? ofResult : dy) as tf.Tensor, named));
      },
    });
  }
  return kernelName;
}

function opOf(attrs: tf.NamedAttrMap | undefined): LazyOp {
  return (attrs as unknown as {op: LazyOp}).op;
}

/**
 * Tensors computed once from frozen weights and cached while these do not change: a kernel's adjoint, the factors of a
 * normalization. They belong to the layer of the weights, which disposes them with itself.
 */
export class Prepared {
  private sources: readonly unknown[] = [];
  private tensors: readonly tf.Tensor[] = [];

  /** What `prepare` made of `sources`, made again if the data of any of these or the object `settings` changed. */
  get<T extends readonly tf.Tensor[]>(sources: readonly tf.Tensor[], prepare: () => T, settings?: unknown): T {
    const current = [...sources.map(({dataId}) => dataId), settings];
    if (this.tensors.length === 0 || current.some((source, i) => source !== this.sources[i])) {
      this.dispose();
      this.tensors = tf.tidy(() => [...prepare()]).map(tensor => tf.keep(tensor));
      this.sources = current;
    }
    return this.tensors as unknown as T;
  }

  /** Frees the cache. The next request fills it again. */
  dispose(): void {
    this.tensors.forEach(tensor => tensor.dispose());
    this.tensors = [];
  }
}
