import type * as tf from '@tensorflow/tfjs';
import {brief} from '../../platform/errors';
import {isLayerClass, type LayerEntry, registeredName} from '../../platform/tfjs/configs';
import {attentionParts, partName} from './attention';
import {isJson, type Json, kerasEntry, type KerasEntry, nameOf, someInside} from './json';
import {layerEntry, type Reading} from './layerConfigs';
import {hidesPlaces, otherwiseMasked} from './masks';
import {OWN_CLASSES} from './kerasLayer';
import {callFaults, type CalledLayer, CONTAINERS} from './openCalls';
import {isOperation, readOperation} from './operations';
import {rowOf} from './layerTable';
import {readRNN} from './recurrent';
import {historyOf, type KerasCall, type KerasTensor, readCall, tensorsOf} from './nodes';

/** A layer as Keras has it, for the names of its weights. */
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
export function readTopology(given: KerasEntry, isKeras3: boolean): Topology {
  const reading: Reading = {isKeras3, isMasked: someInside(given.config, hidesPlaces), faults: [], warnings: []};
  const {entry, layer: model} = readLayer(given, undefined, reading);
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
  entry: LayerEntry;
  layer: KerasLayer;
}

function readLayer(given: KerasEntry, around: Around, reading: Reading): ReadLayer {
  const {className, config} = given;
  const layer: KerasLayer = {className, name: nameOf(given), layers: undefined};
  const label = labelOf(className, [...(around ?? []), layer.name]);
  if (around !== undefined && layer.name === '') {
    reading.faults.push(`${label} has no name, so the file cannot refer to it.`);
  }
  if (CONTAINERS.includes(className)) {
    return readContainer(given, layer, around, reading);
  }
  if (['Bidirectional', 'TimeDistributed'].includes(className)) {
    const isMasked = reading.isMasked && className === 'Bidirectional';
    const own = isMasked ? OWN_CLASSES.bidirectional : className;
    return {layer, entry: {className: own, config: readWrapper(given, label, reading)}};
  }
  if (className === 'RNN') {
    return {layer, entry: {className, config: readRNN(given, label, reading)}};
  }
  if (!isKnown(className) || className === 'MultiHeadAttention') {
    reading.faults.push(`${label}: tfjs has no such layer, and none is registered.`);
    return {layer, entry: {className, config: {name: layer.name}}};
  }
  const entry = layerEntry(given, label, reading);
  return {layer, entry: {...entry, config: {...entry.config, ...(config.name === undefined && {name: layer.name})}}};
}

/** Whether the class of a layer allows making it. */
function isKnown(className: string): boolean {
  const isOther = isLayerClass(className) && registeredName(className) === className && !UNKNOWN.includes(className);
  return rowOf(className) !== undefined || isOther || className === 'MultiHeadAttention';
}

/** `Bidirectional` and `TimeDistributed`, with the layer inside. */
function readWrapper(given: KerasEntry, label: string, reading: Reading): tf.serialization.ConfigDict {
  const {layer, backward_layer: backward, ...own} = given.config;
  const [inner, back] = [layer, backward].map(kerasEntry);
  const isBoth = given.className === 'Bidirectional';
  const allowed = isBoth
    ? ['GRU', 'LSTM', 'SimpleRNN'].includes(inner?.className ?? '')
    : rowOf(inner?.className) !== undefined;
  const {config} = layerEntry({...given, config: own}, label, reading);
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

function readContainer(given: KerasEntry, layer: KerasLayer, around: Around, reading: Reading): ReadLayer {
  const {className, config} = given;
  const inside = around === undefined ? [] : [...around, layer.name];
  const label = labelOf(className, [...(around ?? []), layer.name]);
  const named: tf.serialization.ConfigDict = layer.name === '' ? {} : {name: layer.name};
  const entries = Array.isArray(config.layers) ? config.layers.map(kerasEntry) : [];
  const known = entries.filter(entry => entry !== undefined);
  if (known.length === 0 || known.length !== entries.length) {
    reading.faults.push(`${label}: its layers must be a list of class names and configs.`);
    return {layer: {...layer, layers: []}, entry: {className, config: {name: layer.name, layers: []}}};
  }
  const reportMasks = (inputsOf: (name: string) => readonly string[]) =>
    otherwiseMasked(known, inputsOf).forEach(entry =>
      reading.faults.push(
        `${labelOf(entry.className, [...inside, nameOf(entry)])} gets another mask in tfjs than in Keras.`,
      ),
    );
  if (className === 'Sequential') {
    const names = known.map(nameOf);
    reportMasks(name => names.slice(Math.max(names.indexOf(name) - 1, 0), names.indexOf(name)));
    const read = known.map(entry => readLayer(entry, inside, reading));
    const layers = read.map(({entry}) => ({...entry}));
    return {
      layer: {...layer, layers: read.map(one => one.layer)},
      entry: {className, config: {...named, layers}},
    };
  }
  const graph = new Graph(known, inside, label, reading);
  reportMasks(name => graph.inputsOf(name));
  return {
    layer: {...layer, layers: graph.layers},
    entry: {className, config: {...named, ...graph.config(config)}},
  };
}

/** The layers of a model with their calls. */
class Graph {
  readonly layers: KerasLayer[] = [];
  private readonly entries: tf.serialization.ConfigDict[] = [];
  /** The layer whose output replaces that of another in the file. */
  private readonly outputs = new Map<string, string>();
  /** Inner models, whose calls Keras 3 counts from 0, and tfjs from 1. */
  private readonly models = new Set<string>();
  private readonly names = new Set<string>();

  constructor(
    entries: readonly KerasEntry[],
    private readonly inside: readonly string[],
    private readonly label: string,
    private readonly reading: Reading,
  ) {
    for (const entry of entries) {
      const name = nameOf(entry);
      if (entry.className === 'MultiHeadAttention') {
        this.outputs.set(name, partName(name, 'output'));
      } else if (CONTAINERS.includes(entry.className) && reading.isKeras3) {
        this.models.add(name);
      }
    }
    entries.forEach(entry => this.add(entry));
  }

  /** Fields that tfjs requires besides the name. */
  config({input_layers: inputs, output_layers: outputs}: Json): tf.serialization.ConfigDict {
    const label = ({className, name}: CalledLayer) => labelOf(className, [...this.inside, name]);
    this.reading.faults.push(...callFaults(this.entries as unknown as CalledLayer[], label));
    return {
      layers: this.entries,
      inputLayers: this.ends('input_layers', inputs),
      outputLayers: this.ends('output_layers', outputs),
    };
  }

  /** The layers that a layer is called with, by name. */
  inputsOf(name: string): string[] {
    const called = this.entries.filter(entry => entry.name === name) as unknown as CalledLayer[];
    return called.flatMap(({inboundNodes}) => inboundNodes.flatMap(call => call.map(([input]) => input)));
  }

  private add(given: KerasEntry): void {
    const {className, others} = given;
    const name = nameOf(given);
    const label = labelOf(className, [...this.inside, name]);
    const nodes = Array.isArray(others.inbound_nodes) ? others.inbound_nodes.map(readCall) : [];
    const calls = nodes.filter(call => call !== undefined);
    const isReadable = Array.isArray(others.inbound_nodes) && calls.length === nodes.length;
    if (!isReadable && isKnown(className)) {
      this.reading.faults.push(`${label}: its inbound_nodes cannot be read.`);
    }
    if (className === 'MultiHeadAttention') {
      this.layers.push({className, name, layers: undefined});
      attentionParts(given, name, label, calls, this.reading).forEach(part => this.push(part, part.calls));
      return;
    }
    if (isOperation(given, this.reading)) {
      this.addOperation(given, label, calls);
      return;
    }
    const {entry, layer} = readLayer(given, this.inside, this.reading);
    this.layers.push(layer);
    const tensors = calls.map(call => {
      const {tensors: found, other} = tensorsOf(call, this.reading.isKeras3);
      if (other !== undefined || found.length === 0) {
        this.reading.faults.push(`${label}: a call may have only tensors in tfjs, got ${other ?? 'none'}.`);
      }
      return found;
    });
    this.push(entry, tensors);
  }

  private addOperation(given: KerasEntry, label: string, calls: readonly KerasCall[]): void {
    const found = calls.map(call => readOperation(given, call));
    const [first] = found;
    if (first === undefined || found.some(one => JSON.stringify(one?.entry) !== JSON.stringify(first.entry))) {
      this.reading.faults.push(`${label} is an operation between tensors or numbers, for which tfjs has no layer.`);
    }
    const {className, config} = first?.entry ?? given;
    const tensors = found.map(one => one?.tensors ?? []);
    this.push({className, config: {...config, name: nameOf(given)}}, tensors);
  }

  private push({className, config}: LayerEntry, calls: readonly KerasTensor[][]): void {
    const name = config.name as string;
    if (this.names.has(name)) {
      this.reading.faults.push(`${this.label}: two layers would be called "${name}".`);
    }
    this.names.add(name);
    const inboundNodes = calls.map(tensors => tensors.map(tensor => [...this.place(tensor), {}]));
    this.entries.push({name, className, config, inboundNodes});
  }

  private place({layer, node, index}: KerasTensor): [string, number, number] {
    return [this.outputs.get(layer) ?? layer, node + (this.models.has(layer) ? 1 : 0), index];
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
