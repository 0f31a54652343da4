import type * as tf from '@tensorflow/tfjs';
import {showShape} from '../../../platform/errors';
import type {LayerCall} from '../../../platform/tfjs/layerFields';
import {callsOf} from '../../../core/rewire/walk';
import type {GraphWriter} from '../write/graphWriter';
import type {Call, Keywords, Mask} from './call';

/** The masks of a model's tensors while its layers are written in the order in which tfjs calls them. */
export class MaskFlow {
  private readonly masks = new Map<tf.SymbolicTensor, Mask>();

  /** @param keywords the arguments of the model, if it is inside another. tfjs adds them with the first mask. */
  constructor(private keywords?: Keywords) {}

  /** What a layer is called with. */
  enter({inputTensors}: LayerCall): {masks: (Mask | undefined)[]; keywords: Keywords | undefined} {
    const masks = inputTensors.map(input => this.masks.get(input));
    if (masks.some(mask => mask !== undefined)) {
      this.keywords ??= {};
      [this.keywords.mask] = masks;
    }
    return {masks, keywords: this.keywords};
  }

  leave({outputTensors}: LayerCall, mask: Mask | undefined): void {
    outputTensors.forEach(output => mask && this.masks.set(output, mask));
  }
}

/**
 * The calls in a model as tfjs runs them: once for each tensor that is needed, inputs from the last to the first.
 *
 * @param computed tensors that need no call.
 */
export function callsInOrder(model: tf.LayersModel, computed: Iterable<tf.SymbolicTensor> = model.inputs): LayerCall[] {
  const calls = new Map(callsOf(model).flatMap(call => call.outputTensors.map(output => [output, call] as const)));
  const visited = new Set(computed);
  const visit = (tensor: tf.SymbolicTensor): LayerCall[] => {
    const call = calls.get(tensor);
    if (call === undefined || visited.has(tensor)) {
      return [];
    }
    const before = [...call.inputTensors].reverse().flatMap(visit);
    visited.add(tensor);
    return [...before, call];
  };
  return model.outputs.flatMap(visit);
}

/**
 * The mask that a recurrent layer reads. Of a mask with more steps than its input, it reads the first ones, and those
 * of the end if it goes backwards.
 */
export function stepMask(out: GraphWriter, call: Call, isBackwards: boolean): string | undefined {
  const {mask, input} = call;
  if (mask === undefined) {
    return undefined;
  }
  const {name, shape} = mask;
  const [steps, wanted] = [shape[1], input.shape[1]];
  if (name === undefined || shape.length !== 2 || input.rank !== 3 || (steps ?? Infinity) < (wanted ?? 0)) {
    out.refuse(
      `A ${call.layer.getClassName()} of steps of ${showShape(input.shape)} with a mask of ${showShape(shape)} ` +
        'cannot be written. Mask the steps in the layer before it, or leave out the mask.',
    );
    return undefined;
  }
  if (mask === call.masks[0] || (steps != null && steps === wanted)) {
    return name;
  }
  const length = out.sizeOf(out.plain(input), 1);
  const [from, to] = isBackwards
    ? [out.node('Neg', [length]), out.ints([Number.MAX_SAFE_INTEGER])]
    : [out.ints([0]), length];
  return out.node('Slice', [name, from, to, out.ints([1])]);
}

/** Layers that combine their inputs add an axis to the mask of the first one, so that no other layer can read it. */
export function mergedMask({masks: [first]}: Call): Mask | undefined {
  return first && {shape: [1, ...first.shape]};
}

/** The mask of concatenated tensors. */
export function concatenatedMask(out: GraphWriter, {masks, inputs}: Call, axis: number): Mask | undefined {
  const marks = masks.flatMap(mask => mask ?? []);
  const [first] = marks;
  if (first === undefined) {
    return undefined;
  }
  const {shape} = first;
  const names = marks.flatMap(({name}) => name ?? []);
  const ranks = new Set([...marks.map(mask => mask.shape.length + 1), ...inputs.map(({rank}) => rank)]);
  const isPlain = ranks.size === 1 && names.length === marks.length;
  if (isPlain && axis === shape.length) {
    return {name: names.reduce((all, name) => out.node('And', [all, name])), shape};
  }
  const sizes = marks.map(mask => mask.shape[axis] ?? null);
  const size = sizes.reduce((sum, count) => (sum === null || count === null ? null : sum + count));
  const joinedShape = shape.map((length, i) => (i === axis ? size : length));
  // tfjs cannot concatenate the masks of steps if an input has none.
  return isPlain && names.length === masks.length
    ? {name: out.node('Concat', names, {axis}), shape: joinedShape}
    : {shape: joinedShape};
}
