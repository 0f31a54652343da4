import * as tf from '@tensorflow/tfjs';
import {showShape} from '../../platform/errors';
import {childrenOf} from '../rewire/walk';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {InnerLayers} from '../../platform/tfjs/layerFields';
import {replaceValue} from '../../platform/tfjs/weights';
import {partName, projectionOf} from './attention';
import {BY_PLACE} from './json';
import type {KerasLayer} from './topology';

/** A weight of a file, and the layer it belongs to. */
interface Placed {
  /** The models around the layer, then its own name. */
  path: string[];
  className: string;
  /** What comes between the layer and the weight: a cell, a direction, a projection. */
  parts: string[];
  /** The weight, by its name or its index in the layer. */
  key: string;
}

/** Tensors that files hold besides the weights of layers. */
const NO_WEIGHTS = /^(optimizer|metrics)\/|(^|\/)seed_generator(_state)?(\/|$)/;

/**
 * Gives a model the tensors of a file that Keras wrote.
 *
 * @returns a line for each tensor without a weight, and for each weight without a tensor.
 */
export function fillWeights(
  model: tf.LayersModel,
  layers: KerasLayer,
  tensors: Readonly<Record<string, tf.Tensor>>,
): string[] {
  const faults: string[] = [];
  const missing = new Set(model.weights);
  const place = placeOf(layers, Object.keys(tensors).some(name => COUNTS_ONCE.test(name)) ? 1 : 2);
  for (const [name, tensor] of Object.entries(tensors)) {
    if (NO_WEIGHTS.test(name)) {
      continue;
    }
    const placed = place(name);
    if (name === 'count' || (placed?.className === 'Normalization' && ['count', '2'].includes(placed.key))) {
      continue; // how many values its mean covers
    }
    const variable = placed === undefined ? ofNormalization(model, name) : weightAt(model, placed);
    if (variable === undefined) {
      faults.push(`${name}: there is no such weight in the model.`);
    } else if (!fits(variable.weight, tensor, variable.isPart)) {
      faults.push(
        `${name}: shape ${showShape(tensor.shape)} in the file, ${showShape(variable.weight.shape)} in the model.`,
      );
    } else if (!missing.delete(variable.weight)) {
      faults.push(`${name}: the file has this weight twice.`);
    } else {
      replaceValue(variable.weight, tf.reshape(tensor, variable.weight.shape as number[]));
    }
  }
  return [...faults, ...[...missing].map(({originalName}) => `${originalName}: not in the file.`)];
}

/** Layers in one axis whose kernels have one more here, for a row. */
const IN_ROWS = ['Conv1DTranspose', 'DepthwiseConv1D', 'SeparableConv1D'];

/**
 * A weight of the only `Normalization` of a model. Keras 2 names these without their layer in `.h5` files, and the
 * converter refuses files with two of a name.
 */
function ofNormalization(model: tf.LayersModel, name: string): {weight: tf.LayerVariable; isPart: false} | undefined {
  const alike = model.weights.filter(({originalName}) => originalName.split('/').at(-1) === name);
  const [weight] = ['mean', 'variance'].includes(name) && alike.length === 1 ? alike : [];
  return weight && {weight, isPart: false};
}

/** Only files have an axis for the heads in kernels of attention; `SeparableConv1D` has one for a row here. */
function fits({shape}: tf.LayerVariable, tensor: tf.Tensor, isPart: boolean): boolean {
  return isPart
    ? tf.util.sizeFromShape(shape as number[]) === tensor.size
    : tf.util.arraysEqual(shape as number[], tensor.shape);
}

/** An odd number. Keras 2.13 gives none, because it counts each layer twice: `dense`, `dense_2`, `dense_4`. */
const COUNTS_ONCE = /(^|\/)_layer_checkpoint_dependencies\/\w+_\d*[13579]\//;

/**
 * Finds the layer of a weight by the weight's name in the file.
 *
 * @param step the increment of Keras 2 between two layers of a class.
 */
function placeOf(model: KerasLayer, step: 1 | 2): (name: string) => Placed | undefined {
  /** `.keras` files count the layers of a class: `layers/functional/layers/dense_1/vars/0`. */
  const placeByClass: PlaceIn = ([folder, token, ...laterFolders], outer, around) => {
    if (!/^(layers|_layer_checkpoint_dependencies)$/.test(folder ?? '') || token === undefined) {
      return undefined;
    }
    const {base, index} = counted(token);
    const alike = (outer.layers ?? []).filter(({className}) => snakeCase(className) === base);
    const layer = alike[index / (folder === 'layers' ? 1 : step)];
    return layer && inside(layer, laterFolders, around, placeByClass);
  };
  return name => {
    const tokens = name.split('/').filter(token => token !== 'vars');
    return (BY_PLACE.test(name) ? placeByClass : placeByName)(tokens, model, []);
  };
}

/** Finds the layer of a weight in a model by the rest of its name; `around` are the models around that. */
type PlaceIn = (tokens: readonly string[], model: KerasLayer, around: readonly string[]) => Placed | undefined;

/** `.h5` files name layers with or without the models around them. */
function placeByName(tokens: readonly string[], model: KerasLayer, around: readonly string[]): Placed | undefined {
  for (const [i, token] of tokens.entries()) {
    const layer = named(token, model, around);
    const leaf = layer.find(({layer}) => layer.layers === undefined);
    if (leaf !== undefined) {
      return layer.length > 1 ? undefined : inside(leaf.layer, tokens.slice(i + 1), leaf.around, placeByName);
    }
    const [only] = layer;
    if (only !== undefined) {
      return placeByName(tokens.slice(i + 1), only.layer, [...only.around, only.layer.name]);
    }
    if (i > 0 || token !== model.name) {
      return undefined;
    }
  }
  return undefined;
}

function named(
  name: string,
  model: KerasLayer,
  around: readonly string[],
): {layer: KerasLayer; around: readonly string[]}[] {
  return (model.layers ?? []).flatMap(layer => [
    ...(layer.name === name ? [{layer, around}] : []),
    ...(layer.layers === undefined ? [] : named(name, layer, [...around, layer.name])),
  ]);
}

function inside(
  layer: KerasLayer,
  folders: readonly string[],
  around: readonly string[],
  placeIn: PlaceIn,
): Placed | undefined {
  const path = [...around, layer.name];
  const [key] = folders.slice(-1);
  if (layer.layers !== undefined) {
    return placeIn(folders, layer, path);
  }
  return key === undefined ? undefined : {path, className: layer.className, parts: folders.slice(0, -1), key};
}

/** What `.keras` files call something: its class, and how many of that class came before. */
function counted(token: string): {base: string; index: number} {
  const [, base = '', number = '0'] = /^(.*?)(?:_(\d+))?$/.exec(token) as RegExpExecArray;
  return {base, index: Number(number)};
}

/** The name of a class as Keras's folder name: `DepthwiseConv2D`, `depthwise_conv2d`. */
function snakeCase(className: string): string {
  return className
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
}

function weightAt(
  model: tf.LayersModel,
  {path, className, parts, key}: Placed,
): {weight: tf.LayerVariable; isPart: boolean} | undefined {
  const isAttention = className === 'MultiHeadAttention';
  const projection = isAttention ? projectionOf(parts[0] ?? '') : undefined;
  if (isAttention && projection === undefined) {
    return undefined;
  }
  const names = projection === undefined ? path : [...path.slice(0, -1), partName(path.at(-1) ?? '', projection)];
  const layer = names.reduce<tf.layers.Layer | undefined>(
    (outer, name) => outer && childrenOf(outer)?.find(child => child.name === name),
    model,
  );
  const isCounted = /^\d+$/.test(key);
  const weights = layer && weightsOf(layer, parts, isCounted);
  const weight = isCounted
    ? weights?.[Number(key)]
    : (weights?.find(({originalName}) => [key, `depthwise_${key}`].includes(originalName.split('/').at(-1) ?? '')) ??
      // Keras 3 calls a weight so that has no name.
      (key === 'variable' && weights?.length === 1 ? weights[0] : undefined));
  return weight && {weight, isPart: isAttention || IN_ROWS.includes(className)};
}

/** The weights of a layer, one of its directions, or one cell of a stack, which files name or count by class. */
function weightsOf(
  layer: tf.layers.Layer,
  parts: readonly string[],
  isCounted: boolean,
): tf.LayerVariable[] | undefined {
  const {forwardLayer, backwardLayer, cell} = fieldsOf<InnerLayers>(layer);
  const cells = cell && fieldsOf<InnerLayers>(cell).cells;
  if (cells !== undefined) {
    const token = parts.at(-1) ?? '';
    const {base, index} = counted(token);
    const alike = cells.filter(one => snakeCase(one.getClassName().replace(/^.*>/, '')) === base);
    return (isCounted ? alike[index] : cells.find(({name}) => name === token))?.weights;
  }
  // A backward layer that was passed to Keras 3 has its own name.
  return ((parts[0]?.startsWith('forward') ? forwardLayer : backwardLayer) ?? layer).weights;
}
