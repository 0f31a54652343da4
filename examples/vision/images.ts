import type * as tf from '@tensorflow/tfjs';
import {encodeImages} from 'tfjs-lora/images';
import {rasterise} from '../shared/drawings';
import {DRAWINGS} from './data';
import {type BaseFiles, edgeOf} from './learn';

/** Drawings as the input of a model. */
export function pixelsOf(files: BaseFiles, model: tf.LayersModel, drawings: readonly number[]): Promise<tf.Tensor4D> {
  const edge = edgeOf(files);
  const data = drawings.map(i => Uint8Array.from(rasterise(DRAWINGS[i]!.body, edge)));
  return encodeImages(
    model,
    data.map(each => ({data: each, width: edge, height: edge})),
  );
}

/** The kind of each drawing. */
export function labelsAt(drawings: readonly number[]): number[] {
  return drawings.map(i => DRAWINGS[i]!.label);
}
