import {LoRAError, showShape, unsupportedError} from '../../../platform/errors';
import {asksForShape, type GraphNode, type GraphType, inputsOf, keyOf, nodeAndOutput, shortName} from '../graphDef';
import type {Cut} from './order';
import type {Planner} from './planner';
import type {ReadGraph} from './readGraph';
import type {PlannedInput} from './values';

/** Nodes that have kernels: a part without any is not worth training. */
const KERNEL_OPS =
  /^(?:_Fused)?(?:Conv|Depthwise|FusedDepthwise|MatMul|BatchMatMul|Einsum|Gemm|LSTM|GRU|RNN)|^Gather(?:V2)?$/;

/** How the reason begins for a node whose trial failed. */
export const FAILED = 'The node cannot be computed here';

/** How many names a message lists. */
const FEW = 6;
const MANY = 16;

/** Explains why a graph cannot be imported, by its nodes, and names the part of it that can. */
export function refusedImport(
  {problems, graph, values, inputs}: Planner,
  order: readonly GraphNode[],
  cut: Cut,
): LoRAError {
  const named = [...problems].slice(0, FEW).map(([name, reason]) => {
    return `  ${graph.nodes.get(name)?.op ?? ''} "${name}": ${reason}`;
  });
  const moreLine = problems.size > FEW ? [`  and ${problems.size - FEW} more`] : [];
  const region = largestRegion(order, new Set(problems.keys()), graph.weights, cut);
  // Only floats lead to a loss.
  const isFloat = (key: string) => typeAt(values, key) === 'float32';
  const floats = region?.outputs.filter(isFloat) ?? [];
  const importable = region && {...region, outputs: floats.length > 0 ? floats : region.outputs};
  const way =
    importable === undefined
      ? 'No part of it that has kernels can be imported.'
      : `Import a part of it: ${describeRegion(importable, cut, graph)}`;
  const hasFailed = [...problems.values()].some(reason => reason.startsWith(FAILED));
  const sizes = hasFailed ? inputs.flatMap(input => adviceOnSizes(input, values)) : [];
  return unsupportedError(
    ['The graph cannot be made into layers as a whole:', ...named, ...moreLine, ...sizes, way].join('\n'),
  );
}

/** A line that asks for the open sizes of an input, with the sizes that the plan tried. */
export function adviceOnSizes({key, node, name, shape}: PlannedInput, values: Planner['values']): string[] {
  const value = values.get(key);
  const open = shape.flatMap((size, axis) => (size === null && axis > 0 ? [axis] : []));
  if (open.length === 0 || value?.kind !== 'flow') {
    return [];
  }
  const [one, other] = value.shapes.map(sizes => showShape(open.map(axis => sizes[axis] ?? 1)).slice(1, -1));
  const asked = shape
    .slice(1)
    .map(size => size ?? '…')
    .join(', ');
  return [
    `It leaves sizes of "${name}" open, and was tried with ${one ?? ''} and ${other ?? ''}, which it may not ` +
      `support. Pass the sizes that you use: {inputShapes: {'${shortName(node)}': [${asked}]}}.`,
  ];
}

/** The type of a flow, `undefined` if there is none. */
function typeAt(values: Planner['values'], key: string): GraphType | undefined {
  const value = values.get(key);
  return value?.kind === 'flow' ? value.dtype : undefined;
}

/**
 * A warning about outputs that are not floats, such as those of an `ArgMax`: they have no gradient, and tfjs's own
 * error in training is unclear. `undefined` if there are none.
 */
export function adviceOn({graph, values}: Planner, outputs: readonly string[], cut: Cut): string | undefined {
  const nonFloats = outputs.map(keyOf).filter(key => ![undefined, 'float32'].includes(typeAt(values, key)));
  if (nonFloats.length === 0) {
    return undefined;
  }
  const ends = new Set<string>();
  const seen = new Set<string>();
  const queue = outputs.map(keyOf).reverse();
  for (let key = queue.pop(); key !== undefined; key = queue.pop()) {
    const [name] = nodeAndOutput(key);
    if (typeAt(values, key) === 'float32') {
      ends.add(key);
    } else if (!seen.has(key) && !cut.inputs.includes(name)) {
      seen.add(key);
      queue.push(...inputsOf(graph.nodes.get(name) as GraphNode).map(keyOf));
    }
  }
  const named = nonFloats.map(key => `"${shortOutput(key)}" gives ${typeAt(values, key) ?? ''}`).join(', ');
  const way =
    ends.size === 0
      ? 'Nothing before it can train either.'
      : `To train, end before it: ${describeRegion({inputs: [], outputs: [...ends]}, cut, graph)}`;
  return `Output ${named}, which has no gradient: the model can predict, but not train. ${way}`;
}

/** A part of a graph: its outside inputs, and its outputs that are used outside. */
interface Region {
  inputs: string[];
  outputs: string[];
}

/** Returns the part with the most kernels among those that the failed nodes divide a graph into. */
function largestRegion(
  order: readonly GraphNode[],
  problems: ReadonlySet<string>,
  weights: ReadonlyMap<string, unknown>,
  cut: Cut,
): Region | undefined {
  const data = new Set(order.flatMap(({name, op}) => (weights.has(name) || op.startsWith('Const') ? [] : [name])));
  const isEnd = (name: string) => cut.inputs.includes(name);
  const parents = new Map<string, string>();
  const rootOf = (name: string) => {
    const way: string[] = [];
    let root = name;
    for (let next = parents.get(root); next !== undefined; next = parents.get(root)) {
      way.push(root);
      root = next;
    }
    // Path compression, since a graph may be one long chain.
    way.forEach(member => parents.set(member, root));
    return root;
  };
  const inside = order.filter(({name}) => data.has(name) && !problems.has(name));
  const members = new Set(inside.map(({name}) => name));
  const links = order.flatMap(node =>
    (isEnd(node.name) ? [] : inputsOf(node)).flatMap(name => {
      const [source] = nodeAndOutput(name);
      return data.has(source) ? [{node, source, name}] : [];
    }),
  );
  const levels = levelsOf(order, problems, cut);
  for (const {node, source} of links) {
    if (members.has(source) && members.has(node.name) && levels.get(source) === levels.get(node.name)) {
      const [one, other] = [rootOf(source), rootOf(node.name)];
      if (one !== other) {
        parents.set(one, other);
      }
    }
  }
  const kernels = new Map<string, number>();
  for (const {name, op} of inside) {
    kernels.set(rootOf(name), (kernels.get(rootOf(name)) ?? 0) + Number(KERNEL_OPS.test(op)));
  }
  const [best] = [...kernels].sort(([, one], [, other]) => other - one);
  if (best === undefined || best[1] === 0) {
    return undefined;
  }
  const isMember = (name: string) => members.has(name) && rootOf(name) === best[0];
  const inputs = new Set<string>();
  const outputs = new Set(cut.outputs.filter(output => isMember(nodeAndOutput(output)[0])));
  for (const {node, source, name} of links) {
    if (isMember(node.name) && !isMember(source)) {
      inputs.add(keyOf(name));
    } else if (!isMember(node.name) && isMember(source) && !asksForShape(node)) {
      outputs.add(keyOf(name));
    }
  }
  order.filter(({name}) => isEnd(name) && isMember(name)).forEach(({name}) => inputs.add(name));
  return {inputs: [...inputs], outputs: [...outputs]};
}

/** How many of the failed nodes precede a node in sequence. */
function levelsOf(order: readonly GraphNode[], problems: ReadonlySet<string>, cut: Cut): Map<string, number> {
  const levels = new Map<string, number>();
  for (const node of order) {
    const sources = cut.inputs.includes(node.name) ? [] : inputsOf(node).map(input => nodeAndOutput(input)[0]);
    const reached = sources.map(source => {
      const level = levels.get(source) ?? 0;
      // Consecutive ones count once.
      return problems.has(node.name) && !problems.has(source) ? level + 1 : level;
    });
    levels.set(node.name, Math.max(0, ...reached));
  }
  return levels;
}

function describeRegion({inputs, outputs}: Region, cut: Cut, {call = 'fromGraphModel(graph'}: ReadGraph): string {
  const names = (list: readonly string[]) => list.map(key => `'${shortOutput(key)}'`);
  const listed = (list: readonly string[]) =>
    `[${names(list).slice(0, MANY).join(', ')}${list.length > MANY ? `, and ${list.length - MANY} more` : ''}]`;
  const inner = inputs.filter(input => !cut.inputs.includes(input));
  const shapes = names(inner).map(name => `${name}: [its shape without the batch axis]`);
  const entries = [
    ...(inner.length > 0 ? [`inputs: ${listed(inputs)}`, `inputShapes: {${shapes.slice(0, MANY).join(', ')}}`] : []),
    `outputs: ${listed(outputs)}`,
  ];
  return `${call}, {${entries.join(', ')}}).`;
}

function shortOutput(key: string): string {
  const [node, output] = nodeAndOutput(key);
  return output === 0 ? shortName(node) : `${shortName(node)}:${output}`;
}
