import {type OnnxNode, readOnnx} from '../src/extensions/onnx/file/readOnnx';
import {transpose, type Values} from '../src/platform/formats/layout';

/** The tensors of an ONNX file that are of float32 or int8, as floats, and its nodes. */
export function floatsOf(file: Uint8Array): {tensors: Map<string, Values>; nodes: OnnxNode[]} {
  const {initializers, nodes} = readOnnx(file).graph;
  const read = [...initializers].filter(([, {type}]) => type === 1 || type === 3);
  return {
    tensors: new Map(
      read.map(([name, tensor]) => [name, {shape: tensor.shape, data: Float32Array.from(tensor.values())}]),
    ),
    nodes,
  };
}

/** A matrix `[in, out]` as the hub has it, `[out, in]`. */
export function transposed(matrix: Values): Values {
  return transpose(matrix, [1, 0]);
}
