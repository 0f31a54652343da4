import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';
import {fieldsOf} from '../layers/stock';

/** A layer of a model that holds no other layers that we look into. */
export interface Site {
  /** The names of the containers around the layer and its own, from the outside in, joined by `/`. The model's own is left out. */
  path: string;
  layer: tf.layers.Layer;
  /** The layers around it, from the outside in, without the model itself. */
  ancestors: readonly tf.layers.Layer[];
}

/** The layers inside a layer that is a model or a `TimeDistributed`; `undefined` for every other layer. */
export function childrenOf(layer: tf.layers.Layer): readonly tf.layers.Layer[] | undefined {
  if (isContainer(layer)) {
    return layer.layers;
  }
  return layer.getClassName() === 'TimeDistributed' ? [fieldsOf<{layer: tf.layers.Layer}>(layer).layer] : undefined;
}

/** Whether a layer is a model. */
export function isContainer(layer: tf.layers.Layer): layer is tf.LayersModel {
  return Array.isArray(fieldsOf<{layers?: unknown}>(layer).layers) && 'inputLayers' in layer;
}

/** @throws LoRAError if it is not a layers model. */
export function checkModel(model: unknown): asserts model is tf.LayersModel {
  if (model instanceof tf.GraphModel) {
    throw new LoRAError(
      'A tf.GraphModel is a fixed graph without layers, which tfjs cannot train. Make it layers first: ' +
        "import {fromGraphModel} from 'tfjs-lora/graph'; then adapt what `await fromGraphModel(graph)` gives. " +
        'toGraphModel turns the merged model back into a graph.',
    );
  }
  if (!(model instanceof tf.layers.Layer) || !isContainer(model)) {
    throw new LoRAError('The model must be a tf.LayersModel, such as tf.loadLayersModel and tf.sequential return.');
  }
}

/**
 * All layers of a model, each once, in order, nested ones in the place of their container.
 *
 * @throws LoRAError if a layer sits in two containers: rebuilt, it would be two layers.
 */
export function sitesOf(model: tf.LayersModel): Site[] {
  const sites: Site[] = [];
  const paths = new Map<tf.layers.Layer, string>();
  const visit = (layer: tf.layers.Layer, ancestors: readonly tf.layers.Layer[]) => {
    const path = [...ancestors, layer].map(({name}) => name).join('/');
    const seen = paths.get(layer);
    if (seen !== undefined) {
      throw new LoRAError(
        `Layer "${layer.name}" sits in the model twice, as "${seen}" and as "${path}". Rebuilt, it would become two layers that are no ` +
          'longer tied. Keep a shared layer in one container.',
      );
    }
    paths.set(layer, path);
    const children = childrenOf(layer);
    if (children === undefined) {
      sites.push({path, layer, ancestors});
    } else {
      children.forEach(child => visit(child, [...ancestors, layer]));
    }
  };
  model.layers.forEach(layer => visit(layer, []));
  return sites;
}

/** The model and the layers in it that hold others, by path. */
export function containersOf(model: tf.LayersModel): [path: string, container: tf.layers.Layer][] {
  const found: [string, tf.layers.Layer][] = [['', model]];
  const visit = (layer: tf.layers.Layer, prefix: string) => {
    const children = childrenOf(layer);
    if (children !== undefined) {
      found.push([prefix + layer.name, layer]);
      children.forEach(child => visit(child, `${prefix}${layer.name}/`));
    }
  };
  model.layers.forEach(layer => visit(layer, ''));
  return found;
}

/** A call of a layer in the graph of a model. */
export interface GraphNode {
  outboundLayer: tf.layers.Layer;
  inputTensors: tf.SymbolicTensor[];
  outputTensors: tf.SymbolicTensor[];
  callArgs: Record<string, unknown> | null;
}

/** The calls in a model, in an order in which each comes after those that it depends on. */
export function nodesOf(model: tf.LayersModel): GraphNode[] {
  if (!model.built) {
    model.countParams(); // a Sequential lays out its graph when it is first used
  }
  const {nodesByDepth} = fieldsOf<{nodesByDepth: Record<string, GraphNode[]>}>(model);
  return Object.keys(nodesByDepth)
    .sort((one, other) => Number(other) - Number(one))
    .flatMap(depth => nodesByDepth[depth] ?? [])
    .filter(({outboundLayer}) => outboundLayer.getClassName() !== 'InputLayer');
}
