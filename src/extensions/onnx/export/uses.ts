import {unsupportedError} from '../../../platform/errors';
import {type OnnxNode, readGraphProto} from '../file/readOnnx';

/** Nobody nests more graphs than this. */
const DEEPEST = 32;

/** Name of a value → the number of nodes, also of inner graphs, and of outputs that use it. */
export function usesOf(nodes: readonly OnnxNode[], ends: readonly {name: string}[] = []): Map<string, number> {
  const uses = new Map<string, number>();
  const count = (name: string) => uses.set(name, (uses.get(name) ?? 0) + 1);
  const visit = (nodes: readonly OnnxNode[], depth = 0): void => {
    if (depth > DEEPEST) {
      throw unsupportedError(`The ONNX file has graphs that are nested more than ${DEEPEST} times.`);
    }
    for (const {inputs, attributes} of nodes) {
      inputs.forEach(count);
      for (const {g} of attributes.values()) {
        if (g !== undefined) {
          const inner = readGraphProto(g);
          inner.outputs.forEach(({name}) => count(name));
          visit(inner.nodes, depth + 1);
        }
      }
    }
  };
  visit(nodes);
  ends.forEach(({name}) => count(name));
  return uses;
}
