import type {GraphNode} from '../../graph/graphDef';
import type {OnnxCall} from './onnxCall';

/** A constant factor. */
interface Scale {
  numbers: number[];
  shape: readonly number[];
}

/** A constant factor: a constant, or a product of constants. */
function scaleFrom(call: OnnxCall, key: string): Scale | undefined {
  const numbers = call.planner.numbers(key);
  const shape = call.lowering.file.tensors.get(key)?.shape ?? call.planner.constant(key)?.shape ?? [];
  const node = call.planner.graph.nodes.get(key.replace(/:\d+$/, ''));
  const inputs = numbers === undefined && node?.op === 'Mul' ? (node.input ?? []) : [];
  const [one, other] = inputs.map(input => scaleFrom(call, input));
  if (numbers !== undefined || one === undefined || other === undefined) {
    return numbers && {numbers, shape};
  }
  const [long, {numbers: short}] = one.numbers.length >= other.numbers.length ? [one, other] : [other, one];
  const product = long.numbers.map((value, i) => value * ((short.length === 1 ? short[0] : short[i]) ?? 1));
  return {numbers: product, shape: long.shape};
}

/** The scale of an integer operation, if a Cast and a Mul with a constant follow. */
export function scaleBehind(call: OnnxCall): (Scale & {absorbed: GraphNode[]}) | undefined {
  const casted = call.follower(call.node, 'Cast');
  const product = casted && call.follower(casted.node, 'Mul');
  const scale = product && scaleFrom(call, product.key(1 - product.inputIndexOf(casted.node)));
  return scale && {...scale, absorbed: [casted.node, product.node]};
}
