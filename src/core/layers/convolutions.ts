import * as tf from '@tensorflow/tfjs';
import type {ConvSettings} from '../../backends/shared/geometry';
import type {Defer} from '../../backends/shared/launches';
import {deferConvolution, updateGainedKernel} from '../ops/convolutionChain';
import {epilogueGradient} from '../ops/epilogueGradients';
import type {Deferral} from '../ops/linear';
import type {Prepared} from '../../platform/tfjs/prepared';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ConvLayer} from '../../platform/tfjs/layerFields';

/** Whether a layer is a `FusedConv2D` or similar, which computes bias and activation with its convolution. */
export function isFused(layer: tf.layers.Layer): boolean {
  return fieldsOf<{fuses?: boolean}>(layer).fuses === true;
}

/** The settings of a stock convolution, of one to three axes. */
export function convSettings<Axes extends number[] = [number, number]>({
  strides,
  padding,
  dilationRate,
}: Pick<ConvLayer, 'strides' | 'padding' | 'dilationRate'>): ConvSettings<Axes> {
  return {strides: strides as Axes, padding, dilations: dilationRate as Axes};
}

export function channelsLast(
  x: tf.Tensor,
  {dataFormat}: Pick<ConvLayer, 'dataFormat'>,
): {last: tf.Tensor; restore: (y: tf.Tensor) => tf.Tensor} {
  if (dataFormat === 'channelsLast') {
    return {last: x, restore: y => y};
  }
  const space = Array.from({length: x.rank - 2}, (_, i) => i + 1);
  return {
    last: tf.transpose(x, [0, ...space.map(axis => axis + 1), 1]),
    restore: y => tf.transpose(y, [0, x.rank - 1, ...space]),
  };
}

/** Lets a convolution without an activation be computed with the normalization and relu after it, in training. */
export function deferral(
  owner: Prepared,
  {activation, dataFormat}: Pick<ConvLayer, 'activation' | 'dataFormat'>,
  geometry: ConvSettings,
  depthwise: boolean,
): Deferral | undefined {
  if (dataFormat !== 'channelsLast' || activation.getClassName() !== 'linear') {
    return undefined;
  }
  const defer: (...call: Parameters<Defer>) => tf.Tensor | undefined = (x, filter, bias, update) =>
    deferConvolution(owner, {x: x as tf.Tensor4D, filter: filter as tf.Tensor4D, bias, depthwise, update}, geometry);
  return Object.assign(defer, {epilogueGradient, gainedForm: updateGainedKernel});
}
