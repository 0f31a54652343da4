import type * as tf from '@tensorflow/tfjs';
import {misfitError, unsupportedError} from '../../../platform/errors';
import {checkNumbers, type FiniteOptions, type FloatType, writeNumbers} from '../../../platform/formats/numbers';
import {type CallOptions, stepsOf} from '../../../platform/signals';
import {namedWeights} from '../../../platform/tfjs/weights';
import {sitesOf} from '../../../core/rewire/walk';
import {differs, whileMerged} from '../../graph/export/toGraphModel';
import type {GraphPlan} from '../../graph/import/values';
import type {OnnxModel, OnnxNode} from '../file/readOnnx';
import {type FromONNXOptions, loadOnnx, type OnnxPart, type ONNXSource, planOnnx, RECORD} from '../import/fromONNX';
import type {OnnxGraphModel} from '../import/onnxGraph';
import {putBack, type WeightOrigin} from '../lower/lowering';
import {nodeMessages, valueMessage} from '../write/messages';
import {type Changes, type NewTensor, spliceOnnx} from './spliceOnnx';
import {usesOf} from './uses';
import {type ChangedProduct, productChanges, updatesOf} from './writeProducts';
import {type NewHead, type Planned, writeNewHead} from './writeHead';

/** How a model is written into its file. */
export interface WriteFileOptions extends Omit<FromONNXOptions, keyof OnnxPart>, FiniteOptions {
  merge?: boolean;
}

/** Writes a model into the file that it was imported from. */
export async function writeIntoFile(
  model: tf.LayersModel,
  source: ONNXSource,
  options: WriteFileOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const {allowNonFinite, merge = true, ...load} = options;
  const file = await loadOnnx(source, load);
  const part = (model.getUserDefinedMetadata() as Record<string, OnnxPart> | undefined)?.[RECORD];
  if (part === undefined) {
    throw misfitError('The model was not imported by fromONNX, or its metadata is lost.');
  }
  return whileMerged(model, async merged => {
    const {plan, lowering, file: graph} = await planOnnx(file, part, load);
    try {
      const planned = {plan, lowering, graph};
      const finite = {...(allowNonFinite && {allowNonFinite})};
      checkOrigin(merged, plan);
      const head = writeNewHead(merged, planned, file);
      const {changed, products} = await changedInputs(merged, planned, merge ? undefined : model, load);
      const changes = changesOf(file, graph, changed, finite);
      const quantized = await productChanges(products, planned, file, finite);
      const more = head && (await headChanges(head, file, finite));
      return spliceOnnx(file.bytes, {
        ...changes,
        ...more,
        added: [...changes.added, ...quantized.added, ...(more?.added ?? [])],
        replaced: quantized.replaced,
        dropped: new Set([...quantized.dropped, ...(more?.dropped ?? [])]),
        droppedTensors: new Set([...quantized.droppedTensors, ...(more?.droppedTensors ?? [])]),
      });
    } finally {
      plan.dispose();
    }
  });
}

/** @throws LoRAError if no layer of the model is of the file. */
function checkOrigin(model: tf.LayersModel, {layers}: GraphPlan): void {
  const known = new Set(layers.map(({layer}) => layer.name));
  const sites = sitesOf(model).filter(({layer}) => layer.getClassName() !== 'InputLayer');
  if (sites.length > 0 && !sites.some(({layer}) => known.has(layer.name))) {
    throw misfitError('None of the layers of the model is one of the file: it was imported from another one.');
  }
}

/** What new layers change in a file: the nodes that they replace are left out. */
async function headChanges(head: NewHead, file: OnnxModel, finite: FiniteOptions): Promise<Partial<Changes>> {
  const {nodes, initializers, outputs} = file.graph;
  const {out} = head;
  const kept = outputs.length === head.outputs.length;
  const ends = head.outputs.map(({value, layer, shape, isNew}, i) => {
    const wanted = kept ? (outputs[i]?.name ?? layer) : layer;
    if (!isNew && !kept) {
      return {name: value, shape};
    }
    // A node may still be needed under the name of an output that it no longer is.
    const isFree = value === wanted || !neededNodes(file, head).has(wanted);
    const name = isFree ? wanted : out.freeName(layer);
    if (value !== name) {
      out.nodes.push({
        op: 'Identity',
        name: out.freeName(`${name}/output`),
        inputs: [value],
        outputs: [name],
        attributes: {},
      });
    }
    return {name, shape};
  });
  const needed = neededNodes(file, head);
  const dropped = new Set(
    nodes.flatMap(({outputs: given}, place) => (given.some(name => needed.has(name)) ? [] : [place])),
  );
  const added: NewTensor[] = [];
  for await (const tensor of out.tensors(finite)) {
    added.push(tensor);
  }
  return {
    added,
    dropped,
    droppedTensors: new Set([...initializers.keys()].filter(name => !needed.has(name))),
    nodes: nodeMessages(out.nodes),
    outputs: ends.map(({name, shape}) =>
      valueMessage(
        name,
        1,
        shape.map((size, axis) => size ?? (axis === 0 ? 'batch' : null)),
      ),
    ),
  };
}

/** The values of a file that the new nodes need, by name, and those that these are made of. */
function neededNodes({graph: {nodes}}: OnnxModel, {out, outputs}: NewHead): Set<string> {
  const makers = new Map(nodes.flatMap(node => node.outputs.map(output => [output, node] as const)));
  const open = [...outputs.map(({value}) => value), ...out.nodes.flatMap(({inputs}) => inputs)];
  const needed = new Set<string>();
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (!needed.has(name)) {
      needed.add(name);
      const maker = makers.get(name);
      open.push(...(maker === undefined ? [] : [...usesOf([maker]).keys()]));
    }
  }
  return needed;
}

/** An input of a node with its new values, as the file has them. */
interface ChangedInput {
  node: string;
  index: number;
  values: Float32Array;
  shape: readonly number[];
}

/** What is other than in the file: inputs of nodes, and products with quantized matrices. */
interface Changed {
  changed: ChangedInput[];
  products: ChangedProduct[];
}

/**
 * Finds the weights that are other than in the file.
 *
 * @param adapted the model whose updates stay beside quantized products. Default: all are merged.
 */
async function changedInputs(
  model: tf.LayersModel,
  planned: Planned,
  adapted: tf.LayersModel | undefined,
  options: CallOptions,
): Promise<Changed> {
  const updates = adapted && updatesOf(adapted);
  const products: ChangedProduct[] = [];
  const {plan, lowering} = planned;
  const step = stepsOf(options);
  const [total, what] = [plan.layers.length, 'writing layers'];
  const layers = new Map(model.layers.map(layer => [layer.name, layer]));
  const changed = new Map<string, ChangedInput>();
  for (const [done, {layer, weights}] of plan.layers.entries()) {
    await step({done, total, what});
    const own = layers.get(layer.name);
    const variables = namedWeights(own ?? layer);
    for (const [name, weight] of own === undefined ? [] : Object.entries(weights)) {
      const product = name === 'bias' ? undefined : lowering.productOf(weight);
      const update = product && updates?.get(layer.name);
      if (product !== undefined && update !== undefined) {
        products.push({product, layer: layer.name, update});
        continue;
      }
      const merged = name === 'blocks' ? variables.get('kernel') : undefined;
      if (product !== undefined && merged !== undefined) {
        products.push({product, layer: layer.name, kernel: merged});
        continue;
      }
      const current = variables.get(name)?.read();
      if (current === undefined) {
        throw misfitError(`Layer "${layer.name}" has no weight "${name}". The model was imported from another file.`);
      }
      if (!(await differs(current, weight, layer))) {
        continue;
      }
      const origin = lowering.originOf(weight);
      if (origin === undefined && product !== undefined) {
        products.push({product, layer: layer.name, kernel: variables.get(name) as tf.LayerVariable});
        continue;
      }
      if (origin === undefined) {
        throw unsupportedError(
          `Weight "${name}" of layer "${layer.name}" is computed in the file, and cannot be written.`,
        );
      }
      const key = `${origin.node} ${origin.index}`;
      const input = changed.get(key) ?? (await inputAt(planned, origin));
      const held = {shape: current.shape, data: (await current.data()) as Float32Array};
      putBack({shape: input.shape, data: input.values}, held, origin);
      changed.set(key, input);
    }
  }
  return {changed: [...changed.values()], products};
}

/** What an input of a node is in the file, as a copy. */
async function inputAt({lowering, graph}: Planned, {node, index}: WeightOrigin): Promise<ChangedInput> {
  const key = graph.keys.get(graph.nodes.get(node)?.inputs[index] ?? '') ?? '';
  const stored = graph.tensors.get(key);
  const computed = stored === undefined ? lowering.planner.constant(key) : undefined;
  const values = Float32Array.from(stored?.values() ?? ((await computed?.data()) as Float32Array));
  return {node, index, values, shape: stored?.shape ?? computed?.shape ?? []};
}

/** The types of floats by their numbers in ONNX. */
const FLOATS: Readonly<Record<number, FloatType>> = {1: 'F32', 10: 'F16', 16: 'BF16'};

/** What changes in the file: initializers, constants, or what nodes take in their place. */
function changesOf(
  model: OnnxModel,
  graph: OnnxGraphModel,
  changed: readonly ChangedInput[],
  finite: FiniteOptions,
): Changes {
  const {nodes, initializers: stored} = model.graph;
  const uses = usesOf(model.graph.nodes, model.graph.outputs);
  const taken = new Set([...uses.keys(), ...stored.keys(), ...nodes.flatMap(({outputs}) => outputs)]);
  const places = new Map(
    nodes.flatMap(({op, outputs: [output = ''], attributes}, place) =>
      op === 'Constant' && attributes.get('value')?.t !== undefined ? [[output, place]] : [],
    ),
  );
  const initializers = new Map<string, Uint8Array>();
  const constants = new Map<number, Uint8Array>();
  const added: NewTensor[] = [];
  const inputs = new Map<number, string[]>();
  const names = new Map<ChangedInput, string>();
  const nameAt = ({node, index}: ChangedInput) => graph.nodes.get(node)?.inputs[index] ?? '';
  for (const each of changed) {
    const name = nameAt(each);
    const alike = changed.filter(other => nameAt(other) === name && isEqual(other.values, each.values));
    const [first = each] = alike;
    const tensor = stored.get(name);
    const type = tensor?.type ?? typeOf(model, graph, name);
    const constant = places.get(name);
    if ((tensor !== undefined || constant !== undefined) && alike.length === uses.get(name)) {
      const bytes = first === each ? encoded(name, each.values, type, finite) : undefined;
      if (bytes !== undefined && constant !== undefined) {
        constants.set(constant, bytes);
      } else if (bytes !== undefined) {
        initializers.set(name, bytes);
      }
      continue;
    }
    const own = names.get(first) ?? freeName(`${name}_merged`, taken);
    if (first === each) {
      names.set(each, own);
      taken.add(own);
      added.push({name: own, type, shape: each.shape, bytes: encoded(name, each.values, type, finite)});
    }
    const proto = graph.nodes.get(each.node) as OnnxNode;
    const place = nodes.indexOf(proto);
    if (place < 0) {
      throw unsupportedError(
        `A weight of node "${each.node}" changed, which is in a branch or a function. New weights can be written there ` +
          'only if they are initializers of the file that nothing else takes.',
      );
    }
    const list = inputs.get(place) ?? [...proto.inputs];
    list[each.index] = own;
    inputs.set(place, list);
  }
  return {initializers, constants, added, inputs};
}

function isEqual(one: Float32Array, other: Float32Array): boolean {
  return one.length === other.length && one.every((value, i) => Object.is(value, other[i]));
}

function freeName(name: string, taken: ReadonlySet<string>): string {
  let own = name;
  for (let copy = 1; taken.has(own); copy++) {
    own = `${name}_${copy}`;
  }
  return own;
}

/** The type of a constant that nodes compute from initializers: that of what it is made of. */
function typeOf({graph}: OnnxModel, file: OnnxGraphModel, name: string): number {
  const tensor = file.tensors.get(file.keys.get(name) ?? '');
  const node = tensor === undefined ? graph.nodes.find(({outputs}) => outputs.includes(name)) : undefined;
  if (node === undefined) {
    return tensor?.type ?? 1;
  }
  const to = node.op === 'Cast' ? node.attributes.get('to')?.i : undefined;
  return to ?? typeOf({graph} as OnnxModel, file, node.inputs[node.op === 'DequantizeLinear' ? 1 : 0] ?? '');
}

/** Values as raw data of a type. */
function encoded(name: string, values: Float32Array, type: number, finite: FiniteOptions): Uint8Array {
  if (type === 11) {
    checkNumbers([[name, {data: values}]], 'F32', finite);
    return new Uint8Array(Float64Array.from(values).buffer);
  }
  const dtype = FLOATS[type];
  if (dtype === undefined) {
    throw unsupportedError(`Tensor "${name}" is of a type in which a merged weight cannot be stored.`);
  }
  checkNumbers([[name, {data: values}]], dtype, finite);
  if (dtype === 'F32') {
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  }
  const bytes = new Uint8Array(values.length * 2);
  writeNumbers(new DataView(bytes.buffer), 0, values, dtype);
  return bytes;
}
