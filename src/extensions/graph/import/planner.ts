import * as tf from '@tensorflow/tfjs';
import {misfitError, showShape, tooLargeError} from '../../../platform/errors';
import {type GraphNode, inputsOf, keyOf, nodeAndOutput, resultTypeOf} from '../graphDef';
import {type LayerEntry, layerFromEntry} from '../../../platform/tfjs/configs';
import {consumersOf, type Cut, FreeNames, layerNames, neededLayers} from './order';
import {BATCH, KNOWN, knownShape, OpenSizes} from './openSizes';
import type {ReadGraph} from './readGraph';
import {
  MAX_NUMBERS,
  type NodeOverrides,
  type Fate,
  type Flow,
  type Folded,
  type GraphPlan,
  type Pair,
  type PlannedInput,
  type PlannedCall,
  type PlannedWeight,
  type Shaped,
  type SizeId,
  type TensorSignature,
  type Value,
} from './values';

/** A planned call of a layer. */
export interface NewLayer {
  /** Its base name. Default: the node's. */
  suffix?: string;
  className: string;
  config?: tf.serialization.ConfigDict;
  /** The inputs, by their names in the graph. */
  inputs: readonly string[];
  /** Name of a weight in the layer → the weight. */
  weights?: Record<string, PlannedWeight | undefined>;
}

/** Makes a layer, the same one each time. Refused and repeated plans make none. */
type LazyLayer = () => tf.layers.Layer;

/** A call in an unfinished plan. */
type CallInPlan = Omit<PlannedCall, 'layer'> & {layer: LazyLayer};

/** The allowance of values computed from constants: a fixed number, plus `GROWTH` for each value in the file. */
const FREE_NUMBERS = 2 ** 22;
const GROWTH = 16;

/** More layers of one name than these are counted. */
const MAX_DASHES = 8;

/** No graph for a browser has as many layers. tfjs compares the name of each with those of all others. */
const MAX_LAYERS = 10_000;

/** Layers that only tell a shape are planned too, but not needed. */
const MAX_PLANNED = 4 * MAX_LAYERS;

/** The allowance of steps, as `stepsOf` counts them, in trial runs and in computing constants. */
const FREE_STEPS = 2 ** 25;

/** tfjs layers that keep the shape of their input. */
const KEEP_SHAPES = new Set(['Activation', 'BatchNormalization', 'LeakyReLU', 'PReLU']);

/** Thrown if a graph would not compute each example independently with a free batch size. */
export class FixedBatchError extends Error {}

/** Thrown if a plan depends on the shape of a node without a layer, which would check it. */
export class UncheckedShape extends Error {}

/** Why a node cannot be computed, as a sentence. */
export class Refusal extends Error {}

/** A plan in progress: the value of each output of a node, and the layers so far. */
export class Planner {
  /** Key → value. Outputs after nodes that cannot be computed are missing. */
  readonly values = new Map<string, Value>();
  /** Keys of outputs that a constant decides not to compute. */
  readonly dead = new Set<string>();
  readonly fates = new Map<string, Fate>();
  /** Nodes that cannot be computed, and why. */
  readonly problems = new Map<string, string>();
  readonly layers: CallInPlan[] = [];
  readonly inputs: PlannedInput[] = [];
  readonly open: OpenSizes;
  // Graphs repeat their blocks, so nodes with equal trial keys share results.
  readonly graphs = new Map<string, tf.GraphModel<tf.io.IOHandlerSync>>();
  readonly trials = new Map<string, Pair<TensorSignature[]>>();
  readonly folded = new Map<string, Folded[]>();

  private readonly consumers: Map<string, GraphNode[]>;
  /** The index of each node's last used output. */
  private readonly lastOutputs = new Map<string, number>();
  private readonly ends: ReadonlySet<string>;
  private readonly names: Map<string, string>;
  private readonly taken: Set<string>;
  private readonly free: FreeNames;
  private readonly stored: number;
  private computed = 0;
  private steps = 0;
  private readonly owned: tf.Tensor[] = [];
  private readonly derived = new Map<string, tf.Tensor>();
  private readonly tied = new Map<string, LazyLayer>();
  /** Class and config → a layer that infers output shapes. */
  private readonly samples = new Map<string, tf.layers.Layer>();

  private readonly materialized = new Map<string, Flow>();
  /** Keys of flows whose shapes the plan depends on, and of those whose shapes are checked when they are computed. */
  private readonly measured = new Set<string>();
  private readonly checked = new Set<string>();

  constructor(
    readonly graph: ReadGraph,
    order: readonly GraphNode[],
    readonly cut: Cut,
    /** Plans nodes, and values that are known at planning time, as layers of class `GraphOp`. */
    private readonly graphOps: {
      planOp: (planner: Planner, node: GraphNode, overrides?: NodeOverrides) => void;
      materialize: (planner: Planner, value: Shaped) => ReadonlyMap<string, Flow>;
    },
    /** Whether the graph's batch size is being freed: then every flow has a row for each example. */
    readonly freesBatch: boolean,
    /** Whether only proved sizes count as known. */
    readonly isStrict: boolean,
  ) {
    this.open = new OpenSizes(freesBatch);
    this.consumers = consumersOf(order, cut);
    this.ends = new Set(cut.outputs.map(output => nodeAndOutput(output)[0]));
    for (const [node, output] of [...order.flatMap(inputsOf), ...cut.outputs].map(nodeAndOutput)) {
      this.lastOutputs.set(node, Math.max(output, this.lastOutputs.get(node) ?? 0));
    }
    this.names = layerNames(graph.nodes.keys());
    this.taken = new Set(this.names.values());
    this.free = new FreeNames(this.taken);
    this.stored = graph.stored ?? [...graph.weights.values()].reduce((total, {size}) => total + size, 0);
  }

  /** The value of a name in the graph. */
  valueOf(name: string | undefined): Value | undefined {
    return name === undefined ? undefined : this.values.get(keyOf(name));
  }

  constant(name: string | undefined): tf.Tensor | undefined {
    const value = this.valueOf(name);
    return value?.kind === 'constant' ? value.tensor : undefined;
  }

  /** The values of a small constant. */
  numbers(name: string | undefined): number[] | undefined {
    const value = this.valueOf(name);
    return value?.kind === 'constant' && value.values !== undefined ? Array.from(value.values) : undefined;
  }

  /** The values of a small tensor, and what they are made of. */
  numbersAt(name: string | undefined): {pair: Pair<number[]>; sizes: readonly SizeId[]} | undefined {
    const value = this.valueOf(name);
    if (value?.kind === 'shaped') {
      return {pair: [Array.from(value.pair[0].values), Array.from(value.pair[1].values)], sizes: value.sizes};
    }
    const numbers = this.numbers(name);
    return numbers && {pair: [numbers, numbers], sizes: numbers.map(() => KNOWN)};
  }

  /** A float flow of at least two axes, as tfjs layers require. */
  floats(name: string | undefined): Flow | undefined {
    const value = this.valueOf(name);
    return value?.kind === 'flow' && value.dtype === 'float32' && value.shapes[0].length >= 2 ? value : undefined;
  }

  /**
   * Returns a value as the input of a layer.
   *
   * @throws LoRAError for a constant, which depends on no input.
   */
  flowing(name: string): Flow {
    const value = this.valueOf(name);
    if (value?.kind === 'flow') {
      return value;
    }
    if (value?.kind !== 'shaped') {
      throw misfitError(`Output "${name}" depends on no input: it is a constant.`);
    }
    if (!this.materialized.has(value.key)) {
      this.graphOps.materialize(this, value).forEach((flow, key) => this.materialized.set(key, flow));
    }
    return this.materialized.get(value.key) as Flow;
  }

  /** The only node that uses a node, if it uses it once. */
  follower({name}: GraphNode): GraphNode | undefined {
    const [next, second] = this.consumers.get(name) ?? [];
    const isShared = second !== undefined || this.ends.has(name);
    return next === undefined || isShared || this.cut.inputs.includes(next.name) ? undefined : next;
  }

  /** The keys of a node's outputs, up to the last used one. */
  keysOf({name}: GraphNode): string[] {
    return Array.from({length: (this.lastOutputs.get(name) ?? 0) + 1}, (_, i) => `${name}:${i}`);
  }

  /**
   * Reserves values that are about to be computed from constants.
   *
   * @throws LoRAError if they are far more than those in the file.
   */
  reserve(count: number): void {
    const {stored} = this;
    this.computed += count;
    if (this.computed > FREE_NUMBERS + GROWTH * stored) {
      throw tooLargeError(
        `computing its constants would return up to ${this.computed} values, but the file has ${stored}`,
      );
    }
  }

  /**
   * Reserves time for computing something while planning, in values that are read or written.
   *
   * @throws LoRAError if that is far more than the file has.
   */
  spend(steps: number): void {
    const {stored} = this;
    this.steps += steps;
    if (this.steps > FREE_STEPS + GROWTH * stored) {
      throw tooLargeError(
        `the import would compute with ${Math.ceil(this.steps)} values to try its nodes out, but the file has ` +
          `${stored}. Import it for smaller inputs: {inputShapes}`,
      );
    }
  }

  /** Adopts a tensor that the plan made. */
  keep(tensor: tf.Tensor): tf.Tensor {
    this.owned.push(tensor);
    return tf.keep(tensor);
  }

  /** Returns a tensor made from a constant, always the same one, so that layers that share it stay tied. */
  derive(tensor: tf.Tensor, how: string, make: () => tf.Tensor): tf.Tensor {
    const key = `${tensor.id} ${how}`;
    const derived = this.derived.get(key) ?? this.keep(make());
    this.derived.set(key, derived);
    return derived;
  }

  /** Adds a node that another one is lowered to. The names of its layers begin with the given one. */
  addNode(node: GraphNode, layer: string, outputs: number): void {
    this.graph.nodes.set(node.name, node);
    this.names.set(node.name, layer);
    this.lastOutputs.set(node.name, outputs - 1);
  }

  /** Returns a name for a layer of a node. */
  nameOf(node: string, suffix?: string): string {
    const base = this.names.get(node) ?? node;
    if (suffix === undefined) {
      return base;
    }
    let name = `${base}/${suffix}`;
    for (let copy = 0; copy < MAX_DASHES && this.taken.has(name); copy++) {
      name += '_';
    }
    const uniqueName = this.free.next(name);
    this.taken.add(uniqueName);
    return uniqueName;
  }

  /** Plans an input. The pairs are the trial values of open sizes: of the batch, and of other axes. */
  addInput(node: GraphNode, shape: (number | null)[], [batch, length]: Pair<Pair<number>>): void {
    const dtype = resultTypeOf(node);
    const at = (p: 0 | 1) => shape.map((size, axis) => size ?? (axis === 0 ? batch : length)[p]);
    if (tf.util.sizeFromShape(at(1)) > MAX_NUMBERS) {
      throw tooLargeError(
        `Input "${node.name}" of ${showShape(shape)} has more than ${MAX_NUMBERS} values. Pass the sizes that you ` +
          `use: {inputShapes: {'${node.name}': […]}}.`,
      );
    }
    const sizes = shape.map((size, axis) => (size !== null ? KNOWN : axis === 0 ? BATCH : this.open.another()));
    const key = `${node.name}:0`;
    this.values.set(key, {kind: 'flow', key, shapes: [at(0), at(1)], sizes, shape, dtype});
    this.inputs.push({node: node.name, key, name: this.nameOf(node.name), shape, dtype});
  }

  /** Plans a call of a tfjs layer, or of a new one of a registered class, whose result is the node's. */
  addLayer(node: GraphNode, {suffix, className, config = {}, inputs, weights = {}}: NewLayer): void {
    const flows = inputs.map(input => this.flowing(input));
    const entries = Object.entries(weights).filter((entry): entry is [string, PlannedWeight] => entry[1] !== undefined);
    const kind = JSON.stringify([className, config]);
    const ties = [kind, ...entries.map(([name, weight]) => `${name} ${weight.id ?? weight.tensor.id}`)].join();
    const sample = this.samples.get(kind) ?? layerFromEntry({className, config: {...config, name: node.name}});
    this.samples.set(kind, sample);
    const layer =
      (entries.length > 0 ? this.tied.get(ties) : undefined) ??
      once({className, config: {...config, name: this.nameOf(node.name, suffix)}});
    this.tied.set(ties, layer);
    const shapesFor = (shapes: tf.Shape[]) => {
      const result = sample.computeOutputShape(shapes.length === 1 ? (shapes[0] as tf.Shape) : shapes);
      return (Array.isArray(result[0]) ? result : [result]) as tf.Shape[];
    };
    const shapesAt = ([0, 1] as const).map(p => shapesFor(flows.map(flow => flow.shapes[p])) as number[][]);
    const open = shapesFor(flows.map(({shape}) => shape));
    const [flow] = flows as [Flow];
    // tfjs layers compute each row independently.
    const keepsLead = flows.every(({sizes}) => sizes[0] === flow.sizes[0]);
    const results = shapesFor(flows.map(knownShape)).map((shape, i): Omit<Flow, 'kind' | 'key'> => {
      const sizes = shape.map((size, axis) =>
        (axis === 0 && keepsLead) || (size === null && KEEP_SHAPES.has(className))
          ? (flow.sizes[axis] as SizeId)
          : size === null
            ? this.open.another()
            : KNOWN,
      );
      const shapes = [shapesAt[0]?.[i] ?? [], shapesAt[1]?.[i] ?? []] as const;
      return {shapes, sizes, shape: open[i] ?? [], dtype: 'float32'};
    });
    const outputs = results.map((_, i) => `${node.name}:${i}`);
    this.addCall({layer, inputs: flows.map(({key}) => key), outputs, weights: Object.fromEntries(entries)}, results);
  }

  /** Plans a node as a `GraphOp`. */
  addOp(node: GraphNode, overrides?: NodeOverrides): void {
    this.graphOps.planOp(this, node, overrides);
  }

  /** Plans a call of a layer, whose outputs become those of the node. */
  addCall(call: CallInPlan, results: readonly Omit<Flow, 'kind' | 'key'>[]): void {
    const largest = Math.max(...results.flatMap(({shapes}) => shapes.map(shape => tf.util.sizeFromShape(shape))));
    if (largest > MAX_NUMBERS) {
      throw tooLargeError(`it would return up to ${largest} values, more than ${MAX_NUMBERS}`);
    }
    if (this.layers.length >= MAX_PLANNED) {
      throw tooLargeError(`the nodes up to it need ${MAX_PLANNED} layers. Import a part that ends before it`);
    }
    // A node can become several layers; the outputs between them have separate keys.
    const outputs = call.outputs.map(key => (this.values.has(key) ? `${key}+${this.layers.length}` : key));
    this.layers.push({...call, outputs});
    call.outputs.forEach((key, i) => {
      this.values.set(key, {kind: 'flow', key: outputs[i] as string, ...(results[i] as Omit<Flow, 'kind' | 'key'>)});
    });
  }

  /** Records that the layer of a node computes others too. */
  absorb(node: GraphNode, absorbed: readonly GraphNode[]): void {
    const value = this.values.get(`${node.name}:0`) as Value;
    for (const {name} of absorbed) {
      this.values.set(`${name}:0`, value);
      this.fates.set(name, 'merged');
    }
  }

  /** Records that the plan depends on the shape of a flow. */
  measure({key}: Flow): void {
    this.measured.add(key);
  }

  /** Records that the layer of a flow checks its shape. */
  check(key: string): void {
    this.checked.add(key);
  }

  /** @throws UncheckedShape */
  finished(outputs: string[]): GraphPlan {
    const {inputs, fates, values} = this;
    const ends = new Map<string, string>();
    for (const [name, value] of values) {
      // The last one: those before it lack a bias or an activation that the layer has.
      if (value.kind === 'flow' && fates.get(nodeAndOutput(name)[0]) !== 'skipped') {
        ends.set(value.key, name);
      }
    }
    // Some nodes only contribute their shape, which the plan has, so they need no layer.
    const layers = neededLayers(this.layers, outputs);
    if (layers.length > MAX_LAYERS) {
      throw tooLargeError(
        `The graph needs ${layers.length} layers, more than ${MAX_LAYERS}. Import a part of it that ends at {outputs}.`,
      );
    }
    const called = new Set(layers);
    for (const layer of neededLayers(this.layers, [...this.measured])) {
      if (!called.has(layer) && layer.outputs.some(key => this.checked.has(key))) {
        throw new UncheckedShape(layer.outputs.join());
      }
    }
    return {
      inputs,
      layers: layers.map(call => ({...call, layer: call.layer()})),
      outputs,
      ends,
      fates,
      dispose: () => this.dispose(),
    };
  }

  dispose(): void {
    this.owned.forEach(tensor => tensor.isDisposed || tensor.dispose());
  }
}

export function once(entry: LayerEntry): LazyLayer {
  let layer: tf.layers.Layer | undefined;
  return () => (layer ??= layerFromEntry(entry));
}
