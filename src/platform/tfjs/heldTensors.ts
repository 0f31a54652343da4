import type * as tf from '@tensorflow/tfjs';
import {currentTape, isRecording, type TapeNode, withMade} from './engine';

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
const given = new WeakSet<tf.Tensor>();

/** Tensors held by the last operation that the running backward pass went through. */
let heldLast: tf.Tensor[] = [];

/** Tensors that an operation holds in the backward pass. */
export interface Held {
  /** The gradients of its results. */
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
export function freeingHeld(
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
  const held = new Set([...gradients.filter(tensor => given.has(tensor)), ...saved, ...made]);
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
          given.add(result);
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
