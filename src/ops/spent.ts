import * as tf from '@tensorflow/tfjs';

// tfjs keeps every gradient of a backward pass, and all that the forward pass saved for it, until the pass is through. An operation of ours
// that has been gone through needs none of that any more; what it held is freed when the next one begins.

/** Gradients that our operations gave out. Nobody but the tape has these; a gradient that a caller brought is not among them. */
const given = new WeakSet<tf.Tensor>();

/** What the operation held that was gone through last, in the backward pass that runs. */
let spent: tf.Tensor[] = [];

/** What an operation is given in the backward pass. */
export interface Held {
  /** The gradients of its results. */
  gradients: readonly tf.Tensor[];
  /** Zeros that tfjs made for results that have no gradient. */
  unasked: readonly tf.Tensor[];
  /** What was kept of the forward pass. */
  saved: readonly tf.Tensor[];
}

/** The parts of the engine that tell what is made. They are not public; where they are gone, tensors live until the end of the pass. */
interface EngineState {
  readonly gradientDepth?: number;
  readonly activeScope?: {readonly track?: readonly tf.Tensor[]} | null;
}

/**
 * Goes through an operation in the backward pass, and sees to it that what it holds is freed soon.
 *
 * @param gradient gives a function for each input.
 */
export function freeingSpent(
  {gradients, unasked, saved}: Held,
  gradient: () => Record<string, () => tf.Tensor>,
): Record<string, () => tf.Tensor> {
  const {gradientDepth = 1, activeScope} = tf.engine().state as EngineState;
  if (gradientDepth > 0) {
    // A gradient of the gradient is recorded, and may ask for all of it again.
    return gradient();
  }
  free();
  const track = activeScope?.track ?? [];
  const from = track.length;
  const thunks = gradient();
  const made = track.slice(from).filter(({kept}) => !kept);
  unasked.forEach(tensor => tensor.dispose());
  const held = new Set([...gradients.filter(tensor => given.has(tensor)), ...saved, ...made]);
  spent = [...held];
  return Object.fromEntries(
    Object.entries(thunks).map(([name, thunk]) => [
      name,
      () => {
        const result = apart(thunk);
        if (held.has(result)) {
          spent = spent.filter(tensor => tensor !== result);
        }
        if (!gradients.includes(result)) {
          given.add(result);
        }
        return result;
      },
    ]),
  );
}

/** Runs `f`, in which another backward pass may run, which frees only what is its own. */
export function apart<T>(f: () => T): T {
  const own = spent;
  spent = [];
  try {
    return f();
  } finally {
    free();
    spent = own;
  }
}

function free(): void {
  spent.forEach(tensor => tensor.dispose());
  spent = [];
}
