import * as tf from '@tensorflow/tfjs';
import {damagedError, misfitError, showShape, tooLargeError, unsupportedError} from '../../../platform/errors';
import type {GraphNode, GraphType} from '../graphDef';
import {largestOutput} from './operations';
import {MAX_NUMBERS} from './values';
import {capabilities, pendingKernels} from '../../../backends/shared/capabilities';
import {unrecorded} from '../../../core/ops/recording';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';

/** A tensor that a fragment computes with. */
export interface FragmentTensor {
  name: string;
  dtype: GraphType;
}

/** A small constant that is part of a fragment. */
export interface FragmentConstant extends FragmentTensor {
  shape: number[];
  values: number[];
}

/** A node cut out of a graph, with its inputs renamed. */
export interface GraphFragment {
  node: GraphNode;
  /** The tensors that the layer is called with, in order. */
  inputs: FragmentTensor[];
  /** The tensors that the layer holds as weights. */
  weights: (FragmentTensor & {shape: number[]})[];
  constants: FragmentConstant[];
  /** The used outputs, by index, and their types. */
  outputs: {index: number; dtype: GraphType}[];
  /** The shapes of the outputs for given input shapes, so that no trial run is needed. */
  shapes?: {inputs: tf.Shape[]; outputs: tf.Shape[]};
}

/** Arguments of a {@link GraphOp}. */
export interface GraphOpArgs {
  name?: string;
  trainable?: boolean;
  /** A {@link GraphFragment} as JSON, in `name`: the only key whose texts tfjs does not convert in files. */
  fragment: {name: string};
}

/**
 * A layer that computes one node of a TensorFlow graph by the public executor of `tf.GraphModel`. `fromGraphModel`
 * makes one for each node that no tfjs layer computes. The node's large constants are its weights, which never train.
 *
 * @throws LoRAError on a call whose result would have more than 2^27 values.
 */
export class GraphOp extends tf.layers.Layer {
  static readonly className: string = 'tfjs-lora/graph>GraphOp';

  readonly fragment: GraphFragment;
  private readonly text: string;
  private graph: tf.GraphModel<tf.io.IOHandlerSync> | undefined;
  private variables: tf.LayerVariable[] = [];

  constructor(args: GraphOpArgs) {
    super(args);
    this.text = args.fragment.name;
    this.fragment = fragmentFrom(this.text, this.name);
  }

  override build(): void {
    const {weights} = this.fragment;
    this.variables = weights.map(({name, shape, dtype}) => {
      const initial = tf.initializers.zeros();
      return this.addWeight(name, shape, dtype, initial, undefined, false);
    });
    this.built = true;
  }

  /** Keeps the types of the outputs: as float32, large integers would be rounded. */
  override apply(
    inputs: tf.Tensor | tf.Tensor[] | tf.SymbolicTensor | tf.SymbolicTensor[],
    kwargs?: Record<string, unknown>,
  ): tf.Tensor | tf.Tensor[] | tf.SymbolicTensor | tf.SymbolicTensor[] {
    const results = super.apply(inputs, kwargs);
    [results].flat().forEach((result, i) => {
      if (result instanceof tf.SymbolicTensor) {
        (result as {dtype: string}).dtype = this.fragment.outputs[i]?.dtype ?? 'float32';
      }
    });
    return results;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: Record<string, unknown>): tf.Tensor | tf.Tensor[] {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      pendingKernels.current()?.refuse(); // a node can be any operation, and tfjs's own kernels are wrong in places
      const tensors = [inputs].flat();
      this.checkShapes('takes', tensors, this.fragment.shapes?.inputs);
      const results = this.run(
        tensors,
        this.variables.map(variable => variable.read()),
      );
      this.checkShapes('gives', results, this.fragment.shapes?.outputs);
      return results.length === 1 ? (results[0] as tf.Tensor) : results;
    });
  }

  /** Computes the node for inputs and weights. */
  private run(inputs: readonly tf.Tensor[], weights: readonly tf.Tensor[]): tf.Tensor[] {
    const {fragment} = this;
    const feed: Record<string, tf.Tensor> = {};
    // tfjs casts tensors between layers.
    fragment.inputs.forEach(({name, dtype}, i) => (feed[name] = asType(inputs[i] as tf.Tensor, dtype)));
    fragment.weights.forEach(({name}, i) => (feed[name] = weights[i] as tf.Tensor));
    // Made for each call. If kept, they would have to be disposed and moved between backends.
    fragment.constants.forEach(({name, shape, dtype, values}) => (feed[name] = tf.tensor(values, shape, dtype)));
    this.checkSize(feed);
    const execute = () => runNode((this.graph ??= graphOf(fragment.node)), fragment, feed);
    return fragment.outputs.some(({dtype}) => dtype === 'float32') ? execute() : unrecorded(execute);
  }

  /** Refuses shapes that differ from the plan's, since the layers would not compute what the graph computes. */
  private checkShapes(verb: 'takes' | 'gives', tensors: readonly tf.Tensor[], planned: readonly tf.Shape[] = []): void {
    for (const [i, expected] of planned.entries()) {
      const shape = tensors[i]?.shape;
      const fits = (sizes: tf.Shape) =>
        sizes.length === shape?.length && sizes.every((size, axis) => size === null || size === shape[axis]);
      if (!fits(expected)) {
        const isBatch = verb === 'takes' && fits([null, ...expected.slice(1)]);
        const way = isBatch
          ? `The graph does not compute each example independently: pass ${expected[0] ?? 1} at a time, ` +
            `{batchSize: ${expected[0] ?? 1}}. Inputs of other first sizes than each other, such as states, are ` +
            'passed by model.apply([…]), or become constants by {constantInputs: {…}} of fromONNX.'
          : 'Import the graph for the sizes that you use, fromGraphModel(graph, {inputShapes: {…}}), or pass others.';
        throw misfitError(
          `Layer "${this.name}" (${this.fragment.node.op}) ${verb} ${shape ? showShape(shape) : 'nothing'} where ` +
            `the import has ${showShape(expected)}. ${way}`,
        );
      }
    }
  }

  private checkSize(feed: Readonly<Record<string, tf.Tensor>>): void {
    const {node, constants} = this.fragment;
    const values = new Map(constants.map(constant => [constant.name, constant.values]));
    const sized = (node.input ?? []).map(name => ({shape: feed[name]?.shape ?? [], values: values.get(name)}));
    const size = largestOutput(node, sized) ?? 0;
    if (size > MAX_NUMBERS) {
      throw tooLargeError(
        `Layer "${this.name}" (${node.op}) would return up to ${size} values, more than ${MAX_NUMBERS}.`,
      );
    }
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape | tf.Shape[] {
    const inputs = shapesOf(inputShape);
    const planned = this.fragment.shapes;
    const outputs =
      planned !== undefined && JSON.stringify(planned.inputs) === JSON.stringify(inputs)
        ? planned.outputs
        : this.probedShapes(inputs);
    return outputs.length === 1 ? (outputs[0] as tf.Shape) : outputs;
  }

  /** The shapes of the outputs, from runs on zeros with two values for each unknown size. */
  private probedShapes(inputs: readonly tf.Shape[]): tf.Shape[] {
    const [one, other] = [4, 6].map(unknown =>
      tf.tidy(() => {
        const tensors = this.fragment.inputs.map(({dtype}, i) =>
          blank(
            this.fragment.node,
            (inputs[i] ?? []).map(size => size ?? unknown),
            dtype,
          ),
        );
        const weights = this.fragment.weights.map(({shape, dtype}) => tf.zeros(shape, dtype as tf.DataType));
        return this.run(tensors, weights).map(({shape}) => shape);
      }),
    ) as [number[][], number[][]];
    return one.map((shape, i) => shape.map((size, axis) => (size === other[i]?.[axis] ? size : null)));
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), fragment: {name: this.text}};
  }
}
registerOwn(GraphOp);

/** What a node is tried out with: zeros, or ones, since some backends cannot divide integers by 0. */
export function blank({op}: GraphNode, shape: number[], dtype: GraphType): tf.Tensor {
  return (/Div|Mod/.test(op) ? tf.ones : tf.zeros)(shape, dtype);
}

/** The name of the only node of a graph. Its original name could be that of an input. */
const NODE = 'node';

/** A graph of one node without weights: all its inputs are fed. */
export function graphOf(node: GraphNode): tf.GraphModel<tf.io.IOHandlerSync> {
  const placeholders = [...new Set(node.input ?? [])].map(name => ({name, op: 'Placeholder', attr: {}}));
  // tfjs modifies the topology that it reads.
  const renamedCopy = {...structuredClone(node), name: NODE};
  const modelTopology = {node: [...placeholders, renamedCopy], versions: {producer: 0, minConsumer: 0}};
  return tf.loadGraphModelSync({modelTopology, weightSpecs: [], weightData: new ArrayBuffer(0)});
}

/** Runs the node of a fragment by its graph. */
export function runNode(
  graph: tf.GraphModel<tf.io.IOHandlerSync>,
  {node, outputs}: Pick<GraphFragment, 'node' | 'outputs'>,
  feed: tf.NamedTensorMap,
): tf.Tensor[] {
  if (/^(?:Batch)?MatMul/.test(node.op) && Object.values(feed).some(({dtype}) => dtype === 'int32')) {
    return multipliedIntegers(graph, feed);
  }
  const compute = Object.hasOwn(OWN_OPS, node.op) ? OWN_OPS[node.op] : undefined;
  if (compute !== undefined) {
    return [compute(feed[node.input?.[0] ?? ''] as tf.Tensor, node)];
  }
  return [
    graph.execute(
      feed,
      outputs.map(({index}) => `${NODE}:${index}`),
    ),
  ].flat();
}

/** Several backends multiply only floats. */
function multipliedIntegers(graph: tf.GraphModel<tf.io.IOHandlerSync>, feed: tf.NamedTensorMap): tf.Tensor[] {
  const floats = Object.fromEntries(Object.entries(feed).map(([key, x]) => [key, tf.cast(x, 'float32')]));
  return [tf.cast(graph.execute(floats, NODE) as tf.Tensor, 'int32')];
}

/** Ops that tfjs's executor lacks, or only computes asynchronously. */
const OWN_OPS: Readonly<Record<string, (x: tf.Tensor, node: GraphNode) => tf.Tensor>> = {
  Where: where,
  _FusedHardSwish: x => tf.mul(x, tf.mul(1 / 6, tf.relu6(tf.add(x, 3)))),
  _FusedSwish: x => tf.mul(x, tf.sigmoid(x)),
};

/** A synchronous `tf.whereAsync`: it blocks, which webgpu cannot. */
function where(condition: tf.Tensor, {name, op}: GraphNode): tf.Tensor {
  const reason = reasonNotToRunHere(op);
  if (reason !== undefined) {
    throw unsupportedError(
      `${op} "${name}": ${reason} Use another backend, or import the graph after it: fromGraphModel(graph, {inputs: ` +
        '[…], inputShapes: {…}}).',
    );
  }
  const values = condition.dataSync();
  const strides = condition.shape.map((_, axis) => tf.util.sizeFromShape(condition.shape.slice(axis + 1)));
  const indices: number[] = [];
  values.forEach((value, i) => {
    if (value !== 0) {
      strides.forEach((stride, axis) => indices.push(Math.floor(i / stride) % (condition.shape[axis] ?? 1)));
    }
  });
  return tf.tensor2d(indices, [condition.rank === 0 ? 0 : indices.length / condition.rank, condition.rank], 'int32');
}

/** A tensor as the node knows it. Integers and booleans have no gradient, so none may be requested. */
function asType(x: tf.Tensor, dtype: GraphType): tf.Tensor {
  if (dtype === 'float32') {
    return x.dtype === dtype ? x : tf.cast(x, dtype);
  }
  return unrecorded(() => [tf.cast(x, dtype)])[0] as tf.Tensor;
}

/** Reads and validates a fragment. */
function fragmentFrom(text: string, layer: string): GraphFragment {
  const broken = (what: string) => damagedError(`The config of layer "${layer}" (GraphOp) is broken: ${what}`);
  let fragment: Partial<GraphFragment>;
  try {
    fragment = JSON.parse(text) as Partial<GraphFragment>;
  } catch (error) {
    throw broken((error as Error).message);
  }
  const {node, inputs, weights, constants, outputs} = fragment;
  if (typeof node?.op !== 'string' || typeof node.name !== 'string') {
    throw broken('It names no node.');
  }
  if (![inputs, weights, constants, outputs].every(Array.isArray) || outputs?.length === 0) {
    throw broken('It does not list inputs, weights, constants and outputs.');
  }
  const refused = reasonNotToRun(node.op);
  if (refused !== undefined) {
    throw broken(`${node.op}: ${refused}`);
  }
  if (constants?.some(({shape, values}) => tf.util.sizeFromShape(shape) !== values.length)) {
    throw broken('The values of a constant do not fit its shape.');
  }
  return fragment as GraphFragment;
}

/** Ops that no layer can compute, and why. */
const NOT_TO_RUN: readonly [pattern: RegExp, reason: string][] = [
  [
    /^(?:Switch|Merge|Enter|Exit|NextIteration|LoopCond|StatelessIf|StatelessWhile|If|While|StatefulPartitionedCall|PartitionedCall)$/,
    'The node decides at run time what is computed.',
  ],
  [/^(?:NonMaxSuppression|Unique|ListDiff)/, 'The size of the result depends on the data.'],
  [
    /^(?:TensorArray|(?:Empty)?TensorList|HashTable|LookupTable|MutableHash|Initialize|Restore|Save|SimpleML|VarHandle|ReadVariable|AssignVariable)/,
    'The node uses state outside of the graph.',
  ],
  [/^(?:String|StaticRegex|Ragged|Decode|Encode|Sparse(?!ToDense))/, 'The node uses strings or ragged lists.'],
  [/^(?:Random|Stateless(?:Random|Truncated)|TruncatedNormal|Multinomial)/, 'The node is random.'],
  [/^(?:NoOp|Print|Assert)$/, 'The node returns nothing.'],
];

/** Why no layer can compute an op, as a sentence; `undefined` if one may. */
export function reasonNotToRun(op: string): string | undefined {
  return NOT_TO_RUN.find(([pattern]) => pattern.test(op))?.[1];
}

/** Why the current backend cannot compute an op, as a sentence; `undefined` if it may. */
export function reasonNotToRunHere(op: string): string | undefined {
  return op === 'Where' && capabilities().readsByPromise
    ? `The node must read a tensor synchronously, which ${tf.getBackend()} cannot.`
    : undefined;
}
