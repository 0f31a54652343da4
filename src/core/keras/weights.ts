import * as tf from '@tensorflow/tfjs';
import {showShape} from '../../platform/errors';
import {childrenOf} from '../rewire/walk';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {InnerLayers} from '../../platform/tfjs/layerFields';
import {replaceValue} from '../../platform/tfjs/weights';
import {partName, projectionOf} from './attention';
import {BY_PLACE} from './json';
import type {KerasLayer} from './topology';

/** A weight of a file, and of which layer it is. */
interface Placed {
  /** The models around the layer, then its own name. */
  path: string[];
  className: string;
  /** What stands between the layer and the weight: a cell, a direction, a projection. */
  parts: string[];
  /** The weight, by its name or by its place in the layer. */
  key: string;
}

/** What files have beside the weights of layers. */
const NO_WEIGHTS = /^(optimizer|metrics)\/|(^|\/)seed_generator(_state)?(\/|$)/;

/**
 * Gives a model the tensors of a file that Keras wrote.
 *
 * @returns a line for each tensor that no weight takes, and each weight that gets none.
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
    if (placed?.className === 'Normalization' && ['count', '2'].includes(placed.key)) {
      continue; // how many numbers its mean is of
    }
    const found = placed && weightAt(model, placed);
    if (found === undefined) {
      faults.push(`${name}: there is no such weight in the model.`);
    } else if (!fits(found.weight, tensor, found.isPart)) {
      faults.push(
        `${name}: shape ${showShape(tensor.shape)} in the file, ${showShape(found.weight.shape)} in the model.`,
      );
    } else if (!missing.delete(found.weight)) {
      faults.push(`${name}: the file has this weight twice.`);
    } else {
      replaceValue(found.weight, tf.reshape(tensor, found.weight.shape as number[]));
    }
  }
  return [...faults, ...[...missing].map(({originalName}) => `${originalName}: not in the file.`)];
}

/** Kernels of attention have an axis for the heads in the file, and here those of `SeparableConv1D` one for a row. */
function fits({shape}: tf.LayerVariable, tensor: tf.Tensor, isPart: boolean): boolean {
  return isPart
    ? tf.util.sizeFromShape(shape as number[]) === tensor.size
    : tf.util.arraysEqual(shape as number[], tensor.shape);
}

/** A number that Keras 2.13 does not have, which counts each layer twice: `dense`, `dense_2`, `dense_4`. */
const COUNTS_ONCE = /(^|\/)_layer_checkpoint_dependencies\/\w+_\d*[13579]\//;

/**
 * Finds of which layer a weight is, by its name in the file.
 *
 * @param step how far apart Keras 2 numbers two layers of a class.
 */
function placeOf(model: KerasLayer, step: 1 | 2): (name: string) => Placed | undefined {
  /** `.keras` files count the layers of a class: `layers/functional/layers/dense_1/vars/0`. */
  const placeByClass: PlaceIn = ([folder, token, ...rest], outer, around) => {
    if (!/^(layers|_layer_checkpoint_dependencies)$/.test(folder ?? '') || token === undefined) {
      return undefined;
    }
    const {base, index} = counted(token);
    const alike = (outer.layers ?? []).filter(({className}) => snakeCase(className) === base);
    const layer = alike[index / (folder === 'layers' ? 1 : step)];
    return layer && inside(layer, rest, around, placeByClass);
  };
  return name => {
    const tokens = name.split('/').filter(token => token !== 'vars');
    return (BY_PLACE.test(name) ? placeByClass : placeByName)(tokens, model, []);
  };
}

/** Finds of which layer in a model a weight is, by the rest of its name; `around` are the models around that. */
type PlaceIn = (tokens: readonly string[], model: KerasLayer, around: readonly string[]) => Placed | undefined;

/** `.h5` files have the names of layers, with those of models around them or without. */
function placeByName(tokens: readonly string[], model: KerasLayer, around: readonly string[]): Placed | undefined {
  for (const [i, token] of tokens.entries()) {
    const found = named(token, model, around);
    const leaf = found.find(({layer}) => layer.layers === undefined);
    if (leaf !== undefined) {
      return found.length > 1 ? undefined : inside(leaf.layer, tokens.slice(i + 1), leaf.around, placeByName);
    }
    const [only] = found;
    if (only !== undefined) {
      return placeByName(tokens.slice(i + 1), only.layer, [...only.around, only.layer.name]);
    }
    if (i > 0 || token !== model.name) {
      return undefined;
    }
  }
  return undefined;
}

/** The layers of a name, in a model and in those inside of it. */
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
  rest: readonly string[],
  around: readonly string[],
  placeIn: PlaceIn,
): Placed | undefined {
  const path = [...around, layer.name];
  const [key] = rest.slice(-1);
  if (layer.layers !== undefined) {
    return placeIn(rest, layer, path);
  }
  return key === undefined ? undefined : {path, className: layer.className, parts: rest.slice(0, -1), key};
}

/** What `.keras` files call something: its class, and how many of that came before. */
function counted(token: string): {base: string; index: number} {
  const [, base = '', number = '0'] = /^(.*?)(?:_(\d+))?$/.exec(token) as RegExpExecArray;
  return {base, index: Number(number)};
}

/** The name of a class as Keras makes it a folder: `DepthwiseConv2D`, `depthwise_conv2d`. */
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
  const part = isAttention ? projectionOf(parts[0] ?? '') : undefined;
  if (isAttention && part === undefined) {
    return undefined;
  }
  const names = part === undefined ? path : [...path.slice(0, -1), partName(path.at(-1) ?? '', part)];
  const layer = names.reduce<tf.layers.Layer | undefined>(
    (outer, name) => outer && childrenOf(outer)?.find(child => child.name === name),
    model,
  );
  const isCounted = /^\d+$/.test(key);
  const weights = layer && weightsOf(layer, parts, isCounted);
  const weight = isCounted
    ? weights?.[Number(key)]
    : weights?.find(({originalName}) => [key, `depthwise_${key}`].includes(originalName.split('/').at(-1) ?? ''));
  return weight && {weight, isPart: isAttention || className === 'SeparableConv1D'};
}

/** The weights of a layer, of one direction of it, or of one cell of a stack, which files name or count by class. */
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
  // Keras 3 has a backward layer that was given under a name of its own.
  return ((parts[0]?.startsWith('forward') ? forwardLayer : backwardLayer) ?? layer).weights;
}
