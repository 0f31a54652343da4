import type {GraphNode} from '../graphDef';
import type {Planner} from './planner';
import type {Value} from './values';

/**
 * What the import knows about an operation of GraphDef, besides what tfjs computes. `operations.ts` has one for each
 * operation that tfjs's executor computes.
 */
export interface Operation {
  /** The maximum size of its result. It bounds what a small file can make us compute. */
  size: Bound;
  /** Whether it computes each row of its outputs from the same row of its inputs. */
  rows: RowRule;
  /** How much time it takes besides reading its inputs and writing its result. */
  work?: Work;
  /** The shape of its result, so that no trial run is needed. */
  shape?: ShapeRule;
  /** The inputs whose values it passes on unchanged. Its other inputs say which and where to. */
  moves?: (node: GraphNode, count: number) => number[] | undefined;
  /** How it combines sizes, element by element. */
  combines?: 'product' | 'sum' | 'difference' | 'other';
  /** Whether it only passes on its input. */
  passes?: boolean;
  /** Plans it as tfjs layers. Without a rule, or if that returns `false`, it becomes a `GraphOp`. */
  layer?: LayerRule;
}

/** An input of a node, as far as the size of the result depends on it. */
export interface SizedInput {
  shape: readonly number[];
  /** Its values, if they are known. */
  values?: ArrayLike<number> | undefined;
}

/** Returns the maximum size of a node's result; NaN if that depends on unknown values. */
export type Bound = (inputs: readonly SizedInput[], node: GraphNode) => number;

/** Returns the time that a node takes, in values that are read or written. `size` is the maximum size of its result. */
export type Work = (inputs: readonly SizedInput[], node: GraphNode, size: number) => number;

/** The input of a rule for rows: a node, what is known of its inputs, and how many axes each has. */
export interface RowSubject {
  node: GraphNode;
  values: readonly Value[];
  ranks: readonly number[];
  /** The values of an input that is a small constant. */
  numbers: (index: number) => number[] | undefined;
}

export type RowRule = (subject: RowSubject) => boolean;

/** Returns the shape of a result of floats; `undefined` if the values that decide it are not known. */
export type ShapeRule = (
  shapes: readonly (readonly number[])[],
  values: (index: number) => number[] | undefined,
  node: GraphNode,
) => number[] | undefined;

/** Plans a node as tfjs layers. `false` if no such layers compute the same. */
export type LayerRule = (node: GraphNode, planner: Planner) => boolean;

/** Operations that share a row. `names` are separated by spaces. */
export function rowFor(names: string, row: Operation): Record<string, Operation> {
  return Object.fromEntries(names.split(' ').map(op => [op, row]));
}
