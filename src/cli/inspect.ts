import {readdir, stat} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {listed, unsupportedError} from '../platform/errors';
import {sizeOf} from '../platform/formats/layout';
import {decodeSafetensors} from '../platform/formats/decodeSafetensors';
import {typeOf} from '../extensions/onnx/file/onnxTensor';
import {openOnnx, type OnnxModel, type OnnxValue} from '../extensions/onnx/file/readOnnx';
import {reasonNotAdaptable} from '../core/layers/registry';
import {isWrapper} from '../core/layers/wrapperLayer';
import {count, inColumns} from '../core/model/table';
import {type Adapter, fileHandler, loadAdapter, loadKerasModel, summarizeLoRA} from '../node';
import {read} from '../node/files';
import {readPEFTFolder} from '../node/peftFolder';
import {sitesOf} from '../core/rewire/walk';
import type {Command} from './command';
import {isHub} from '../core/storage/hubName';
import {isPublished, loadPublished, MODEL_OPTIONS, named, register, type Source, sourceAt} from './sources';
import {pathsOf} from './targets';

/** The report on one path: facts for `--json`, and a table with notes for people. */
interface Report {
  facts: Record<string, unknown>;
  rows: string[][];
  notes: string[];
}

/** Tells what is in files and folders. */
export const inspect: Command = {
  usage: '<path>… [--json]',
  summary: 'describes adapters, PEFT folders and models',
  options: {json: {help: 'prints JSON: a list with an entry for each path'}, register: MODEL_OPTIONS.register},
  run: async (args, terminal) => {
    const paths = pathsOf(args, 1, Infinity, 'one or more paths');
    await register(args.values.register);
    const entries: Record<string, unknown>[] = [];
    for (const path of paths) {
      const source = await sourceAt(path);
      const isRemote = isHub(path);
      if (isRemote && !isPublished(source.kind)) {
        throw unsupportedError(
          `inspect describes models of the hub, and ${path} is an ${source.kind}. Download it first.`,
        );
      }
      const {facts, rows, notes} = await named(source.path, () => REPORTS[source.kind](source.path));
      const bytes = isRemote ? undefined : await bytesOf(source);
      entries.push({path, kind: source.kind, bytes, ...facts});
      if (!args.switches.has('json')) {
        terminal.out(
          [
            `${path}: ${source.kind}${bytes === undefined ? '' : `, ${count(bytes)} bytes`}`,
            ...indented(inColumns(rows)),
            ...indented(notes),
            '',
          ].join('\n'),
        );
      }
    }
    if (args.switches.has('json')) {
      terminal.out(JSON.stringify(entries, null, 2));
    }
  },
};

const REPORTS: Readonly<Record<Source['kind'], (path: string) => Promise<Report>>> = {
  adapter: async path => adapterReport(await loadAdapter(fileHandler(path))),
  'PEFT adapter': peftReport,
  'layers model': async path => modelReport(await loadKerasModel(fileHandler(path))),
  'graph model': async path => graphReport(await tf.loadGraphModel(fileHandler(path))),
  'ONNX model': async path => onnxReport(await openOnnx(await read(path, ''))),
  'hub model': async path => modelReport(await loadPublished({kind: 'hub model', path})),
  'GGUF model': async path => modelReport(await loadPublished({kind: 'GGUF model', path})),
};

function adapterReport({config, tensors}: Adapter): Report {
  const numbersAt = (path: string) =>
    sum(Object.entries(tensors).flatMap(([name, {size}]) => (name.startsWith(`${path}/`) ? [size] : [])));
  const layers = Object.entries(config.layers).map(([path, layer]) => ({path, ...layer, numbers: numbersAt(path)}));
  const {trainable, biases = [], head} = config;
  const numbers = sum(Object.values(tensors).map(({size}) => size));
  return {
    facts: {layers, trainable, biases, ...(head && {head}), numbers},
    rows: [
      ['layer', 'class', 'method', 'rank', 'alpha', 'numbers'],
      ...layers.map(({path, className, method = 'lora', rank, alpha, numbers: parameters}) => [
        ...[path, className, method, String(rank), String(alpha), count(parameters)],
      ]),
    ],
    notes: [
      ...(head === undefined ? [] : [`new head after ${head.at}: ${listed(head.layers.map(labelOf))}`]),
      ...(trainable.length === 0 ? [] : [`in full: ${listed(trainable)}`]),
      ...(biases.length === 0 ? [] : [`biases: ${listed(biases)}`]),
      `${count(numbers)} numbers`,
    ],
  };
}

function labelOf({className, config}: {className: string; config: tf.serialization.ConfigDict}): string {
  return `${config.name as string} (${className})`;
}

async function peftReport(path: string): Promise<Report> {
  const {config, weights} = await readPEFTFolder(path);
  const fields = (typeof config === 'string' ? JSON.parse(config) : config) as Record<string, unknown>;
  const tensors = [...decodeSafetensors(weights).tensors].map(([name, {dtype, shape}]) => ({name, dtype, shape}));
  const numbers = sum(tensors.map(({shape}) => sizeOf(shape)));
  const shown = ['peft_type', 'r', 'lora_alpha', 'base_model_name_or_path', 'target_modules', 'modules_to_save'];
  return {
    facts: {config: fields, tensors, numbers},
    rows: [['tensor', 'type', 'shape'], ...tensors.map(({name, dtype, shape}) => [name, dtype, shape.join('×')])],
    notes: [
      ...shown.filter(key => fields[key] != null).map(key => `${key}: ${JSON.stringify(fields[key])}`),
      `${count(numbers)} numbers`,
    ],
  };
}

function modelReport(model: tf.LayersModel): Report {
  const sites = sitesOf(model);
  const layers = sites.map(({path, layer}) => ({
    path,
    className: layer.getClassName(),
    numbers: layer.countParams(),
    adaptable: adaptable(layer),
  }));
  const isAdapted = sites.some(({layer}) => isWrapper(layer));
  const numbers = sum(layers.map(({numbers: parameters}) => parameters));
  if (isAdapted) {
    const summary = summarizeLoRA(model);
    return {facts: {adapted: true, ...summary}, rows: [], notes: String(summary).split('\n')};
  }
  return {
    facts: {adapted: false, layers, numbers},
    rows: [
      ['layer', 'class', 'numbers', 'LoRA'],
      ...layers.map(({path, className, numbers: parameters, adaptable: how}) => [
        path,
        className,
        count(parameters),
        how,
      ]),
    ],
    notes: [`${count(numbers)} numbers`],
  };
}

/** Whether `applyLoRA` adapts a layer: by default, if it is named, or not at all. Empty for a layer without weights. */
function adaptable(layer: tf.layers.Layer): string {
  if (layer.weights.length === 0) {
    return '';
  }
  const isRefused = (named: boolean) => reasonNotAdaptable(layer, named) !== undefined;
  return !isRefused(false) ? 'yes' : isRefused(true) ? 'no' : 'if named';
}

/** An input or output of a graph. For some outputs, tfjs knows neither type nor shape. */
interface End {
  name: string;
  dtype?: string | undefined;
  shape?: number[] | undefined;
}

function graphReport(graph: tf.GraphModel): Report {
  const ends = (infos: readonly End[]) => infos.map(({name, shape, dtype}) => ({name, shape, dtype}));
  const weights = Object.values(graph.weights).flat();
  const numbers = sum(weights.map(({size}) => size));
  const [inputs, outputs] = [ends(graph.inputs), ends(graph.outputs)];
  const row = (kind: string) => (end: End) => [kind, end.name, end.dtype ?? '', end.shape?.join('×') ?? ''];
  return {
    facts: {inputs, outputs, numbers},
    rows: [['', 'name', 'type', 'shape'], ...inputs.map(row('input')), ...outputs.map(row('output'))],
    notes: [`${count(numbers)} numbers`, 'To adapt it, import it with fromGraphModel of tfjs-lora/graph.'],
  };
}

function onnxReport({graph, opsets}: OnnxModel): Report {
  const ends = (values: readonly OnnxValue[]) =>
    values.map(({name, type, shape}) => ({name, dtype: typeOf(type).name, shape: shape?.map(size => size ?? '?')}));
  const numbers = sum([...graph.initializers.values()].map(({size}) => size));
  const operations: Record<string, number> = {};
  for (const {op} of graph.nodes) {
    operations[op] = (operations[op] ?? 0) + 1;
  }
  const [inputs, outputs] = [ends(graph.inputs), ends(graph.outputs)];
  const row = (kind: string) => (end: (typeof inputs)[number]) => [
    ...[kind, end.name, end.dtype, end.shape?.join('×') ?? ''],
  ];
  return {
    facts: {inputs, outputs, operations, opset: opsets.get(''), numbers},
    rows: [['', 'name', 'type', 'shape'], ...inputs.map(row('input')), ...outputs.map(row('output'))],
    notes: [
      `opset ${opsets.get('') ?? '?'}: ${listed(Object.entries(operations).map(([op, times]) => `${times} ${op}`))}`,
      `${count(numbers)} numbers`,
      'To adapt it, import it with fromONNX of tfjs-lora/onnx.',
    ],
  };
}

async function bytesOf({kind, path}: Source): Promise<number> {
  const isStored = (name: string) => name.startsWith('adapter_') || name.endsWith('.safetensors');
  const files =
    kind === 'PEFT adapter' || kind === 'hub model'
      ? (await readdir(path)).filter(isStored).map(name => join(path, name))
      : [path, ...(path.endsWith('.json') ? await weightFiles(path) : [])];
  return sum(await Promise.all(files.map(async file => (await stat(file)).size)));
}

async function weightFiles(json: string): Promise<string[]> {
  const {weightsManifest = []} = JSON.parse((await read(json, '')).toString()) as {
    weightsManifest?: {paths: string[]}[];
  };
  return weightsManifest.flatMap(({paths}) => paths.map(name => join(dirname(json), name)));
}

function indented(lines: readonly string[]): string[] {
  return lines.map(line => `  ${line}`.trimEnd());
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
