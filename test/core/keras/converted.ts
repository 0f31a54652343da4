import * as tf from '@tensorflow/tfjs';
import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

const FOLDER = join(__dirname, '../../fixtures/keras');

/** Every model that Keras wrote and the official converter converted, by its name in the fixtures. */
export const CONVERTED = readdirSync(FOLDER);

interface Values {
  shape: number[];
  values: number[];
}

/** A model of the fixtures as tfjs reads a folder. */
export function artifactsOf(name: string): tf.io.ModelArtifacts {
  const folder = join(FOLDER, name);
  const file = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as {
    weightsManifest: {paths: string[]; weights: tf.io.WeightsManifestEntry[]}[];
    modelTopology: object;
  };
  const bytes = file.weightsManifest.flatMap(({paths}) => paths).map(path => readFileSync(join(folder, path)));
  return {
    modelTopology: file.modelTopology,
    weightSpecs: file.weightsManifest.flatMap(({weights}) => weights),
    weightData: new Uint8Array(Buffer.concat(bytes)).buffer,
  };
}

export function handlerOf(artifacts: tf.io.ModelArtifacts): tf.io.IOHandler {
  return {load: () => Promise.resolve(artifacts)};
}

/** Inputs, and what Keras computes of them. */
export function computedByKeras(name: string): {inputs: tf.Tensor[]; outputs: Values[]} {
  const {inputs, outputs} = JSON.parse(readFileSync(join(FOLDER, name, 'expected.json'), 'utf8')) as {
    inputs: Values[];
    outputs: Values[];
  };
  return {inputs: inputs.map(({values, shape}) => tf.tensor(values, shape)), outputs};
}
