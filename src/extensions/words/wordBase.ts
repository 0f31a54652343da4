import * as tf from '@tensorflow/tfjs';
import {ioError, messageOf} from '../../platform/errors';
import {bytesOfBase85} from '../../platform/formats/base85';
import {encodeWords} from './encodeWords';

/** What `loadWordBase` returns. */
export interface WordBase {
  /** The network, `[sounds, 98, 40, 1]` to `[sounds, 96]`: the embedding of each second. The caller disposes of it. */
  model: tf.LayersModel;
  /** Computes its inputs from sounds of one second: `encodeWords`. */
  encode: typeof encodeWords;
}

/** The description of a network in the data: what `modelFromJSON` takes, and its weights in order. */
interface Description {
  modelTopology: object;
  weights: readonly {name: string; shape: number[]}[];
}

/**
 * Loads a small network that was trained on spoken words, and the function that computes its inputs. With a new head
 * and LoRA, it learns your own words from about ten clips of each. It has 195,144 parameters in 8 bits, with a scale
 * for each output channel, and only stock layers: four convolutions, `conv1` to `conv4`, and a dense layer,
 * `embedding`.
 *
 * The first call imports the module of its data, which is 250 kB.
 *
 * @returns the network, and its encoder.
 * @throws LoRAError `ERR_IO` if the module with the weights cannot be loaded.
 * @example
 *     const {model: base, encode} = await loadWordBase();
 *     const model = replaceHead(base, [tf.layers.dense({units: 3, activation: 'softmax'})], {after: 'embedding'});
 * @experimental
 */
export async function loadWordBase(): Promise<WordBase> {
  const {MODEL, WEIGHTS} = await import('./wordBaseData').catch((cause: unknown) => {
    const advice = 'Serve all files that your bundler writes, or all of the package.';
    throw ioError(`The weights of the word base cannot be loaded: ${messageOf(cause)}. ${advice}`, {cause});
  });
  const {modelTopology, weights} = JSON.parse(MODEL) as Description;
  const weightSpecs = weights.map(spec => ({...spec, dtype: 'float32' as const}));
  const weightData = dequantized(weights, bytesOfBase85(WEIGHTS)).buffer;
  const model = await tf.loadLayersModel(tf.io.fromMemory({modelTopology, weightSpecs, weightData}));
  return {model, encode: encodeWords};
}

/**
 * Weights one after the other. A kernel has a scale for each output channel, then its values in 8 bits; a bias has its
 * values as they are.
 */
function dequantized(weights: Description['weights'], bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const sizes = weights.map(({shape}) => tf.util.sizeFromShape(shape));
  const values = new Float32Array(sizes.reduce((sum, size) => sum + size, 0));
  let [at, filled] = [0, 0];
  const floats = (count: number) => new Float32Array(bytes.slice(at, (at += 4 * count)).buffer);
  weights.forEach(({shape}, i) => {
    const size = sizes[i] as number;
    if (shape.length === 1) {
      values.set(floats(size), filled);
    } else {
      const scales = floats(shape.at(-1) as number);
      const steps = new Int8Array(bytes.buffer, at, size);
      values.set(
        Float32Array.from(steps, (step, j) => step * (scales[j % scales.length] as number)),
        filled,
      );
      at += size;
    }
    filled += size;
  });
  return values;
}
