import type * as tf from '@tensorflow/tfjs';
import {currentWebgl, type WebglBackend} from '../../../../backends/webgl/program';
import {convertedData} from '../../../../platform/tfjs/cardData';
import {bytesOf} from '../../formats/blockMatrix';
import type {Dialect} from '../formatCode';

// Textures hold 32-bit floats; here each holds a 24-bit integer, three bytes. A pixel has four floats.

const BYTES_OF_PIXEL = 12;

/** @param pixelAt code that reads the pixel at an index `i`. */
export const glsl = (pixelAt: string): Dialect => ({
  integer: 'int',
  real: 'float',
  define: (name, parameters, type, expression) =>
    `${type} ${name}(${parameters.map(parameter => `int ${parameter}`).join(', ')}) { return ${expression}; }`,
  primitives: `vec4 pixelAt(int i) { ${pixelAt} }
int bits(int v, int shift, int mask) { return (v >> shift) & mask; }
int byteAt(int offset) {
  vec4 pixel = pixelAt(offset / ${BYTES_OF_PIXEL});
  return bits(int(pixel[(offset % ${BYTES_OF_PIXEL}) / 3]), 8 * (offset % 3), 255);
}
float real(int v) { return float(v); }
float fromBits(int v) { return intBitsToFloat(v); }`,
});

/** Uploads blocks as a matrix of two rows, so that pixels hold consecutive bytes. */
export function onCard(blocks: tf.Tensor): tf.TensorInfo {
  return convertedData(blocks, () => {
    const bytes = bytesOf(blocks);
    const pixels = Math.ceil(bytes.length / BYTES_OF_PIXEL);
    const columns = 2 * pixels;
    const numbers = new Float32Array(4 * pixels);
    const byteAt = (offset: number) => bytes[offset] ?? 0;
    for (let i = 0; i < numbers.length; i++) {
      const index = (i & 2 ? columns : 0) + 2 * (i >> 2) + (i & 1);
      numbers[index] = byteAt(3 * i) + 256 * byteAt(3 * i + 1) + 65536 * byteAt(3 * i + 2);
    }
    return (currentWebgl() as WebglBackend).makeTensorInfo([2, columns], 'float32', numbers);
  });
}
