import type * as tf from '@tensorflow/tfjs';
import {misfitError, unsupportedError} from '../../../platform/errors';
import type {Values} from '../../../platform/formats/layout';
import type {FiniteOptions} from '../../../platform/formats/numbers';
import {type CallOptions, stepsOf} from '../../../platform/signals';
import {namedWeights} from '../../../platform/tfjs/weights';
import {whileMerged} from '../../../core/model/whileMerged';
import {sitesOf} from '../../../core/rewire/walk';
import {differs} from '../../graph/export/toGraphModel';
import type {GraphPlan, PlannedCall} from '../../graph/import/values';
import type {Part} from '../file/protobuf';
import type {OnnxModel, OnnxNode} from '../file/readOnnx';
import type {ONNXSource} from '../file/onnxSource';
import {loadOnnx, type LoadONNXOptions, type OnnxPart, planOnnx, RECORD} from '../import/fromONNX';
import type {OnnxGraphModel} from '../import/onnxGraph';
import {toLayerLayout, writeToFileLayout, type QuantizedProduct, range, type WeightOrigin} from '../lower/lowering';
import {nodeMessages, valueMessage} from '../write/messages';
import {encoded, type LateValues} from './encoded';
import {LazyMerge} from './lazyMerge';
import {type Changes, type NewTensor, spliceOnnx} from './spliceOnnx';
import {usesOf} from './uses';
import {type ChangedProduct, type FloatConvolution, productChanges, updatesOf} from './writeProducts';
import {type NewHead, type Planned, writeNewHead} from './writeHead';

/** How a model is written into its file. */
export interface WriteFileOptions extends LoadONNXOptions, FiniteOptions {
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
  const selection = (model.getUserDefinedMetadata() as Record<string, OnnxPart> | undefined)?.[RECORD];
  if (selection === undefined) {
    throw misfitError('The model was not imported by fromONNX, or its metadata is lost.');
  }
  const late = new LazyMerge();
  const write = async (merged: tf.LayersModel) => {
    const {plan, lowering, file: graph} = await planOnnx(file, selection, load);
    try {
      const planned = {plan, lowering, graph};
      const finite = {...(allowNonFinite && {allowNonFinite})};
      checkOrigin(merged, plan);
      const ofFile = new Set(plan.layers.map(({layer}) => layer.name));
      late.mergeNow(({name}) => !ofFile.has(name));
      const head = writeNewHead(merged, planned, file);
      const {changed, products} = await changedInputs({model: merged, late}, planned, merge ? undefined : model, load);
      const changes = await changesOf(file, graph, changed, finite);
      const quantized = productChanges(products, planned, file, finite);
      const more = head && headChanges(head, file, finite);
      return await spliceOnnx(file.bytes, {
        ...changes,
        ...more,
        added: [...(changes.added ?? []), ...quantized.added, ...(more?.added ?? [])],
        replaced: quantized.replaced,
        dropped: new Set([...quantized.dropped, ...(more?.dropped ?? [])]),
        droppedTensors: new Set([...quantized.droppedTensors, ...(more?.droppedTensors ?? [])]),
      });
    } finally {
      plan.dispose();
    }
  };
  return whileMerged(model, write, adapted => late.merge(adapted));
}

/** @throws LoRAError if no layer of the model comes from the file. */
function checkOrigin(model: tf.LayersModel, {layers}: GraphPlan): void {
  const layerNames = new Set(layers.map(({layer}) => layer.name));
  const sites = sitesOf(model).filter(({layer}) => layer.getClassName() !== 'InputLayer');
  if (sites.length > 0 && !sites.some(({layer}) => layerNames.has(layer.name))) {
    throw misfitError("None of the model's layers is in the file: the model was imported from another file.");
  }
}

/** The changes that new layers make to a file: the nodes that they replace are left out. */
function headChanges(head: NewHead, file: OnnxModel, finite: FiniteOptions): Partial<Changes> {
  const {nodes, initializers, outputs} = file.graph;
  const {out} = head;
  const keepsOutputs = outputs.length === head.outputs.length;
  const ends = head.outputs.map(({value, layer, shape, isNew}, i) => {
    const wanted = keepsOutputs ? (outputs[i]?.name ?? layer) : layer;
    if (!isNew && !keepsOutputs) {
      return {name: value, shape};
    }
    // A node may still be needed, although its value is no longer an output.
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
    nodes.flatMap(({outputs: outputNames}, place) => (outputNames.some(name => needed.has(name)) ? [] : [place])),
  );
  return {
    added: out.tensors(finite),
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

/** The values of a file that the new nodes need, by name, and the values that these depend on. */
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

/** An input of a node that has other values than in the file. */
interface ChangedInput extends LateValues {
  node: string;
  index: number;
}

/** A merged model, and what merges its weights when they are read. */
interface Merged {
  model: tf.LayersModel;
  late: LazyMerge;
}

/** The differences from the file: inputs of nodes, and products with quantized matrices. */
interface Changed {
  changed: ChangedInput[];
  products: ChangedProduct[];
}

/**
 * Finds the weights that differ from the file.
 *
 * @param adapted the model whose updates are written separately from quantized products. Default: all are merged.
 */
async function changedInputs(
  {model, late}: Merged,
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
  const convolutions = new Map<string, FloatConvolution>();
  const look = async (trainedLayer: tf.layers.Layer, {layer, weights}: PlannedCall) => {
    const variables = namedWeights(trainedLayer);
    for (const [name, weight] of Object.entries(weights)) {
      const product = name === 'bias' ? undefined : lowering.productOf(weight);
      const update = product && updates?.get(layer.name);
      const origin = lowering.originOf(weight);
      const isConvolution = lowering.convolutions.has(origin?.node ?? '');
      if (updates?.has(layer.name) === true && (product?.output !== undefined || isConvolution)) {
        throw unsupportedError(
          `Layer "${layer.name}" computes with integers in the file, so its update cannot be written ` +
            'separately. Leave out {merge: false}, or adapt other layers.',
        );
      }
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
      const before = origin && toLayerLayout(await inputAt(planned, origin), origin);
      const stored = before ? {shape: [...before.shape], data: () => Promise.resolve(before.data)} : weight.tensor;
      if (!(await differs(current, stored, layer))) {
        continue;
      }
      if (origin === undefined && product !== undefined) {
        late.mergeNow(candidate => candidate === trainedLayer);
        products.push({product, layer: layer.name, kernel: variables.get(name) as tf.LayerVariable});
        continue;
      }
      if (origin === undefined) {
        throw unsupportedError(
          `Weight "${name}" of layer "${layer.name}" is computed in the file, and cannot be written.`,
        );
      }
      const {node, index} = origin;
      if (isConvolution) {
        const inPlace = convolutions.get(node) ?? (await floatConvolution(planned, node));
        late.mergeNow(candidate => candidate === trainedLayer);
        inPlace.weights[index - 1]?.parts.push({origin, now: variables.get(name) as tf.LayerVariable});
        if (!convolutions.has(node)) {
          products.push({product: integers(planned, node, layer.name), layer: layer.name, convolution: inPlace});
        }
        convolutions.set(node, inPlace);
        continue;
      }
      const key = `${node} ${index}`;
      const earlierChanges = changed.get(key);
      const {shape} = earlierChanges ?? (await inputAt(planned, origin));
      const read = async () => {
        const data = earlierChanges === undefined ? (await inputAt(planned, origin)).data : await earlierChanges.read();
        await late.during(trainedLayer, async () => {
          const now = (variables.get(name) as tf.LayerVariable).read();
          writeToFileLayout({shape, data}, {shape: now.shape, data: (await now.data()) as Float32Array}, origin);
        });
        return data;
      };
      changed.set(key, {node, index, shape, read});
    }
  };
  for (const [done, call] of plan.layers.entries()) {
    await step({done, total, what});
    const trainedLayer = layers.get(call.layer.name);
    if (trainedLayer !== undefined) {
      await late.during(trainedLayer, () => look(trainedLayer, call));
    }
  }
  return {changed: [...changed.values()], products};
}

/** A float convolution that replaces an integer one, as it was imported. */
async function floatConvolution(planned: Planned, node: string): Promise<FloatConvolution> {
  const {inputs, attributes} = planned.graph.nodes.get(node) as OnnxNode;
  const indices = range(inputs.length - 1);
  const befores = await Promise.all(indices.map(i => inputAt(planned, {node, index: i + 1})));
  return {attributes, weights: befores.map(before => ({before, parts: []}))};
}

function integers({lowering}: Planned, node: string, layer: string): QuantizedProduct {
  const product = lowering.convolutions.get(node);
  if (product === undefined) {
    throw unsupportedError(
      `Layer "${layer}" convolves integers in the file, and their scale is not a constant. Its weights cannot ` +
        'be written as floats: leave it out of the targets.',
    );
  }
  return product;
}

/** A copy of a node's input in the file. */
async function inputAt(
  {lowering, graph}: Planned,
  {node, index}: WeightOrigin,
): Promise<Values & {data: Float32Array}> {
  const key = graph.keys.get(graph.nodes.get(node)?.inputs[index] ?? '') ?? '';
  const stored = graph.tensors.get(key);
  const computed = stored === undefined ? lowering.planner.constant(key) : undefined;
  const values = stored?.values();
  const data = values instanceof Float32Array ? values : Float32Array.from((await computed?.data()) ?? values ?? []);
  return {data, shape: stored?.shape ?? computed?.shape ?? []};
}

/** The changes in the file: initializers, constants, or new inputs of nodes. */
async function changesOf(
  model: OnnxModel,
  graph: OnnxGraphModel,
  changed: readonly ChangedInput[],
  finite: FiniteOptions,
): Promise<Changes> {
  const {nodes, initializers: stored} = model.graph;
  const uses = usesOf(model.graph.nodes, model.graph.outputs);
  const taken = new Set([...uses.keys(), ...stored.keys(), ...nodes.flatMap(({outputs}) => outputs)]);
  const places = new Map(
    nodes.flatMap(({op, outputs: [output = ''], attributes}, place) =>
      op === 'Constant' && attributes.get('value')?.t !== undefined ? [[output, place]] : [],
    ),
  );
  const initializers = new Map<string, Part>();
  const constants = new Map<number, Part>();
  const added: NewTensor[] = [];
  const inputs = new Map<number, string[]>();
  const names = new Map<ChangedInput, string>();
  const nameAt = ({node, index}: ChangedInput) => graph.nodes.get(node)?.inputs[index] ?? '';
  for (const changedInput of changed) {
    const name = nameAt(changedInput);
    const alike = await alikeIn(
      changed.filter(other => nameAt(other) === name),
      changedInput,
    );
    const [first = changedInput] = alike;
    const tensor = stored.get(name);
    const type = tensor?.type ?? typeOf(model, graph, name);
    const constant = places.get(name);
    if ((tensor !== undefined || constant !== undefined) && alike.length === uses.get(name)) {
      const bytes = first === changedInput ? encoded(name, changedInput, type, finite) : undefined;
      if (bytes !== undefined && constant !== undefined) {
        constants.set(constant, bytes);
      } else if (bytes !== undefined) {
        initializers.set(name, bytes);
      }
      continue;
    }
    const mergedName = names.get(first) ?? freeName(`${name}_merged`, taken);
    if (first === changedInput) {
      names.set(changedInput, mergedName);
      taken.add(mergedName);
      added.push({name: mergedName, type, shape: changedInput.shape, bytes: encoded(name, changedInput, type, finite)});
    }
    const proto = graph.nodes.get(changedInput.node) as OnnxNode;
    const place = nodes.indexOf(proto);
    if (place < 0) {
      throw unsupportedError(
        `A weight of node "${changedInput.node}" changed, which is in a branch or a function. New weights can be ` +
          'written there only if they are initializers of the file that no other node uses.',
      );
    }
    const list = inputs.get(place) ?? [...proto.inputs];
    list[changedInput.index] = mergedName;
    inputs.set(place, list);
  }
  return {initializers, constants, added, inputs};
}

/** The inputs that have the values of one of them. */
async function alikeIn(inputs: readonly ChangedInput[], one: ChangedInput): Promise<ChangedInput[]> {
  const values = inputs.length > 1 ? await one.read() : undefined;
  const alike: ChangedInput[] = [];
  for (const candidate of inputs) {
    const otherValues = values === undefined || candidate === one ? values : await candidate.read();
    if (otherValues === values || otherValues?.every((value, i) => Object.is(value, values?.[i])) === true) {
      alike.push(candidate);
    }
  }
  return alike;
}

function freeName(name: string, taken: ReadonlySet<string>): string {
  let freshName = name;
  for (let copy = 1; taken.has(freshName); copy++) {
    freshName = `${name}_${copy}`;
  }
  return freshName;
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
