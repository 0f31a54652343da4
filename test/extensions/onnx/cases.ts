import {readFileSync} from 'node:fs';

import * as tf from '@tensorflow/tfjs';

/** A tensor in the fixtures. */
interface StoredTensor {
  shape: number[];
  dtype: 'float32' | 'int32' | 'bool';
  values: number[];
}

/** A file, and what ONNX Runtime computed with it. */
export interface OnnxCase {
  name: string;
  /** In base64. */
  file: string;
  inputs: Record<string, StoredTensor>;
  outputs: StoredTensor[];
}

/** Pages of the docs run in another folder. */
const FOLDER = `${process.cwd()}/test/fixtures/onnx`;

/** What test/python/make_onnx.py wrote. */
export function readCases(file: string): OnnxCase[] {
  return JSON.parse(readFileSync(`${FOLDER}/${file}.json`, 'utf8')) as OnnxCase[];
}

export function bytesOf({file}: OnnxCase): Uint8Array {
  return Uint8Array.from(atob(file), character => character.charCodeAt(0));
}

/** What a model predicts for the inputs of a case. */
export function predicted(model: tf.LayersModel, {inputs}: OnnxCase): tf.Tensor[] {
  const given = Object.values(inputs).map(({values, shape, dtype}) => tf.tensor(values, shape, dtype));
  // `predict` takes as many examples of each input.
  const isBatch = new Set(given.map(({shape}) => shape[0])).size < 2;
  const results = isBatch
    ? [model.predict(given.length === 1 ? given[0]! : given)].flat()
    : tf.tidy(() => [model.apply(given) as tf.Tensor | tf.Tensor[]].flat());
  tf.dispose(given);
  return results;
}

/** Agreement to 1e-5 of the largest value. */
export function expectOutputs(actual: readonly tf.Tensor[], expected: OnnxCase['outputs']): void {
  const looks = ({shape, dtype}: {shape: number[]; dtype: string}) => [shape, dtype];
  expect(actual.map(looks)).toEqual(expected.map(looks));
  actual.forEach((tensor, i) => {
    const {values} = expected[i]!;
    const largest = Math.max(1e-6, ...values.map(Math.abs));
    expect(Array.from(tensor.dataSync())).toBeAllClose(values, {rtol: 0, atol: 1e-5 * largest});
  });
}
