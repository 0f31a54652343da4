import type * as tf from '@tensorflow/tfjs';
import {notAdaptedError, unsupportedError} from '../../platform/errors';
import {wrapperKind} from '../layers/layerMarks';
import {isContainer} from '../../platform/tfjs/checkModel';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {InnerLayers, LayerCall, ModelFields} from '../../platform/tfjs/layerFields';

/** A layer of a model, other than a container. The layers in a container are separate sites. */
export interface Site {
  /** The names of containers and layer, joined by `/`, without the model's own and those of a {@link Group}. */
  path: string;
  layer: tf.layers.Layer;
  /** The layers around it, from the outside in, without the model itself. */
  ancestors: readonly tf.layers.Layer[];
}

/** A container that only groups layers: paths omit its name. */
export interface Group {
  readonly isGroup: true;
}

/** The layers inside a layer that is a model or a `TimeDistributed`; `undefined` for every other layer. */
export function childrenOf(layer: tf.layers.Layer): readonly tf.layers.Layer[] | undefined {
  if (isContainer(layer)) {
    return layer.layers;
  }
  return layer.getClassName() === 'TimeDistributed' ? [fieldsOf<Required<InnerLayers>>(layer).layer] : undefined;
}

/**
 * All layers of a model, each once, in order, nested ones in the place of their container.
 *
 * @throws LoRAError if a layer with weights sits in two containers: rebuilt, it would be two layers. One without
 *     weights, such as the `InputLayer` of a nested model that is called on its own input, may become two.
 */
export function sitesOf(model: tf.LayersModel): Site[] {
  const sites: Site[] = [];
  const paths = new Map<tf.layers.Layer, string>();
  const visit = (layer: tf.layers.Layer, ancestors: readonly tf.layers.Layer[]) => {
    const path = [...ancestors, layer]
      .filter(around => (around as Partial<Group>).isGroup !== true)
      .map(({name}) => name)
      .join('/');
    const seen = paths.get(layer);
    const children = childrenOf(layer);
    if (seen !== undefined && children === undefined) {
      if (layer.weights.length === 0 && !layer.stateful) {
        return;
      }
      throw unsupportedError(
        `Layer "${layer.name}" is in the model twice, as "${seen}" and as "${path}". Rebuilt, it would become ` +
          'two layers that are no longer tied. Keep a shared layer in one container.',
      );
    }
    paths.set(layer, path);
    if (children === undefined) {
      sites.push({path, layer, ancestors});
    } else {
      children.forEach(child => visit(child, [...ancestors, layer]));
    }
  };
  model.layers.forEach(layer => visit(layer, []));
  return sites;
}

/** The layers of a model that are not containers, each once. */
export function innermostLayers(model: tf.layers.Layer): Set<tf.layers.Layer> {
  const children = childrenOf(model);
  return children === undefined ? new Set([model]) : new Set(children.flatMap(child => [...innermostLayers(child)]));
}

export function containersOf(model: tf.LayersModel): [path: string, container: tf.layers.Layer][] {
  const visited: [string, tf.layers.Layer][] = [['', model]];
  const visit = (layer: tf.layers.Layer, prefix: string) => {
    const children = childrenOf(layer);
    if (children !== undefined) {
      visited.push([prefix + layer.name, layer]);
      children.forEach(child => visit(child, `${prefix}${layer.name}/`));
    }
  };
  model.layers.forEach(layer => visit(layer, ''));
  return visited;
}

/** The calls in a model, ordered so that each comes after those that it depends on. */
export function callsOf(model: tf.LayersModel): LayerCall[] {
  if (!model.built) {
    model.countParams(); // a Sequential lays out its graph when it is first used
  }
  const {nodesByDepth} = fieldsOf<ModelFields>(model);
  return Object.keys(nodesByDepth)
    .sort((one, other) => Number(other) - Number(one))
    .flatMap(depth => nodesByDepth[depth] ?? [])
    .filter(({outboundLayer}) => outboundLayer.getClassName() !== 'InputLayer');
}

/** Refuses a model that is adapted already, and names layers that have an update, or at least train. */
export function checkNotAdapted(sites: readonly Site[]): void {
  const wrapped = sites.filter(({layer}) => wrapperKind(layer) !== undefined);
  if (wrapped.length > 0) {
    const updated = wrapped.filter(({layer}) => wrapperKind(layer) === 'lora');
    const training = wrapped.filter(({layer}) => wrapperKind(layer) !== 'frozen');
    const paths = [updated, training, wrapped].find(({length}) => length > 0)?.map(({path}) => path) ?? [];
    throw notAdaptedError(
      `The model is adapted already (${paths.slice(0, 3).join(', ')}${paths.length > 3 ? ', …' : ''}). First ` +
        'remove the adapter with removeLoRA, or merge it with mergeLoRA.',
    );
  }
}
