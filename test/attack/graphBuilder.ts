import * as tf from '@tensorflow/tfjs';
import type {GraphAttribute, GraphNode} from '../../src/extensions/graph/graphDef';
import {input, node} from '../extensions/graph/graphs';
import {below, pick, type Random} from './damage';

/** A constant of a graph, as JSON. */
export interface GraphConstant {
  shape: number[];
  dtype: 'float32' | 'int32';
  values: number[];
}

/** More numbers are in no tensor of these graphs. */
const MOST = 600;

/**
 * Builds a graph node by node. Each is tried on tensors, so that what stands in the graph is valid for one size of its
 * inputs.
 */
export class GraphBuilder {
  readonly nodes: GraphNode[] = [];
  readonly constants: Record<string, GraphConstant> = {};
  /** What was computed for each output of a node. */
  readonly tensors = new Map<string, tf.Tensor>();
  /** The outputs of nodes, in the order of their making. */
  readonly flows: string[] = [];
  /** Those of them that hang on the numbers of an input, and not on shapes alone. */
  readonly inputFlows: string[] = [];

  constructor(readonly random: Random) {}

  below(count: number): number {
    return below(this.random, count);
  }

  pick<T>(values: readonly T[]): T {
    return pick(this.random, values);
  }

  flip(chance = 0.5): boolean {
    return this.random() < chance;
  }

  addInput(shape: number[], sizes: number[], type: 'float32' | 'int32'): void {
    const name = `x${this.nodes.length}`;
    this.nodes.push(input(name, shape, type === 'int32' ? 'DT_INT32' : 'DT_FLOAT'));
    this.tensors.set(name, tensorOf(this.numbers(sizes, type)));
    this.flows.push(name);
    this.inputFlows.push(name);
  }

  numbers(shape: number[], dtype: GraphConstant['dtype'] = 'float32'): GraphConstant {
    const count = tf.util.sizeFromShape(shape);
    const values = Array.from({length: count}, () =>
      dtype === 'int32' ? this.below(3) : Math.round((this.random() * 3 - 1.5) * 64) / 64,
    );
    return {shape, dtype, values};
  }

  constant(constant: GraphConstant): string {
    const name = `c${Object.keys(this.constants).length}`;
    this.constants[name] = constant;
    this.tensors.set(name, tensorOf(constant));
    return name;
  }

  ints(values: number | number[]): string {
    return Array.isArray(values)
      ? this.constant({shape: [values.length], dtype: 'int32', values})
      : this.constant({shape: [], dtype: 'int32', values: [values]});
  }

  shape(name: string): number[] {
    return this.tensors.get(name)!.shape;
  }

  /** An output that hangs on an input; rather one of the last. */
  flow(fits: (shape: number[], dtype: string) => boolean = () => true): string | undefined {
    const fitting = this.flows.filter(name => fits(this.shape(name), this.tensors.get(name)!.dtype));
    const near = fitting.slice(-4);
    return fitting.length === 0 ? undefined : this.pick(this.flip(0.7) ? near : fitting);
  }

  floats(fits: (shape: number[]) => boolean = () => true): string | undefined {
    return this.flow((shape, dtype) => dtype === 'float32' && fits(shape));
  }

  /** Adds a node if it can be computed; gives its outputs. */
  add(op: string, inputs: readonly string[], attr: Record<string, GraphAttribute> = {}, outputs = 1): string[] {
    const name = `n${this.nodes.length}`;
    const keys = Array.from({length: outputs}, (_, i) => (i === 0 ? name : `${name}:${i}`));
    const results = computed(node(name, op, [...inputs], attr), this.tensors, keys);
    if (results?.every(({size, dtype}) => size > 0 && size <= MOST && dtype !== 'string') !== true) {
      tf.dispose(results ?? []);
      return [];
    }
    this.nodes.push(node(name, op, [...inputs], attr));
    const hasNumbers = !['Shape', 'Size', 'Rank'].includes(op) && inputs.some(each => this.inputFlows.includes(each));
    keys.forEach((key, i) => {
      this.tensors.set(key, results[i]!);
      this.flows.push(key);
      if (hasNumbers) {
        this.inputFlows.push(key);
      }
    });
    return keys;
  }

  dispose(): void {
    tf.dispose([...this.tensors.values()]);
  }
}

/** A tensor of a constant. */
export function tensorOf({shape, dtype, values}: GraphConstant): tf.Tensor {
  return tf.tensor(values, shape, dtype);
}

function computed(
  own: GraphNode,
  tensors: ReadonlyMap<string, tf.Tensor>,
  outputs: readonly string[],
): tf.Tensor[] | undefined {
  const locals = (own.input ?? []).map((_, i) => `x${i}`);
  const placeholders = locals.map(name => ({name, op: 'Placeholder', attr: {}}));
  const modelTopology = {node: [...placeholders, {...structuredClone(own), input: locals}], versions: {}};
  const feed = Object.fromEntries((own.input ?? []).map((name, i) => [`x${i}`, tensors.get(name)!]));
  try {
    const graph = tf.loadGraphModelSync({modelTopology, weightSpecs: [], weightData: new ArrayBuffer(0)});
    return tf.tidy(() => [graph.execute(feed, [...outputs])].flat().map(tensor => tf.clone(tensor)));
  } catch {
    return undefined;
  }
}
