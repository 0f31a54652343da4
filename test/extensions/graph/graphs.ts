import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type {GraphAttribute, GraphNode} from '../../../src/extensions/graph/graphDef';

// Graphs that are written by hand, node by node.

/** A text, as a graph stores it. */
export function text(value: string): GraphAttribute {
  return {s: btoa(value)};
}

export function texts(...values: string[]): GraphAttribute {
  return {list: {s: values.map(btoa)}};
}

export function integers(...values: number[]): GraphAttribute {
  return {list: {i: values.map(String)}};
}

/** An input. A size of -1 is open. */
export function input(name: string, shape: number[], type = 'DT_FLOAT'): GraphNode {
  const dim = shape.map(size => ({size: String(size)}));
  return {name, op: 'Placeholder', attr: {dtype: {type}, shape: {shape: {dim}}}};
}

export function node(name: string, op: string, inputs: string[], attr: Record<string, GraphAttribute> = {}): GraphNode {
  return {name, op, input: inputs, attr};
}

/** What a convolution is called with. */
export function convolution({
  strides = [1, 1],
  dilations = [1, 1],
  padding = 'SAME',
  pads,
  format = 'NHWC',
}: {
  strides?: [number, number];
  dilations?: [number, number];
  padding?: string;
  pads?: [number, number, number, number];
  format?: 'NHWC' | 'NCHW';
} = {}): Record<string, GraphAttribute> {
  const spread = ([a, b]: [number, number]) => (format === 'NHWC' ? integers(1, a, b, 1) : integers(1, 1, a, b));
  return {
    strides: spread(strides),
    dilations: spread(dilations),
    padding: text(padding),
    data_format: text(format),
    ...(pads && {explicit_paddings: integers(0, 0, ...pads, 0, 0)}),
  };
}

/** A graph of nodes and constants, which are disposed. */
export async function graphOf(
  nodes: GraphNode[],
  constants: Record<string, tf.Tensor> = {},
  signature?: {inputs: object; outputs: object},
): Promise<tf.GraphModel> {
  const {specs, data} = await tf.io.encodeWeights(constants);
  tf.dispose(constants);
  const stored = Object.keys(constants).map(name => ({name, op: 'Const', attr: {}}));
  return tf.loadGraphModel(
    tf.io.fromMemory({
      modelTopology: {node: [...stored, ...nodes], versions: {producer: 1, minConsumer: 1}},
      weightSpecs: specs,
      weightData: data,
      ...(signature && {signature}),
    }),
  );
}

/** A graph that the official converter made, by its name in the fixtures. */
export function converted(name: string): Promise<tf.GraphModel> {
  const folder = join(__dirname, '../../fixtures/graph', name);
  const file = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as {
    weightsManifest: {paths: string[]; weights: tf.io.WeightsManifestEntry[]}[];
  };
  const bytes = file.weightsManifest.flatMap(({paths}) => paths).map(path => readFileSync(join(folder, path)));
  const weightSpecs = file.weightsManifest.flatMap(({weights}) => weights);
  const weightData = new Uint8Array(Buffer.concat(bytes)).buffer;
  return tf.loadGraphModel(tf.io.fromMemory({...file, weightSpecs, weightData}));
}

/** What a graph gives for its inputs. */
export function outputsOf(graph: tf.GraphModel, inputs: tf.NamedTensorMap, names?: string[]): tf.Tensor[] {
  return [graph.execute(inputs, names ?? graph.outputNodes)].flat();
}

/** A model after it was in a file. */
export async function reloaded(model: tf.LayersModel): Promise<tf.LayersModel> {
  const {weightData, ...rest} = await artifactsOf(model);
  const file = JSON.parse(JSON.stringify(rest)) as tf.io.ModelArtifacts;
  return tf.loadLayersModel(tf.io.fromMemory({...file, ...(weightData && {weightData})}));
}

/** A graph after it was in a file. */
export async function reloadedGraph(graph: tf.GraphModel): Promise<tf.GraphModel> {
  const {weightData, ...rest} = await artifactsOf(graph);
  const file = JSON.parse(JSON.stringify(rest)) as tf.io.ModelArtifacts;
  return tf.loadGraphModel(tf.io.fromMemory({...file, ...(weightData && {weightData})}));
}

export async function artifactsOf(model: Pick<tf.LayersModel | tf.GraphModel, 'save'>): Promise<tf.io.ModelArtifacts> {
  let artifacts: tf.io.ModelArtifacts = {};
  const save = (given: tf.io.ModelArtifacts) => {
    artifacts = given;
    return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON' as const}});
  };
  await model.save({save});
  return artifacts;
}
