import type * as tf from '@tensorflow/tfjs';
import {type GraphNode, nodeAndOutput} from '../graphDef';
import {type GraphEnd, type ReadGraph, signatureOf} from '../import/readGraph';
import type {WeightSource} from '../import/values';

/** An output of the written graph that comes from a new head. */
export interface NewEnd {
  /** The node that computes it. */
  node: string;
  /** The layer that it comes from. */
  layer: string;
  shape: tf.Shape;
  /** Nodes of the graph that the head is called with. */
  behind: string;
}

interface Signature {
  inputs?: Record<string, object>;
  outputs?: Record<string, {name?: string} & object>;
}

/** A copy of a graph that is being changed. The graph itself stays as it is. */
export class GraphRewrite {
  /** Constants of new nodes. */
  readonly constants = new Map<string, tf.Tensor>();

  private readonly topology: {node: GraphNode[]};
  private readonly nodes: Map<string, GraphNode>;
  /** Nodes of the graph that no output needs. They stay. */
  private readonly unneeded: Set<string>;

  constructor(private readonly graph: ReadGraph) {
    this.topology = structuredClone(graph.artifacts.modelTopology) as {node: GraphNode[]};
    this.nodes = new Map(this.topology.node.map(node => [node.name, node]));
    const needed = this.needed(graph.outputs.map(({node}) => node));
    this.unneeded = new Set([...this.nodes.keys()].filter(name => !needed.has(name)));
  }

  /** The names of all nodes. */
  get names(): Set<string> {
    return new Set(this.nodes.keys());
  }

  /** Returns a name that no node has. */
  freeName(wanted: string): string {
    let name = wanted;
    for (let copy = 1; this.nodes.has(name); copy++) {
      name = `${wanted}_${copy}`;
    }
    return name;
  }

  addConstant(name: string, dtype: string): void {
    const type = dtype === 'float32' ? 'DT_FLOAT' : dtype === 'bool' ? 'DT_BOOL' : 'DT_INT32';
    this.addNode({name, op: 'Const', input: [], attr: {dtype: {type}}});
  }

  addNode(node: GraphNode): void {
    this.topology.node.push(node);
    this.nodes.set(node.name, node);
  }

  /** Replaces an input of a node by a constant. */
  rewire({node: name, index, transposedBy}: WeightSource, constant: string): void {
    const node = this.nodes.get(name) as GraphNode;
    node.input = (node.input ?? []).map((input, i) => (i === index ? constant : input));
    if (transposedBy !== undefined) {
      node.attr = {...node.attr, [transposedBy]: {b: false}};
    }
  }

  /**
   * Returns the topology and signature with the given new outputs, if any, and the names of nodes that are left out.
   *
   * The head's output replaces the graph's output that depends on the layer under the head. If there are several or
   * none of these, the head's outputs are the only ones.
   */
  finished(ends: readonly NewEnd[]): {topology: object; signature: object | undefined; dropped: string[]} {
    const signature = structuredClone(signatureOf(this.graph.artifacts)) as Signature | undefined;
    const outputs = ends.length === 0 ? this.graph.outputs : this.replaceOutputs(ends, signature);
    const needed = this.needed(outputs.map(({node}) => node));
    const isLeft = (name: string) => needed.has(name) || this.unneeded.has(name);
    const dropped = this.topology.node.filter(({name}) => !isLeft(name)).map(({name}) => name);
    this.topology.node = this.topology.node.filter(({name}) => isLeft(name));
    return {topology: this.topology, signature, dropped};
  }

  private replaceOutputs(ends: readonly NewEnd[], signature: Signature | undefined): GraphEnd[] {
    const [end, ...laterEnds] = ends;
    const downstream = this.graph.outputs.filter(({node}) => this.needed([node]).has(end?.behind ?? ''));
    const [output, ...more] = this.graph.outputs.length === 1 ? this.graph.outputs : downstream;
    if (end === undefined || laterEnds.length > 0 || output === undefined || more.length > 0) {
      const entries = ends.map(newEnd => [newEnd.layer, entry(newEnd)] as const);
      if (signature !== undefined) {
        signature.outputs = Object.fromEntries(entries);
      }
      return ends.map(({layer, node}) => ({key: layer, node}));
    }
    const [name, index] = nodeAndOutput(output.node);
    const isUsed = this.topology.node.some(({input = []}) =>
      input.some(source => nodeAndOutput(source.replace(/^\^/, ''))[0] === name),
    );
    const signatureOutput = signature?.outputs?.[output.key];
    if (index === 0 && !isUsed) {
      // Keeps the node under its name; it passes on the head's output.
      const node = this.nodes.get(name) as GraphNode;
      Object.assign(node, {op: 'Identity', input: [end.node], attr: {T: {type: 'DT_FLOAT'}}});
    }
    if (signature?.outputs !== undefined && signatureOutput !== undefined) {
      const tensorName = index === 0 && !isUsed ? signatureOutput.name : `${end.node}:0`;
      signature.outputs[output.key] = {
        ...signatureOutput,
        ...entry(end),
        ...(tensorName !== undefined && {name: tensorName}),
      };
    }
    const replaced = {key: output.key, node: index === 0 && !isUsed ? name : end.node};
    return this.graph.outputs.map(graphEnd => (graphEnd === output ? replaced : graphEnd));
  }

  /** The nodes that outputs need, including those that only have to run before. */
  private needed(outputs: readonly string[]): Set<string> {
    const reached = new Set<string>();
    const open = outputs.map(output => nodeAndOutput(output)[0]);
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      const node = this.nodes.get(name);
      if (node !== undefined && !reached.has(name)) {
        reached.add(name);
        open.push(...(node.input ?? []).map(input => nodeAndOutput(input.replace(/^\^/, ''))[0]));
      }
    }
    return reached;
  }
}

function entry({node, shape}: NewEnd): {name: string; dtype: string; tensorShape: object} {
  return {
    name: `${node}:0`,
    dtype: 'DT_FLOAT',
    tensorShape: {dim: shape.map(size => ({size: String(size ?? -1)}))},
  };
}
