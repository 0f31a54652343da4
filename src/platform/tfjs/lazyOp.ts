import * as tf from '@tensorflow/tfjs';
import {currentTape, gradientOf, isRecording, kernelOf, type TapeNode, withMade} from './engine';

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
  const savedNames = names.filter(name => name in inputs && !(inputs[name] instanceof tf.Variable));
  const result = names.filter(name => name === 'y');
  const further = names.filter(name => name !== 'y' && !(name in inputs));
  const kernelName = ['TfjsLoRA', ...savedNames, ...result, ...further.map(name => `+${name}`)].join('_');
  const backendName = tf.getBackend();
  if (kernelOf(kernelName, backendName) === undefined) {
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({attrs}) => tf.tidy(() => opOf(attrs).forward()),
    });
  }
  if (gradientOf(kernelName) === undefined) {
    const saved = [...savedNames, ...result, ...further];
    tf.registerGradient({
      kernelName,
      inputsToSave: savedNames,
      outputsToSave: [result.length > 0, ...further.map(() => true)],
      gradFunc: (dy, tensors, attrs) => {
        const op = opOf(attrs);
        const variables = Object.entries(op.inputs).filter(([name]) => op.save[name] && !savedNames.includes(name));
        const tensorsKept = saved.map((name, i) => [name, tensors[i] as tf.Tensor] as const);
        const named = Object.fromEntries([...tensorsKept, ...variables]);
        const hasFurther = further.length > 0;
        const [ofResult, ...otherGradients] = [dy].flat() as [tf.Tensor, ...tf.Tensor[]];
        const held = {
          gradients: [ofResult, ...(hasFurther ? [] : otherGradients)],
          unasked: hasFurther ? otherGradients : [],
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

// tfjs keeps every gradient of a backward pass, and all that the forward pass saved for it, until the pass is over.
// Once the backward pass has gone through one of our operations, nothing needs these tensors any more: they are freed
// when the next operation of ours begins. So is what operations of tfjs saved only for its shape, at the first.

/** Operations of tfjs whose gradients read no values of saved tensors, only their shapes. */
const READ_SHAPES = new Set(['Reshape', 'ExpandDims', 'Add', 'Sub', 'Concat']);

/** How many operations of a tape have been looked at. */
const lookedAt = new WeakMap<readonly TapeNode[], number>();

/** Frees tensors that recorded operations saved only for their shapes. */
export function freeShapes(): void {
  const tape = currentTape() ?? [];
  const more = tape.slice(lookedAt.get(tape)).filter(({kernelName}) => READ_SHAPES.has(kernelName));
  more.forEach(({saved}) => saved?.forEach(tensor => tensor.dispose()));
  lookedAt.set(tape, tape.length);
}

/** Gradients that our operations returned and only the tape holds, excluding those of a caller. */
const recordedInputs = new WeakSet<tf.Tensor>();

/** Tensors held by the last operation that the running backward pass went through. */
let heldLast: tf.Tensor[] = [];

/** Tensors that an operation holds in the backward pass. */
interface Held {
  gradients: readonly tf.Tensor[];
  /** Zeros that tfjs made for results that have no gradient. */
  unasked: readonly tf.Tensor[];
  /** What was kept of the forward pass. */
  saved: readonly tf.Tensor[];
}

/**
 * Runs an operation's gradient in the backward pass, and has what the operation holds freed when the next one begins.
 *
 * @param gradient returns a function for each input.
 */
function freeingHeld(
  {gradients, unasked, saved}: Held,
  gradient: () => Record<string, () => tf.Tensor>,
): Record<string, () => tf.Tensor> {
  if (isRecording()) {
    // A gradient of the gradient is recorded, and may ask for all of it again.
    return gradient();
  }
  free();
  freeShapes();
  const {result: thunks, made} = withMade(gradient);
  unasked.forEach(tensor => tensor.dispose());
  const held = new Set([...gradients.filter(tensor => recordedInputs.has(tensor)), ...saved, ...made]);
  heldLast = [...held];
  return Object.fromEntries(
    Object.entries(thunks).map(([name, thunk]) => [
      name,
      () => {
        const result = isolated(thunk);
        if (held.has(result)) {
          heldLast = heldLast.filter(tensor => tensor !== result);
        }
        if (!gradients.includes(result)) {
          recordedInputs.add(result);
        }
        return result;
      },
    ]),
  );
}

/** Runs `f`. A backward pass inside it frees only its own tensors. */
export function isolated<T>(f: () => T): T {
  const outer = heldLast;
  heldLast = [];
  try {
    return f();
  } finally {
    free();
    heldLast = outer;
  }
}

function free(): void {
  heldLast.forEach(tensor => tensor.dispose());
  heldLast = [];
}
