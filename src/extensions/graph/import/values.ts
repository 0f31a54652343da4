import type * as tf from '@tensorflow/tfjs';
import type {GraphType} from '../graphDef';

// A graph is planned for two trial values of each dynamic size, the batch and other axes. Values that differ between
// the two depend on a size.

/** A size, or a number made of sizes, by its index in the plan's list. Equal indices are equal in every run. */
export type SizeId = number;

/** A value for each of the two trial sizes. */
export type Pair<T> = readonly [T, T];

/** Half a gigabyte: no graph for a browser has a larger tensor for an example. */
export const MAX_NUMBERS = 2 ** 27;

/** A part of a node in the graph. */
export interface NodeOverrides {
  /** Its name within that of the node. */
  suffix?: string;
  /** The indices of its inputs among those of the node. */
  sources?: number[];
  /** The keys of its outputs. Default: those of the node. */
  keys?: readonly string[];
}

/** The source of a layer's weight: an input of a node, and how the layer holds it. */
export interface WeightSource {
  node: string;
  /** The index among the node's data inputs. */
  index: number;
  /** The node's flag that transposes the input, which the layer holds transposed. */
  transposedBy?: string;
  /** The shape of the input, if the layer holds another one. */
  shape?: number[];
}

/** A tensor's shape and type. */
export interface TensorSignature {
  shape: number[];
  dtype: GraphType;
}

/** A tensor that is known when a graph is planned. */
export interface Constant {
  kind: 'constant';
  tensor: tf.Tensor;
  /** Its values, if it is small. */
  values?: ArrayLike<number>;
}

/** A result of a node that depends only on the shapes of the inputs. */
export interface Folded {
  pair: Pair<Required<Constant>>;
  /** The sizes that its values are made of. */
  sizes: SizeId[];
}

/** A small tensor that depends only on the shapes of the inputs. */
export interface Shaped extends Folded {
  kind: 'shaped';
  /** The node output that it is. */
  key: string;
}

/** A tensor that does not depend on the values of the inputs, at one of the trial sizes. */
export function constantAt(value: Constant | Shaped, p: 0 | 1 = 0): Constant {
  return value.kind === 'shaped' ? value.pair[p] : value;
}

/** A tensor that depends on the inputs: the output of a layer. */
export interface Flow {
  kind: 'flow';
  /** The node output, the layer's last one. */
  key: string;
  shapes: Pair<number[]>;
  /** The size of each axis, as an index. */
  sizes: SizeId[];
  /** The shape of its symbolic tensor. The layer that computes it checks sizes that are not proved. */
  shape: tf.Shape;
  dtype: GraphType;
}

export type Value = Constant | Shaped | Flow;

export interface PlannedWeight {
  readonly tensor: tf.Tensor;
  /** Identifies the value among layers that share it. Default: the tensor. */
  id?: string;
  source: WeightSource;
}

/** A call of a layer in a planned model. */
export interface PlannedCall {
  /** Not built. Calls of one layer share it. */
  layer: tf.layers.Layer;
  /** Keys of flows. */
  inputs: string[];
  outputs: string[];
  /** Name of a weight in the layer → the weight. */
  weights: Record<string, PlannedWeight>;
}

/** An input of a planned model. */
export interface PlannedInput {
  /** Its node in the graph. */
  node: string;
  key: string;
  name: string;
  shape: (number | null)[];
  dtype: GraphType;
}

/** The model that a graph is imported into. */
export interface GraphPlan {
  inputs: PlannedInput[];
  layers: PlannedCall[];
  /** Keys of flows. */
  outputs: string[];
  /** Key of a flow → the output of a node that is equal to it. Flows between the layers of one node have none. */
  ends: Map<string, string>;
  /** Name of a node → its fate. */
  fates: Map<string, Fate>;
  /** Lines that ask for the sizes that inputs leave open, in case that a layer does not support them. */
  sizes?: string[];
  /** The warning about outputs that cannot train. */
  advice?: string | undefined;
  /** Frees the tensors that were computed for the plan. The layers that were built share what they need. */
  dispose(): void;
}

/** What a node became: a layer, part of one, a `GraphOp`, a constant, a number made of shapes, nothing. */
export type Fate = 'stock' | 'merged' | 'op' | 'folded' | 'shape' | 'skipped';
