import * as tf from '@tensorflow/tfjs';
import type {PointwiseCall, RunEach, RunPointwise} from '../pointwise';
import {joinBuffers, splitBuffer} from './program';

// A program takes at most eight buffers, so that it cannot compute with those of many variables. Small ones are copied
// into one buffer, which takes no program, and the results back.

/** The most numbers of a tensor that is worth copying, and of tensors that are copied into one buffer. */
const SMALL = 2 ** 16;
const MOST = 2 ** 18;

/** Computes calls with the same settings together, where their tensors are small. */
export function runEachJoined(run: RunPointwise): RunEach {
  return (code, calls, take) => {
    for (const places of groupsOf(calls)) {
      const group = places.map(place => calls[place] as PointwiseCall);
      const [{inputs, settings}] = group as [PointwiseCall];
      if (group.length === 1) {
        take(run(code, inputs, settings), places[0] as number);
        continue;
      }
      const joined = inputs.map((_, i) => joinBuffers(group.map(call => call.inputs[i] as tf.Tensor)));
      const results = run(code, joined, settings);
      tf.dispose(joined);
      const shapes = group.map(call => (call.inputs[0] as tf.Tensor).shape);
      const parts = results.map(result => splitBuffer(result, shapes));
      tf.dispose(results);
      places.forEach((place, i) => {
        take(
          parts.map(part => part[i] as tf.Tensor),
          place,
        );
      });
    }
  };
}

/** The places of calls that are computed together. */
function groupsOf(calls: readonly PointwiseCall[]): number[][] {
  const groups: number[][] = [];
  /** By settings, the last group, its first inputs and how many numbers these have. */
  const open = new Map<string, {group: number[]; firsts: Set<tf.Tensor>; size: number}>();
  calls.forEach(({inputs, settings}, place) => {
    const first = inputs[0] as tf.Tensor;
    const {size} = first;
    const key = settings.join();
    const found = open.get(key);
    if (size === 0 || size > SMALL) {
      groups.push([place]);
    } else if (found !== undefined && found.size + size <= MOST && !found.firsts.has(first)) {
      found.group.push(place);
      found.firsts.add(first);
      found.size += size;
    } else {
      // A variable that is named twice takes its second step after the first.
      const group = [place];
      groups.push(group);
      open.set(key, {group, firsts: new Set([first]), size});
    }
  });
  return groups;
}
