import {type GraphNode, inputsOf, nodeAndOutput, shortName} from '../graphDef';
import type {PlannedCall} from './values';

/** The part of a graph to import: nodes that become inputs, and outputs of nodes. */
export interface Cut {
  inputs: readonly string[];
  outputs: readonly string[];
}

/** The nodes of a graph, and its constants. */
interface GraphNodes {
  nodes: ReadonlyMap<string, GraphNode>;
  weights: ReadonlyMap<string, unknown>;
}

/** The nodes that the outputs need, in topological order, without constants and inputs. */
export function neededNodes({nodes, weights}: GraphNodes, {inputs, outputs}: Cut): GraphNode[] {
  const ends = new Set(inputs);
  const order: GraphNode[] = [];
  const seen = new Set<string>();
  const sourcesOf = (node: GraphNode) => inputsOf(node).map(input => nodeAndOutput(input)[0]);
  const needsOf = (name: string) => {
    const node = nodes.get(name);
    if (node === undefined || ends.has(name)) {
      return [];
    }
    // Only this connects the branch of a Switch to it.
    const ways = (node.input ?? []).flatMap(input => (input.startsWith('^') ? [input.slice(1)] : []));
    const isWay = (way: string) => {
      const [source = ''] = sourcesOf(nodes.get(way) ?? {name: way, op: ''});
      return nodes.get(way)?.op === 'Identity' && nodes.get(source)?.op === 'Switch';
    };
    return [...(weights.has(name) ? [] : sourcesOf(node)), ...ways.filter(isWay)];
  };
  for (const output of outputs) {
    // An explicit stack: recursion would overflow in deep graphs.
    const stack: {name: string; needs: string[]}[] = [];
    const enter = (name: string) => {
      if (!seen.has(name)) {
        seen.add(name);
        stack.push({name, needs: needsOf(name).reverse()});
      }
    };
    enter(nodeAndOutput(output)[0]);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const next = top.needs.pop();
      if (next !== undefined) {
        enter(next);
      } else {
        stack.pop();
        const node = nodes.get(top.name);
        if (node !== undefined) {
          order.push(node);
        }
      }
    }
  }
  return order;
}

/** The nodes that use an output of each node, once for each use. */
export function consumersOf(order: readonly GraphNode[], {inputs}: Cut): Map<string, GraphNode[]> {
  const ends = new Set(inputs);
  const consumers = new Map<string, GraphNode[]>(order.map(({name}) => [name, []]));
  for (const node of order) {
    for (const input of ends.has(node.name) ? [] : inputsOf(node)) {
      consumers.get(nodeAndOutput(input)[0])?.push(node);
    }
  }
  return consumers;
}

/** Finds names that are not taken: `name`, `name_1`, `name_2`. */
export class FreeNames {
  // The last suffix of each name: a graph may give one name to all its nodes.
  private readonly copies = new Map<string, number>();

  constructor(private readonly taken: {has(name: string): boolean}) {}

  /** Returns a name, which the caller takes. */
  next(base: string): string {
    let name = base;
    let copy = this.copies.get(base) ?? 0;
    while (this.taken.has(name)) {
      name = `${base}_${++copy}`;
    }
    this.copies.set(base, copy);
    return name;
  }
}

/** Names layers after their nodes. The same graph always gives the same names. */
export function layerNames(nodes: Iterable<string>): Map<string, string> {
  const names = new Map<string, string>();
  const taken = new Set<string>();
  const free = new FreeNames(taken);
  for (const node of nodes) {
    const short = shortName(node)
      .replace(/[^-A-Za-z0-9._/]/g, '_')
      .replace(/^[^A-Za-z0-9]/, 'n$&');
    const name = free.next(short);
    taken.add(name);
    names.set(node, name);
  }
  return names;
}

/** Returns the layers that flows need, of all layers in the order in which they are called. */
export function neededLayers<T extends Pick<PlannedCall, 'inputs' | 'outputs'>>(
  layers: readonly T[],
  flows: readonly string[],
): T[] {
  const needed = new Set(flows);
  const isNeeded = ({inputs, outputs}: T) => {
    const isUsed = outputs.some(key => needed.has(key));
    (isUsed ? inputs : []).forEach(key => needed.add(key));
    return isUsed;
  };
  return [...layers].reverse().filter(isNeeded).reverse();
}
