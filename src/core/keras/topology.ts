import type * as tf from '@tensorflow/tfjs';
import {brief} from '../../platform/errors';
import {isLayerClass, type LayerEntry, registeredName} from '../../platform/tfjs/configs';
import {attentionParts, ATTENTIONS, attentionUses, type Part, partName, rolesOf, warnOfDropout} from './attention';
import {isJson, type Json, kerasEntry, type KerasEntry, nameOf, someInside} from './json';
import {layerEntry, type ReadEntry, type Reading} from './layerConfigs';
import {givesMaskOn, heedsMask, hidesPlaces, isMerging, otherwiseMasked} from './masks';
import {OWN_CLASSES} from './kerasLayer';
import type {KerasLayerArgs} from './layerOperation';
import {callFaults, type CalledLayer, CONTAINERS} from './openCalls';
import {isOperation, readOperation} from './operations';
import {rowOf} from './layerTable';
import {readRNN} from './recurrent';
import {historyOf, innerTensor, isTensor, type KerasCall, type KerasTensor, readCall, tensorsOf} from './nodes';

export interface KerasLayer {
  className: string;
  name: string;
  /** The layers of a model. */
  layers: KerasLayer[] | undefined;
}

/** A topology as tfjs reads it. */
export interface Topology {
  entry: LayerEntry;
  model: KerasLayer;
  faults: string[];
  warnings: string[];
}

/** Classes of tfjs that may differ from those of Keras with the same name. */
const UNKNOWN = ['CategoryEncoding'];

/** Reads the topology that Keras wrote. Anything that tfjs would compute differently becomes a fault. */
export function readTopology(root: KerasEntry, isKeras3: boolean): Topology {
  const reading: Reading = {isKeras3, isMasked: someInside(root.config, hidesPlaces), faults: [], warnings: []};
  const {entry, layer: model} = readLayer(root, undefined, reading);
  if (model.layers === undefined) {
    reading.faults.push(`${labelOf(model.className, [model.name])} is not a model.`);
  }
  return {entry, model, faults: reading.faults, warnings: reading.warnings};
}

function labelOf(className: string, path: readonly string[]): string {
  return `"${path.join('/')}" (${className})`;
}

/** The names of the models around a layer, except the outermost; `undefined` for the outermost itself. */
type Around = readonly string[] | undefined;

interface ReadLayer {
  entry: ReadEntry;
  layer: KerasLayer;
}

function alone(entry: LayerEntry): ReadEntry {
  return {...entry, before: [], after: []};
}

function readLayer(fileEntry: KerasEntry, around: Around, reading: Reading): ReadLayer {
  const {className, config} = fileEntry;
  const layer: KerasLayer = {className, name: nameOf(fileEntry), layers: undefined};
  const label = labelOf(className, [...(around ?? []), layer.name]);
  if (around !== undefined && layer.name === '') {
    reading.faults.push(`${label} has no name, so the file cannot refer to it.`);
  }
  if (CONTAINERS.includes(className)) {
    return readContainer(fileEntry, layer, around, reading);
  }
  if (['Bidirectional', 'TimeDistributed'].includes(className)) {
    const isMasked = reading.isMasked && className === 'Bidirectional';
    const tfjsClass = isMasked ? OWN_CLASSES.bidirectional : className;
    return {layer, entry: alone({className: tfjsClass, config: readWrapper(fileEntry, label, reading)})};
  }
  if (className === 'RNN') {
    return {layer, entry: alone({className, config: readRNN(fileEntry, label, reading)})};
  }
  if (!isKnown(className) || className === 'MultiHeadAttention') {
    reading.faults.push(`${label}: tfjs has no such layer, and none is registered.`);
    return {layer, entry: alone({className, config: {name: layer.name}})};
  }
  const entry = layerEntry(fileEntry, label, reading);
  return {layer, entry: {...entry, config: {...entry.config, ...(config.name === undefined && {name: layer.name})}}};
}

function isKnown(className: string): boolean {
  const isOther = isLayerClass(className) && registeredName(className) === className && !UNKNOWN.includes(className);
  return rowOf(className) !== undefined || isOther || className === 'MultiHeadAttention';
}

/** `Bidirectional` and `TimeDistributed`, with the layer inside. */
function readWrapper(entry: KerasEntry, label: string, reading: Reading): tf.serialization.ConfigDict {
  const {layer, backward_layer: backward, ...wrapperConfig} = entry.config;
  const [inner, back] = [layer, backward].map(kerasEntry);
  const isBoth = entry.className === 'Bidirectional';
  const allowed = isBoth
    ? ['GRU', 'LSTM', 'SimpleRNN'].includes(inner?.className ?? '')
    : rowOf(inner?.className) !== undefined;
  const {config} = layerEntry({...entry, config: wrapperConfig}, label, reading);
  if (inner === undefined || !allowed || inner.config.layer !== undefined) {
    reading.faults.push(`${label} cannot have a ${brief(inner?.className ?? layer)} inside.`);
    return config;
  }
  if (back !== undefined && (back.className !== inner.className || formOf(back) !== formOf(inner))) {
    reading.faults.push(`${label}: tfjs has one layer in both directions, and the backward one differs.`);
  }
  // Keras sets this to whether the layer returns sequences, as MaskedBidirectional does.
  const settings = isBoth ? {...inner.config, zero_output_for_mask: false} : inner.config;
  const read = layerEntry({...inner, config: settings}, label, reading);
  if (read.before.length + read.after.length > 0 || (!isBoth && reading.isMasked && heedsMask(inner))) {
    reading.faults.push(`${label} cannot have this ${inner.className} inside. Put its settings into a separate layer.`);
  }
  // tfjs adds the prefix again.
  const name = nameOf(inner).replace(isBoth ? /^forward_/ : /^$/, '');
  return {...config, layer: {className: read.className, config: {...read.config, name}}};
}

/** The part of a config that decides what a layer computes: all but its name, direction and initializers. */
function formOf({config}: KerasEntry): string {
  const isOther = (key: string) =>
    ['name', 'go_backwards', 'shared_object_id'].includes(key) || key.endsWith('_initializer');
  return JSON.stringify(config, (key, value: unknown) => (isOther(key) ? undefined : value));
}

function readContainer(entry: KerasEntry, layer: KerasLayer, around: Around, reading: Reading): ReadLayer {
  const {className, config} = entry;
  const inside = around === undefined ? [] : [...around, layer.name];
  const label = labelOf(className, [...(around ?? []), layer.name]);
  const named: tf.serialization.ConfigDict = layer.name === '' ? {} : {name: layer.name};
  const entries = Array.isArray(config.layers) ? config.layers.map(kerasEntry) : [];
  const layerEntries = entries.filter(entry => entry !== undefined);
  if (layerEntries.length === 0 || layerEntries.length !== entries.length) {
    reading.faults.push(`${label}: its layers must be a list of class names and configs.`);
    return {layer: {...layer, layers: []}, entry: alone({className, config: {name: layer.name, layers: []}})};
  }
  if (className === 'Sequential') {
    const names = layerEntries.map(nameOf);
    const before = (name: string) => names.slice(Math.max(names.indexOf(name) - 1, 0), names.indexOf(name));
    const masks = otherwiseMasked(layerEntries, before, reading.isKeras3);
    const read = layerEntries.map(entry => readLayer(entry, inside, reading));
    const layers = read
      .flatMap(({entry, layer: {name}}) => inOrder(entry, name, masks.has(name)))
      .map(one => ({...one}));
    return {
      layer: {...layer, layers: read.map(one => one.layer)},
      entry: alone({className, config: {...named, layers}}),
    };
  }
  const graph = new Graph(layerEntries, inside, label, reading);
  return {
    layer: {...layer, layers: graph.layers},
    entry: alone({className, config: {...named, ...graph.config(config)}}),
  };
}

/** A layer of a sequence and the layers around it. The first of them has the shape of the input. */
function inOrder({className, config, before, after}: ReadEntry, name: string, hasNoMask: boolean): LayerEntry[] {
  const {batchInputShape, ...configWithoutShape} = config;
  const around = layersAround(name, hasNoMask ? [{computes: 'mask'}, ...before] : before, after);
  const entries: LayerEntry[] = [...around.before, {className, config: configWithoutShape}, ...around.after];
  const [first, ...more] = entries as [LayerEntry, ...LayerEntry[]];
  return batchInputShape === undefined ? entries : [{...first, config: {...first.config, batchInputShape}}, ...more];
}

function layersAround(
  name: string,
  before: readonly KerasLayerArgs[],
  after: readonly KerasLayerArgs[],
): {before: LayerEntry[]; after: LayerEntry[]} {
  const layers = (all: readonly KerasLayerArgs[], place: string) =>
    all.map((args, i): LayerEntry => {
      const config = {...args, name: `${partName(name, place)}${i === 0 ? '' : i}`};
      return {className: OWN_CLASSES.kerasLayer, config: config as unknown as tf.serialization.ConfigDict};
    });
  return {before: layers(before, 'before'), after: layers(after, 'after')};
}

/** The layers of a model with their calls. */
class Graph {
  readonly layers: KerasLayer[] = [];
  private readonly parts: Part[] = [];
  /** The layer whose output replaces that of another in the file. */
  private readonly outputs = new Map<string, string>();
  /** Inner models, whose calls Keras 3 counts from 0, and tfjs from 1. */
  private readonly models = new Set<string>();
  private readonly names = new Set<string>();
  private readonly called: ReadonlyMap<string, {entry: KerasEntry; calls: readonly (KerasCall | undefined)[]}>;
  private readonly otherMasks: ReturnType<typeof otherwiseMasked>;

  constructor(
    entries: readonly KerasEntry[],
    private readonly inside: readonly string[],
    private readonly label: string,
    private readonly reading: Reading,
  ) {
    this.called = new Map(
      entries.map(entry => {
        const {inbound_nodes: nodes} = entry.otherFields;
        return [nameOf(entry), {entry, calls: Array.isArray(nodes) ? nodes.map(readCall) : []}];
      }),
    );
    this.otherMasks = otherwiseMasked(entries, name => this.inputsOf(name), reading.isKeras3);
    for (const {className, ...entry} of entries) {
      if (CONTAINERS.includes(className) && reading.isKeras3) {
        this.models.add(nameOf({className, ...entry}));
      }
    }
    entries.forEach(entry => this.add(entry));
  }

  /** Fields that tfjs requires besides the name. */
  config({input_layers: inputs, output_layers: outputs}: Json): tf.serialization.ConfigDict {
    const label = ({className, name}: CalledLayer) => labelOf(className, [...this.inside, name]);
    const layers = this.parts.map(({className, config, calls}) => {
      const inboundNodes = calls.map(tensors => tensors.map(tensor => [...this.place(tensor), {}]));
      return {name: config.name as string, className, config, inboundNodes};
    });
    this.reading.faults.push(...callFaults(layers as unknown as CalledLayer[], label));
    return {
      layers,
      inputLayers: this.ends('input_layers', inputs),
      outputLayers: this.ends('output_layers', outputs),
    };
  }

  /** The layers whose masks a layer gets, by name. */
  private inputsOf(name: string): string[] {
    const {entry, calls = []} = this.called.get(name) ?? {};
    const all = calls.map(call => [call?.args ?? [], Object.values(call?.kwargs ?? {})].flat(3).filter(isTensor));
    const isAttention = entry !== undefined && ['MultiHeadAttention', ...ATTENTIONS].includes(entry.className);
    return all.flatMap(tensors => (isAttention ? tensors.slice(0, 1) : tensors)).map(({layer}) => layer);
  }

  private add(fileEntry: KerasEntry): void {
    const {className, otherFields} = fileEntry;
    const name = nameOf(fileEntry);
    const label = labelOf(className, [...this.inside, name]);
    const nodes = this.called.get(name)?.calls ?? [];
    const calls = nodes.filter(call => call !== undefined);
    const isReadable = Array.isArray(otherFields.inbound_nodes) && calls.length === nodes.length;
    if (!isReadable && isKnown(className)) {
      this.reading.faults.push(`${label}: its inbound_nodes cannot be read.`);
    }
    if (className === 'MultiHeadAttention') {
      this.layers.push({className, name, layers: undefined});
      const uses = attentionUses(calls, label, tensor => this.maskOf(tensor), this.reading);
      attentionParts(fileEntry, name, label, uses, this.reading).forEach(entry => this.push(entry));
      this.outputs.set(name, partName(name, 'output'));
      return;
    }
    if (isOperation(fileEntry, this.reading)) {
      this.addOperation(fileEntry, label, calls);
      return;
    }
    const {entry, layer} = readLayer(fileEntry, this.inside, this.reading);
    this.layers.push(layer);
    if (ATTENTIONS.includes(className) && rowOf(className) !== undefined) {
      const uses = attentionUses(calls, label, tensor => this.maskOf(tensor), this.reading);
      warnOfDropout(fileEntry.config, label, this.reading);
      const settings = {...entry.config, ...rolesOf(uses, label, this.reading)};
      this.push({...entry, config: settings, calls: uses.map(({inputs}) => inputs.map(([, tensor]) => tensor))});
      return;
    }
    const masks = calls.map(({kwargs}) => (isTensor(kwargs.mask) ? kwargs.mask : undefined));
    const tensors = calls.map((call, i) => {
      const {mask, ...kwargs} = call.kwargs;
      const isMask = masks[i] !== undefined && rowOf(className) !== undefined;
      const {tensors: callTensors, other} = tensorsOf(isMask ? {...call, kwargs} : call, this.reading.isKeras3);
      if (other !== undefined || callTensors.length === 0) {
        this.reading.faults.push(`${label}: a call may have only tensors in tfjs, got ${other ?? 'none'}.`);
      }
      return callTensors;
    });
    const usesMasks = this.reading.isKeras3 && /^(Maximum|Minimum|Multiply)$/.test(className);
    if (usesMasks && tensors.flat().some(tensor => this.maskOf(tensor) !== undefined)) {
      this.reading.faults.push(`${label} uses the masks of its inputs in Keras 3, but not in tfjs.`);
    }
    this.pushAll(entry, name, this.withMasks(fileEntry, tensors, masks));
  }

  /** The inputs of a layer that uses a mask. If tfjs has another mask, a layer before the first input sets it. */
  private withMasks(
    entry: KerasEntry,
    calls: KerasTensor[][],
    masks: readonly (KerasTensor | undefined)[],
  ): KerasTensor[][] {
    const name = nameOf(entry);
    const {isKeras3, isMasked} = this.reading;
    if (!isMasked || !heedsMask(entry) || (!isKeras3 && !this.otherMasks.has(name))) {
      return calls;
    }
    const config = {name: partName(name, 'mask'), computes: 'mask'};
    const inputs = calls.map(([x], i) => [x, masks[i] ?? (x && this.maskOf(x))].filter(isTensor));
    this.push({className: OWN_CLASSES.kerasLayer, config, calls: inputs});
    return calls.map(([, ...states], node) => [innerTensor(config.name, node), ...states]);
  }

  private maskOf(tensor: KerasTensor): KerasTensor | undefined {
    const {entry, calls = []} = this.called.get(tensor.layer) ?? {};
    const call = calls[tensor.node];
    const {isKeras3, isMasked, faults} = this.reading;
    if (!isMasked || entry === undefined || call === undefined || isOperation(entry, this.reading)) {
      return undefined;
    }
    const {className, config} = entry;
    const inputsOf = (one: KerasCall | undefined) => [one?.args ?? []].flat(2).filter(isTensor);
    const name = partName(tensor.layer, 'mask');
    const calledLayer = (maskLayer: LayerEntry, inputs: KerasTensor[][]) => {
      if (!this.names.has(name)) {
        this.push({...maskLayer, calls: inputs});
      }
      return innerTensor(name, tensor.node);
    };
    if (className === 'Masking' || config.mask_zero === true) {
      const ofValues: tf.serialization.ConfigDict =
        className === 'Masking' ? {value: config.mask_value as number, axes: [-1]} : {};
      const settings: tf.serialization.ConfigDict = {name, computes: 'notequal', ...ofValues};
      const entry = {className: OWN_CLASSES.kerasLayer, config: settings};
      return calledLayer(entry, calls.map(inputsOf));
    }
    if (someInside(config, hidesPlaces)) {
      faults.push(`"${tensor.layer}" (${className}): the mask of a model inside is not passed on.`);
    }
    const masksOf = (one: KerasCall | undefined) => inputsOf(one).map(input => this.maskOf(input));
    const [first, ...more] = masksOf(call);
    if (!isMerging(className) && className !== 'Concatenate') {
      return givesMaskOn(entry, isKeras3) ? first : undefined;
    }
    const all = [first, ...more].filter(mask => mask !== undefined);
    const isOne = all.every(mask => mask.layer === all[0]?.layer && mask.node === all[0].node);
    if (all.length === 0 || (isKeras3 && className !== 'Concatenate' && all.length <= more.length)) {
      return undefined;
    }
    if (className === 'Concatenate' && !(isOne && config.axis === -1)) {
      faults.push(`"${tensor.layer}" (Concatenate): masks are passed on only if they are the same, and axis is -1.`);
    }
    const several = calls.map(one => masksOf(one).filter(mask => mask !== undefined));
    return isOne ? all[0] : calledLayer({className: isKeras3 ? 'Maximum' : 'Minimum', config: {name}}, several);
  }

  private addOperation(entry: KerasEntry, label: string, calls: readonly KerasCall[]): void {
    const operations = calls.map(call => readOperation(entry, call));
    const [first] = operations;
    if (first === undefined || operations.some(one => JSON.stringify(one?.entry) !== JSON.stringify(first.entry))) {
      this.reading.faults.push(`${label} is an operation between tensors or numbers, for which tfjs has no layer.`);
    }
    const {className, config} = first?.entry ?? entry;
    const tensors = operations.map(one => one?.tensors ?? []);
    this.push({className, config: {...config, name: nameOf(entry)}, calls: tensors});
  }

  /** Adds a layer and those around it, of which the last one gives what the layer gives in Keras. */
  private pushAll(entry: ReadEntry, name: string, calls: KerasTensor[][]): void {
    const {before, after} = layersAround(name, entry.before, entry.after);
    let tensors = calls;
    for (const {className, config} of [...before, entry, ...after]) {
      this.push({className, config, calls: tensors});
      tensors = calls.map((_, node) => [innerTensor(config.name as string, node)]);
      this.outputs.set(name, config.name as string);
    }
  }

  private push(entry: Part): void {
    const name = entry.config.name as string;
    if (this.names.has(name)) {
      this.reading.faults.push(`${this.label}: two layers would be called "${name}".`);
    }
    this.names.add(name);
    this.parts.push(entry);
  }

  private place({layer, node, index, isInner}: KerasTensor): [string, number, number] {
    const source = isInner === true ? layer : (this.outputs.get(layer) ?? layer);
    return [source, node + (this.models.has(layer) ? 1 : 0), index];
  }

  private ends(key: string, value: unknown): [string, number, number][] {
    const list = historyOf(value) === undefined ? Object.values(isJson(value) ? value : [value].flat()) : [value];
    const tensors = list.map(one => historyOf(one)).filter(one => one !== undefined);
    if (tensors.length === 0 || tensors.length !== list.length) {
      this.reading.faults.push(`${this.label}: its ${key} cannot be read.`);
    }
    return tensors.map(tensor => this.place(tensor));
  }
}
