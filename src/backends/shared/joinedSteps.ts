import type * as tf from '@tensorflow/tfjs';
import type {Pointwise, PointwiseCall, RunEach, RunPointwise} from './pointwise';

// A program takes few tensors, so that it cannot compute with many variables. Small ones are joined for that.

/** How a backend joins tensors. */
export interface Joining<Joined> {
  join(tensors: readonly tf.Tensor[]): Joined;
  /** Computes all results, each joined as the inputs are. */
  run(code: Pointwise, joined: readonly Joined[], settings: readonly number[]): Joined[];
  /** The inverse of `join`: tensors of these shapes, which the caller owns. */
  split(joined: Joined, shapes: readonly (readonly number[])[]): tf.Tensor[];
  /** Gives up what `join` or `run` returned. */
  free(joined: Joined): void;
}

/** The most values of a tensor that is worth joining, and of joined tensors. */
const SMALL = 2 ** 16;
const MAX_JOINED = 2 ** 18;

/** Computes calls with the same settings together, where their tensors are small. */
export function runEachJoined<Joined>(run: RunPointwise, joining: Joining<Joined>): RunEach {
  return (code, calls, take) => {
    for (const places of groupsOf(calls)) {
      const group = places.map(place => calls[place] as PointwiseCall);
      const [{inputs, settings}] = group as [PointwiseCall];
      if (group.length === 1) {
        take(run(code, inputs, settings), places[0] as number);
        continue;
      }
      const joined = inputs.map((_, i) => joining.join(group.map(call => call.inputs[i] as tf.Tensor)));
      const results = joining.run(code, joined, settings);
      const shapes = group.map(call => (call.inputs[0] as tf.Tensor).shape);
      const parts = results.map(result => joining.split(result, shapes));
      [...joined, ...results].forEach(tensor => {
        joining.free(tensor);
      });
      places.forEach((place, i) => {
        take(
          parts.map(tensors => tensors[i] as tf.Tensor),
          place,
        );
      });
    }
  };
}

/** The indices of calls in groups that are computed together. */
function groupsOf(calls: readonly PointwiseCall[]): number[][] {
  const groups: number[][] = [];
  /** Settings → the last group, its first inputs and their number of values. */
  const open = new Map<string, {group: number[]; firsts: Set<tf.Tensor>; size: number}>();
  calls.forEach(({inputs, settings}, place) => {
    const first = inputs[0] as tf.Tensor;
    const {size} = first;
    const key = settings.join();
    const openGroup = open.get(key);
    if (size === 0 || size > SMALL) {
      groups.push([place]);
    } else if (openGroup !== undefined && openGroup.size + size <= MAX_JOINED && !openGroup.firsts.has(first)) {
      openGroup.group.push(place);
      openGroup.firsts.add(first);
      openGroup.size += size;
    } else {
      // A variable that is named twice takes its second step after the first.
      const group = [place];
      groups.push(group);
      open.set(key, {group, firsts: new Set([first]), size});
    }
  });
  return groups;
}
