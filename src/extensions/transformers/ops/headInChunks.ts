import * as tf from '@tensorflow/tfjs';
import {addAll} from '../../../core/ops/addAll';
import {dependsOnTrainable, recordedVariables} from '../../../core/ops/recording';
import type {Dropout} from '../../../core/ops/update';
import {currentTape, detached, isRecording} from '../../../platform/tfjs/engine';
import {freeShapes, isolated, runLazyOp} from '../../../platform/tfjs/lazyOp';

// The logits of a language model are the largest tensor of a training step, and their gradient is as large. Here they
// are computed for a few positions at a time, together with the gradient in the states. (Wijmans et al., "Cut Your
// Losses in Large-Vocabulary Language Models", arXiv 2411.09009.)

/** How many logits a chunk has at most, unless a single position has more. Tests change it. */
export const CHUNK = {logits: 2 ** 23};

/** Smaller chunks save little memory, and each unpacks the whole matrix of a quantized head again. */
const LEAST = {logits: 2 ** 21, positions: 32};

export interface Head {
  /** `[rows, positions, width]` → `[rows, positions, classes]`. */
  readonly apply: (states: tf.Tensor3D, training: boolean) => tf.Tensor3D;
  /** How many logits a position has. */
  readonly classes: number;
  /** The fewest positions of a chunk for which chunks save memory. */
  readonly leastPositions: number;
  /** Dropouts that must have the same masks when logits are computed again. */
  readonly dropouts: readonly Dropout[];
}

/** Tensors by name, `[rows, positions, …]` each. */
type Given = Readonly<Record<string, tf.Tensor>>;

/** Sums over the positions of rows, computed from logits. */
export interface PositionSums {
  /** Targets and weights of the positions, which have no gradient. */
  readonly perPosition: Given;
  /**
   * The sums over some positions, from logits `[rows, positions, classes]`: `[rows, sums]`. If `areAlike`, all sums of
   * a row will have the same gradient.
   */
  readonly sumsOf: (logits: tf.Tensor3D, perPosition: Given, areAlike?: boolean) => tf.Tensor2D;
  /** If there are several sums: 1 for the one that a position belongs to, `[rows, positions, sums]`. */
  readonly membersOf?: (perPosition: Given) => tf.Tensor;
  /** Further sums over positions. They are not recorded. */
  readonly observe?: (logits: tf.Tensor3D, perPosition: Given) => tf.Tensor[];
}

/** Positions of some rows: where they begin, and how many there are. */
interface Chunk {
  readonly begin: [row: number, position: number];
  readonly size: [rows: number, positions: number];
}

function chunksOf({classes, leastPositions}: Head, [rows, positions]: readonly [number, number, number]): Chunk[][] {
  const most = Math.max(leastPositions, Math.floor(logitsOfChunk(classes) / classes), 1);
  return parts(rows, Math.max(1, Math.floor(most / positions))).map(([row, count]) =>
    parts(positions, most).map(([from, length]) => ({begin: [row, from], size: [count, length]})),
  );
}

/**
 * Up to how many logits are computed at a time: as many as take a quarter of what a step has saved by then, and their
 * gradient another. A block takes more in the backward pass.
 */
function logitsOfChunk(classes: number): number {
  const least = Math.max(LEAST.logits, LEAST.positions * classes);
  return isRecording() ? Math.min(CHUNK.logits, Math.max(least, savedBytes() / 16)) : CHUNK.logits;
}

/** How many bytes recorded operations have saved so far, each buffer counted once. */
function savedBytes(): number {
  const saved = (currentTape() ?? []).flatMap(({saved: tensors = []}) => tensors);
  const bytes = new Map(
    saved.filter(({isDisposed}) => !isDisposed).map(({dataId, size}) => [dataId, 4 * size] as const),
  );
  return [...bytes.values()].reduce((sum, count) => sum + count, 0);
}

/** Divides a length into parts of at most `most`, as equal as possible. */
function parts(length: number, most: number): [from: number, length: number][] {
  const count = Math.ceil(length / most);
  const at = (i: number) => Math.floor((i * length) / count);
  return Array.from({length: count}, (_, i) => [at(i), at(i + 1) - at(i)]);
}

/**
 * Computes sums over the positions of rows without having the logits of all positions at once.
 *
 * The gradients are computed in the forward pass, with the same logits, and multiplied in the backward pass. That is
 * not possible for several sums and a head that trains, since its gradient is one for all of them: the backward pass
 * then computes the logits again.
 *
 * @param states `[rows, positions, width]`.
 * @returns the sums, `[rows, sums]`, differentiable in the states and in the head's variables; what was observed; and
 *     the logits if there is just one chunk.
 */
export function sumsInChunks(
  head: Head,
  states: tf.Tensor3D,
  what: PositionSums,
): {sums: tf.Tensor2D; observed: tf.Tensor[]; logits?: tf.Tensor3D} {
  const {perPosition, sumsOf, membersOf, observe} = what;
  const training = isRecording();
  freeShapes(); // before the largest tensors of a step
  const chunks = chunksOf(head, states.shape);
  if (chunks.flat().length === 1) {
    const logits = head.apply(states, training);
    return {
      sums: sumsOf(logits, perPosition),
      observed: observe ? detached(() => observe(logits, perPosition)) : [],
      logits,
    };
  }
  const reachesStates = training && dependsOnTrainable(states);
  const steps = head.dropouts.map(({step}) => step);
  const pass = detached(() => throughChunks(head, states, what, {chunks, training, reachesStates}));
  const {sums, variables, isLate, gradients, observed} = pass;
  if (!training) {
    return {sums, observed};
  }
  const named = <T>(name: string, values: readonly T[]) =>
    Object.fromEntries(values.map((value, i) => [`${name}${i}`, value] as const));
  const savedTensors = {...perPosition, ...named('gradient', isLate ? [] : gradients)};
  const recorded = runLazyOp({
    inputs: {states, ...named('variable', variables), ...savedTensors, sums},
    save: {...mapped(savedTensors, () => true), states: isLate},
    forward: () => tf.clone(sums),
    gradient: (dy, saved: Given): Record<string, () => tf.Tensor> => {
      const savedPerPosition = mapped(perPosition, (_, name) => saved[name] as tf.Tensor);
      if (isLate) {
        const savedStates = saved.states as tf.Tensor3D;
        const again = () =>
          throughChunks(
            head,
            savedStates,
            {perPosition: savedPerPosition, sumsOf},
            {chunks, training, reachesStates, dy: dy as tf.Tensor2D},
          );
        const [first, ...late] = atSteps(head.dropouts, steps, () => detached(again)).gradients;
        return {
          states: () => first,
          ...named(
            'variable',
            late.map(gradient => () => gradient),
          ),
        };
      }
      const times = (i: number, factor: () => tf.Tensor) => () =>
        tf.tidy(() => tf.mul(saved[`gradient${i}`] as tf.Tensor, factor()));
      const ofVariables = variables.map((_, i) => times(i + 1, () => tf.reshape(dy, [])));
      return {
        states: times(0, () => {
          const dSums = tf.expandDims(dy, 1); // [rows, 1, sums]
          return membersOf === undefined ? dSums : tf.sum(tf.mul(membersOf(savedPerPosition), dSums), -1, true);
        }),
        ...named('variable', ofVariables),
      };
    },
  }) as tf.Tensor2D;
  return {sums: recorded, observed};
}

interface Pass {
  readonly sums: tf.Tensor2D;
  readonly observed: tf.Tensor[];
  /** What trains in the head. */
  readonly variables: readonly tf.Variable[];
  /** The gradients in the states and in the variables, for that of the sums, or for 1. */
  readonly gradients: readonly [ofStates: tf.Tensor, ...ofVariables: tf.Tensor[]];
  /** Whether there are no gradients because that of the sums is needed first. */
  readonly isLate: boolean;
}

/** How chunks are computed: in training with gradients, `dy` being those of the sums. */
interface ChunkOptions {
  readonly chunks: readonly Chunk[][];
  readonly training: boolean;
  /** Whether the states need a gradient. */
  readonly reachesStates: boolean;
  readonly dy?: tf.Tensor2D;
}

function throughChunks(
  head: Head,
  states: tf.Tensor3D,
  {perPosition, sumsOf, observe}: PositionSums,
  {chunks, training, reachesStates, dy}: ChunkOptions,
): Pass {
  let variables: tf.Variable[] = [];
  let isLate = false;
  let observed: tf.Tensor[] = [];
  let ofVariables: tf.Tensor[] = [];
  const through = ({begin, size}: Chunk) => {
    const x = tf.slice(states, begin, size);
    const chunkPerPosition = mapped(perPosition, tensor => tf.slice(tensor, begin, size));
    let observedTensors: tf.Tensor[] = [];
    const compute = () => {
      const logits = head.apply(x, training);
      observedTensors = observe
        ? detached(() => tf.tidy(() => observe(logits, chunkPerPosition))).map(tensor => tf.keep(tensor))
        : [];
      return sumsOf(logits, chunkPerPosition, dy === undefined ? true : undefined); // those of 1
    };
    const seen = () =>
      observedTensors.map(tensor => {
        const copy = tf.clone(tensor);
        tensor.dispose();
        return copy;
      });
    if (!training || isLate) {
      return {y: compute(), gradients: [], seen: seen()};
    }
    const sources: tf.Tensor[] = [x]; // tfjs reads the list again after the forward pass
    const recorded = () => {
      const sums = compute();
      variables = recordedVariables();
      isLate = dy === undefined && variables.length > 0 && states.shape[0] * sums.shape[1] > 1;
      sources.splice(0, 1, ...(isLate ? [] : [...(reachesStates ? [x] : []), ...variables]));
      return sums;
    };
    const ofSums = dy && tf.slice(dy, [begin[0], 0], [size[0], -1]);
    const {value, grads} = isolated(() => tf.engine().gradients(recorded, sources, ofSums as tf.Tensor, true));
    const gradients = sources.map((source, i) => (grads[i] as tf.Tensor | null) ?? tf.zerosLike(source));
    return {y: value as tf.Tensor2D, gradients, seen: seen()};
  };
  const groups = chunks.map(group => {
    const chunkResults = group.map(chunk => {
      const {y, gradients, seen} = tf.tidy(() => through(chunk));
      const [ofStates] = reachesStates ? gradients.splice(0, 1) : [];
      ofVariables = added(ofVariables, gradients);
      observed = added(observed, seen);
      return {y, ofStates};
    });
    return {
      y: merged(
        chunkResults.map(({y}) => y),
        addAll,
      ),
      ofStates: merged(
        chunkResults.flatMap(({ofStates}) => ofStates ?? []),
        tensors => tf.concat(tensors, 1),
      ),
    };
  });
  const joinedRows = (tensors: tf.Tensor[]) => merged(tensors, chunkTensors => tf.concat(chunkTensors, 0));
  const ofStates = joinedRows(groups.flatMap(group => group.ofStates ?? []));
  return {
    sums: joinedRows(groups.flatMap(({y}) => y ?? [])) as tf.Tensor2D,
    gradients: [ofStates ?? tf.scalar(0), ...ofVariables],
    ...{observed, variables, isLate},
  };
}

/** One tensor of several, which are disposed. */
function merged(tensors: tf.Tensor[], merge: (tensors: tf.Tensor[]) => tf.Tensor): tf.Tensor | undefined {
  if (tensors.length < 2) {
    return tensors[0];
  }
  const mergedTensor = merge(tensors);
  tf.dispose(tensors);
  return mergedTensor;
}

/** The sums of two lists, which are disposed. The first may be empty. */
function added(totals: tf.Tensor[], more: readonly tf.Tensor[]): tf.Tensor[] {
  return totals.length === 0
    ? [...more]
    : totals.map((total, i) => merged([total, more[i] as tf.Tensor], addAll) as tf.Tensor);
}

function mapped<T, U>(values: Readonly<Record<string, T>>, f: (value: T, name: string) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, f(value, name)]));
}

/** Runs `f` with earlier steps of dropouts. */
function atSteps<T>(dropouts: readonly Dropout[], steps: readonly number[], f: () => T): T {
  const later = dropouts.map(({step}) => step);
  const set = (to: readonly number[]) => {
    dropouts.forEach((dropout, i) => (dropout.step = to[i] as number));
  };
  set(steps);
  try {
    return f();
  } finally {
    set(later);
  }
}
