import * as tf from '@tensorflow/tfjs';
import type {Architecture} from '../net/architecture';
import type {Expected, NetSources} from '../net/netSources';
import {setWeight} from './assemble';
import {type Assignment, plainer} from './fileTensors';
import type {OpenWeights} from './onnxWeights';

/** Layers for matrices that files have in blocks. */
export interface PackedLayers {
  make: NonNullable<NetSources['make']>;
  /** The bytes of weights, in blocks and as float32. */
  bytesOf: (weights: readonly Expected[]) => number;
  /** Gives layers the blocks of a tensor. @returns its values, if a layer needs floats. */
  fill: (name: string, assigned: Assignment, layers: ReadonlyMap<string, tf.layers.Layer>) => Float32Array | undefined;
}

/** How layers keep the blocks of the files; `undefined` if these have none. */
export async function packedLayers(
  files: readonly OpenWeights[],
  architecture: Architecture,
): Promise<PackedLayers | undefined> {
  const plain = plainer(architecture);
  const matrices = new Map(
    files.flatMap(({blocks}) => [...(blocks ?? [])].map(([name, matrix]) => [plain(name), matrix])),
  );
  if (matrices.size === 0) {
    return undefined;
  }
  const {QuantizedDense} = await import('../../quantized/layers/quantizedDense');
  const {BLOCKS} = await import('../../quantized/layers/blockLayer');
  return {
    make: (fileName, className, args) => {
      const format = matrices.get(plain(fileName))?.format;
      return format && className === 'Dense' ? new QuantizedDense({...args, blocks: {name: format}}) : undefined;
    },
    bytesOf: weights => {
      const blockBytes = ({fileName, weight}: Expected) =>
        weight === 'kernel' ? matrices.get(plain(fileName))?.bytes : undefined;
      return weights.reduce((sum, weight) => sum + (blockBytes(weight) ?? floatBytes([weight])), 0);
    },
    fill: (name, assigned, layers) => {
      const matrix = matrices.get(plain(name));
      const weights = (matrix && assigned.weights.get(name)) ?? [];
      const packed = weights.filter(({layer}) => layers.get(layer) instanceof QuantizedDense);
      for (const weight of packed) {
        tf.tidy(() => {
          setWeight(layers, {...weight, weight: BLOCKS}, () => tf.tensor1d(matrix?.words() ?? [], 'int32'));
        });
      }
      return packed.length === weights.length ? undefined : matrix?.values();
    },
  };
}

/** The bytes of weights as float32. */
export function floatBytes(weights: readonly Expected[]): number {
  return weights.reduce((sum, {shape}) => sum + 4 * tf.util.sizeFromShape(shape), 0);
}
