import * as tf from '@tensorflow/tfjs';
import {listed, unsupportedError} from '../../platform/errors';
import {baseOf} from '../layers/layerMarks';
import {isWrapper, ORIGINAL} from '../layers/wrapperLayer';
import {carryFields, cloneConfig, isRegistered, type LayerEntry, completedEntry} from '../../platform/tfjs/configs';
import {keepingNames} from '../../platform/tfjs/keepingNames';
import {withoutResidue} from '../../platform/tfjs/engine';
import {withoutInitializers} from '../../platform/tfjs/weightLimit';
import {childrenOf, type Site, sitesOf} from './walk';
import {isContainer} from '../../platform/tfjs/checkModel';

/** How `rewire` treats each layer that holds no others. */
interface Rewiring {
  replace: (site: Site, entry: LayerEntry) => LayerEntry;
  /** Gives the new layer its weights. */
  transfer: (site: Site, replacement: tf.layers.Layer) => void;
}

/**
 * Rebuilds a model with other layers in place of its own: same graph, same names, including nested models, shared
 * layers and `TimeDistributed`. The model is not changed.
 *
 * tfjs has no way to clone a model. This one goes through configs, as saving and loading does, and pairs old and new
 * layers by their place in the graph, since names may recur in nested models. Flags and metadata of containers are not
 * carried over.
 *
 * @throws LoRAError if a layer cannot be rebuilt from its config. Then nothing is left behind.
 */
export function rewire(model: tf.LayersModel, {replace, transfer}: Rewiring): tf.LayersModel {
  const sites = new Map(sitesOf(model).map(site => [site.layer, site]));
  const resized = new Set<tf.layers.Layer>();
  const config = rewriteContainer(model, (layer, entry) => {
    const site = sites.get(layer);
    const replaced = site === undefined ? entry : replace(site, entry);
    if (replaced.className === entry.className && replaced.config !== entry.config) {
      resized.add(layer);
    }
    return replaced;
  });
  return withoutResidue(() => {
    const rebuilt = withoutInitializers(
      model.weights,
      (layer, name) => !isWrapper(layer) || name.startsWith(ORIGINAL),
      () => rebuild(model, config),
    );
    forEachPair(model, rebuilt, (layer, replacement) => {
      const site = sites.get(layer);
      if (site !== undefined) {
        if (!resized.has(layer)) {
          completeCopy(site, replacement);
        }
        transfer(site, replacement);
      }
    });
    warnOfDuplicates(rebuilt);
    return rebuilt;
  });
}

function rewriteContainer(
  model: tf.LayersModel,
  rewrite: (layer: tf.layers.Layer, entry: LayerEntry) => LayerEntry,
): tf.serialization.ConfigDict {
  const config = cloneConfig(model.getConfig());
  const entries = config.layers as unknown as LayerEntry[];
  const layers = model.layers.map((layer, i) => {
    const entry = entries[i];
    if (entry === undefined) {
      throw unsupportedError(`The config of model "${model.name}" does not list its layer "${layer.name}".`);
    }
    return {
      ...entry,
      ...rewriteLayer(layer, {className: entry.className, config: entry.config}, rewrite),
    };
  });
  return {...config, layers: layers};
}

function rewriteLayer(
  layer: tf.layers.Layer,
  entry: LayerEntry,
  rewrite: (layer: tf.layers.Layer, entry: LayerEntry) => LayerEntry,
): LayerEntry {
  if (isContainer(layer)) {
    return {className: entry.className, config: rewriteContainer(layer, rewrite)};
  }
  const [inner] = childrenOf(layer) ?? [];
  if (inner === undefined) {
    return rewrite(layer, completedEntry(layer, entry));
  }
  const innerEntry = rewriteLayer(inner, entry.config.layer as unknown as LayerEntry, rewrite);
  return {className: entry.className, config: {...entry.config, layer: {...innerEntry}}};
}

function rebuild(model: tf.LayersModel, config: tf.serialization.ConfigDict): tf.LayersModel {
  checkRegistered(config.layers as unknown as LayerEntry[]);
  const className = model.getClassName();
  const registered = tf.serialization.SerializationMap.getMap().classNameMap[className];
  if (registered === undefined) {
    throw unsupportedError(`The model is of class ${className}, which is not registered with tf.serialization.`);
  }
  const [modelClass, fromConfig] = registered;
  // The last argument skips the initialisers, whose values are replaced anyway. tfjs declares it on containers alone.
  const build = fromConfig as (...args: unknown[]) => tf.serialization.Serializable;
  return keepingNames(() => build(modelClass, config, {}, true)) as tf.LayersModel;
}

/** Refuses classes that tfjs would not know, with every such layer in one message. */
function checkRegistered(entries: readonly LayerEntry[]): void {
  const unknown = new Set<string>();
  const visit = (entry: LayerEntry) => {
    if (!isRegistered(entry.className)) {
      unknown.add(`Layer "${entry.config.name as string}" is of class ${entry.className}, which is not registered.`);
    }
    const {layers, layer} = entry.config as {layers?: LayerEntry[]; layer?: LayerEntry};
    layers?.forEach(visit);
    if (layer !== undefined) {
      visit(layer);
    }
  };
  entries.forEach(visit);
  if (unknown.size > 0) {
    throw unsupportedError([...unknown, 'Register it with tf.serialization.registerClass first.'].join('\n'));
  }
}

/** Visits the layers of two models of the same form in pairs. The graph gives both the same order. */
function forEachPair(
  old: tf.layers.Layer,
  rebuilt: tf.layers.Layer,
  visit: (old: tf.layers.Layer, rebuilt: tf.layers.Layer) => void,
): void {
  const children = childrenOf(old);
  if (children === undefined) {
    visit(old, rebuilt);
    return;
  }
  const counterparts = childrenOf(rebuilt) ?? [];
  if (counterparts.length !== children.length) {
    throw unsupportedError(
      `"${old.name}" has ${counterparts.length} layers instead of ${children.length} when it is rebuilt from its ` +
        'config.',
    );
  }
  children.forEach((child, i) => forEachPair(child, counterparts[i] as tf.layers.Layer, visit));
}

/** What the warnings about incomplete configs have said, once for each class. */
const warned = new Set<string>();

/** Gives a rebuilt custom layer what its class leaves out of its config. */
function completeCopy({path, layer}: Site, replacement: tf.layers.Layer): void {
  const base = baseOf(layer);
  const className = base.getClassName();
  if (baseOf(replacement).getClassName() !== className) {
    return;
  }
  const fields = carryFields(base, baseOf(replacement));
  const warning =
    `Layer "${path}" (${className}) has state that its getConfig() does not return: ${listed(fields)}. It is kept ` +
    'now, but a saved model, plain or adapted, would lose it. Return it from getConfig(), and accept it in the ' +
    'constructor.';
  const about = `${className}: ${fields.join(', ')}`;
  if (fields.length > 0 && !warned.has(about)) {
    warned.add(about);
    console.warn(warning);
  }
}

function warnOfDuplicates(model: tf.LayersModel): void {
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const {originalName} of model.weights) {
    (seen.has(originalName) ? twice : seen).add(originalName);
  }
  if (twice.size > 0) {
    console.warn(
      `Several weights of the model have the name ${listed([...twice])}. The model trains, and its adapter ` +
        'can be saved, but tfjs cannot load a file of the whole model. Give the layers of nested models ' +
        'different names, and build layers inside your own layer with apply.',
    );
  }
}
