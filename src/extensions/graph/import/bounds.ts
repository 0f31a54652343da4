import {type GraphNode, numbersOf, textOf} from '../graphDef';
import type {Bound, ShapeRule, SizedInput} from './operation';

// What operations of several kinds share for their bounds, their time and their shapes.

/** What reading or writing a value takes on the CPU, in products. */
export const VALUE = 16;

/** What broadcasting or sorting a value takes besides, in values: tfjs computes the indices of each. */
export const INDEXED = 2;

/** Of more axes, not every backend copies values. */
const MAX_COPIED_AXES = 4;

/** The shape of a result that is copied from values of the inputs, if each backend can. */
export function copied(shape: number[] | undefined): number[] | undefined {
  return shape !== undefined && shape.length <= MAX_COPIED_AXES ? shape : undefined;
}

/** The size of the first input, and of the second. */
export const ofFirst: Bound = ([x]) => sizeOf(x);
export const ofSecond: Bound = ([, x]) => sizeOf(x);

/** The first and the second input, if they are shapes. */
export const asFirst: Bound = ([dims]) => product(valuesOrNaN(dims));
export const asSecond: Bound = ([, dims]) => product(valuesOrNaN(dims));

/** The size that a rule for the shape gives. */
export function ofShape(rule: ShapeRule): Bound {
  return (inputs, node) => {
    const shapes = inputs.map(({shape}) => shape);
    return product(rule(shapes, index => inputs[index]?.values && valuesOrNaN(inputs[index]), node) ?? [Number.NaN]);
  };
}

/** All inputs together. */
export const ofAll: Bound = inputs => inputs.map(sizeOf).reduce((total, size) => total + size, 0);

/** The size of images without their channels, padded as a node says, with as many windows as its strides allow. */
export function pixels(x: SizedInput | undefined, node: GraphNode): number {
  const pads = numbersOf(node, 'explicit_paddings');
  const channels = textOf(node, 'data_format').startsWith('NC') ? 1 : (x?.shape.length ?? 1) - 1;
  return (
    windowsOf(node) *
    product(
      (x?.shape ?? []).map((size, i) => (i === channels ? 1 : size + (pads[2 * i] ?? 0) + (pads[2 * i + 1] ?? 0))),
    )
  );
}

/** The maximum number of windows for each pixel: tfjs accepts strides below 1, which enlarge an image. */
export function windowsOf(node: GraphNode): number {
  return product(numbersOf(node, 'strides').map(stride => Math.ceil(1 / Math.min(1, Math.abs(stride)))));
}

/** The broadcast size of an elementwise result. */
export function broadcastSize(inputs: readonly SizedInput[]): number {
  const rank = Math.max(0, ...inputs.map(({shape}) => shape.length));
  return product(Array.from({length: rank}, (_, i) => Math.max(1, ...inputs.map(({shape}) => shape.at(-1 - i) ?? 1))));
}

export function sizeOf(x: SizedInput | undefined): number {
  return product(x?.shape ?? []);
}

/** The first value of an input; NaN if it is unknown. */
export function valueOf(x: SizedInput | undefined): number {
  return x?.values?.[0] ?? Number.NaN;
}

/** The values of an input; a single NaN if they are unknown. */
export function valuesOrNaN(x: SizedInput | undefined): number[] {
  return x?.values === undefined ? [Number.NaN] : Array.from(x.values);
}

export function product(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total * size, 1);
}
