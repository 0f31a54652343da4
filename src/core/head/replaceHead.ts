import * as tf from '@tensorflow/tfjs';
import type {Adapter, HeadConfig} from '../adapter/adapter';
import {describeHead, sameHead} from '../adapter/headConfig';
import {
  checkCount,
  checkOptions,
  listed,
  kindOf,
  LoRAError,
  misfitError,
  showShape,
  unsupportedError,
} from '../../platform/errors';
import {isWrapper} from '../layers/wrapperLayer';
import {disposeModel} from '../rewire/dispose';
import {carryMetadata} from '../rewire/record';
import {rewire} from '../rewire/rewire';
import {containersOf, sitesOf} from '../rewire/walk';
import {differingFields, entryOf, type LayerEntry, layerFromEntry} from '../../platform/tfjs/configs';
import {isLayerOfOtherCopy, OTHER_COPY} from '../../platform/tfjs/copies';
import {withoutResidue} from '../../platform/tfjs/engine';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {LayerInternals} from '../../platform/tfjs/layerFields';
import {withWeightLimit} from '../../platform/tfjs/weightLimit';
import {shareWeights} from '../../platform/tfjs/weights';
import {callBeforeHead, checkBody, defaultPlace, headOf, leadingTo, markHead} from './headPlace';
import {checkOutput, foreignLayer, weightLimitFor} from './foreignHead';

/** Where a new head goes. */
export interface ReplaceHeadOptions {
  /**
   * Name of the last layer to keep. Default: the one before the last layer that has weights, and before the Dense
   * layers in front of it that are narrower than their inputs.
   */
  after?: string;
}

/**
 * Puts new layers on a pretrained body: builds a new functional model of everything up to the layer `after`, followed
 * by the given layers in order. Later layers are dropped, and so are inputs that only they used. The original is not
 * changed, and the body shares its buffers.
 *
 * After `applyLoRA`, the new layers train in full without being named. The adapter carries their configs, their weights
 * and where they attach: `applyLoRA(base, adapter)` on the plain base builds the whole model again. `mergeLoRA` returns
 * the plain model with the trained head, `removeLoRA` the one with the head as it was before.
 *
 * Without `after`, the old head is the last layer that has weights, and everything after it. Dense layers just before
 * it belong to it if they are narrower than their inputs (for a flattened map, than its channels), because they keep
 * only what the old classes need. `planLoRA` says where the new head went, and why. This suits classifiers; for a model
 * without a head, name its last layer.
 *
 * @param model any `tf.LayersModel` with one output that is not adapted; it may have several inputs, nested models and
 * shared layers.
 * @param layers new layers of tfjs, or of registered classes. They are re-created from their configs; built ones keep
 *     their weights. A number of classes means one Dense layer with softmax, `classes`.
 * @param options where the body ends: `after`.
 * @returns a new model, which shares the body with the original.
 * @throws LoRAError `ERR_OPTION` if `layers` are no layers, `ERR_MISFIT` if there is no such place, a name is taken or
 *     the layers do not fit, `ERR_UNSUPPORTED` if a layer cannot be part of a head. Then nothing is left behind.
 * @example
 *     const model = applyLoRA(replaceHead(base, 5), {rank: 8}); // five classes
 */
export function replaceHead(
  model: tf.LayersModel,
  layers: readonly tf.layers.Layer[] | number,
  options: ReplaceHeadOptions = {},
): tf.LayersModel {
  checkOptions(options, {after: true});
  const {after} = options;
  if (typeof layers === 'number') {
    checkCount('The number of classes', layers);
    return replaceHead(model, [tf.layers.dense({units: layers, activation: 'softmax', name: 'classes'})], options);
  }
  checkLayers(layers);
  checkBody(model);
  const place =
    after === undefined ? defaultPlace(model) : {after, reason: `The new head goes after "${after}", which was named.`};
  const entries = layers.map(entryOf);
  checkLayout(model, place.after, entries);
  const head = {at: place.after, layers: entries};
  const built = attach(model, head, (entry, input, i) => applied(layerFromEntry(entry), input, layers[i]));
  markHead(built, continued(headOf(model), head), place);
  return built;
}

/**
 * The model with the adapter's head: the model itself if it has that head already or the adapter has none; otherwise a
 * new model, which the caller disposes.
 *
 * @throws LoRAError if the model has another head, or the adapter's does not fit it.
 */
export function withHead(model: tf.LayersModel, {config: {head}, tensors}: Adapter): tf.LayersModel {
  const currentHead = headOf(model);
  if (sameHead(currentHead, head)) {
    return model;
  }
  if (currentHead !== undefined || head === undefined) {
    throw misfitError(
      `The adapter does not fit this model: it has ${describeHead(head)}, and the model ${describeHead(currentHead)}. ` +
        'Apply it to the base that it was made for.',
    );
  }
  checkBody(model);
  const limit = weightLimitFor(tensors);
  return attach(model, head, (entry, input) => {
    const layer = foreignLayer(entry);
    const output = withWeightLimit(limit, () => applied(layer, input));
    checkOutput(titleOf(layer), output, input);
    return output;
  });
}

/** A head on part of a former one: both are new to the base. */
function continued(former: HeadConfig | undefined, head: HeadConfig): HeadConfig {
  const cutAt = former?.layers.findIndex(({config}) => config.name === head.at) ?? -1;
  return former === undefined || cutAt < 0
    ? head
    : {at: former.at, layers: [...former.layers.slice(0, cutAt + 1), ...head.layers]};
}

/**
 * Refuses channels-last layers after one that moves the channels to the front, as in ONNX files from PyTorch: they
 * would run over the wrong axes.
 */
function checkLayout(model: tf.LayersModel, at: string, entries: readonly LayerEntry[]): void {
  const {outboundLayer, inputTensors} = callBeforeHead(model, at);
  const dims = outboundLayer.getClassName() === 'Permute' ? (outboundLayer.getConfig().dims as number[]).join() : '';
  const first = entries.find(({className}) => /^Permute$|[123]D$/.test(className));
  const before = inputTensors[0]?.sourceLayer;
  // Sequences are often permuted on purpose, but not right after a layer that takes their channels last.
  const isFirst =
    /^(?:3,1,2|4,1,2,3)$/.test(dims) || (dims === '2,1' && /1D$|GraphOp$/.test(before?.getClassName() ?? ''));
  if (!isFirst || first === undefined || !first.className.endsWith('D')) {
    return;
  }
  if (first.config.dataFormat !== 'channelsFirst') {
    throw misfitError(
      `Layer "${at}" gives ${dims === '2,1' ? 'sequences' : 'images'} with channels first, but the new ` +
        `${first.className} expects channels last. Put the head after the layer before it, {after: ` +
        `'${before?.name ?? at}'}, or start it with tf.layers.permute({dims: ` +
        `[${dims === '2,1' ? '2, 1' : dims.length > 5 ? '2, 3, 4, 1' : '2, 3, 1'}]}).`,
    );
  }
}

function checkLayers(layers: readonly tf.layers.Layer[]): void {
  if (!Array.isArray(layers) || layers.length === 0) {
    throw new LoRAError(
      'The new head must be a number of classes, or a list of layers such as [tf.layers.dense({units: 5})], got ' +
        `${Array.isArray(layers) ? 'an empty list' : kindOf(layers)}.`,
    );
  }
  const layerList: readonly unknown[] = layers;
  if (layerList.some(isLayerOfOtherCopy)) {
    throw misfitError(`A layer of the new head is ${OTHER_COPY}`);
  }
  const strangers = layerList.filter(layer => !(layer instanceof tf.layers.Layer));
  if (strangers.length > 0) {
    throw new LoRAError(
      `layers must be a list of layers, such as tf.layers.dense({units: 5}), got ${kindOf(strangers[0])}.`,
    );
  }
}

/**
 * The body of a model up to a layer, and a head after it.
 *
 * @param apply makes a layer of the head and applies it to what comes before it.
 */
function attach(
  model: tf.LayersModel,
  {at, layers}: HeadConfig,
  apply: (entry: LayerEntry, input: tf.SymbolicTensor, i: number) => tf.SymbolicTensor,
): tf.LayersModel {
  callBeforeHead(model, at);
  return withoutResidue(() => {
    const modelCopy = copyOf(model);
    let [tensor] = callBeforeHead(modelCopy, at).outputTensors as [tf.SymbolicTensor];
    const body = leadingTo(modelCopy, tensor);
    const taken = new Set(body.layers.map(({name}) => name));
    layers.forEach((entry, i) => {
      checkName(entry, taken);
      tensor = apply(entry, tensor, i);
    });
    const built = tf.model({inputs: body.inputs, outputs: tensor, name: model.name});
    carryStructure(model, built);
    const headLayers = new Set(sitesOf(built).map(({layer}) => layer));
    for (const {layer} of sitesOf(modelCopy)) {
      if (!headLayers.has(layer)) {
        disposeModel(layer);
      }
    }
    return built;
  });
}

function copyOf(model: tf.LayersModel): tf.LayersModel {
  return rewire(model, {
    replace: (_, entry) => entry,
    transfer: ({layer}, copy) => {
      shareWeights(layer, copy);
      if (!copy.trainable) {
        copy.trainable = false; // tells its variables, which a custom training loop reads
      }
    },
  });
}

/** Refuses a name that is taken, and reserves it. */
function checkName({className, config}: LayerEntry, taken: Set<string>): void {
  const name = config.name as string;
  if (taken.has(name)) {
    throw misfitError(
      `A layer "${name}" is in the model already. Give the new ${className} another name: {name: '${name}_new'}.`,
    );
  }
  taken.add(name);
}

/**
 * The output of a new layer of a head.
 *
 * @param original the layer that it is re-created from, if any.
 */
function applied(layer: tf.layers.Layer, input: tf.SymbolicTensor, original?: tf.layers.Layer): tf.SymbolicTensor {
  const named = titleOf(layer);
  if (isWrapper(layer)) {
    throw unsupportedError(`${named} is not a plain layer. A new head consists of plain layers, and trains in full.`);
  }
  if (original?.built === false) {
    checkCopy(named, original, layer);
    fieldsOf<LayerInternals>(layer).initialWeights = fieldsOf<LayerInternals>(original).initialWeights;
  }
  let output: tf.SymbolicTensor | tf.SymbolicTensor[];
  try {
    output = layer.apply(input) as tf.SymbolicTensor | tf.SymbolicTensor[];
  } catch (error) {
    throw misfitError(
      `${named} cannot follow an output of shape ${showShape(input.shape)}: ${(error as Error).message}`,
      {cause: error},
    );
  }
  if (Array.isArray(output)) {
    throw unsupportedError(`${named} has ${output.length} outputs. The layers of a head have one.`);
  }
  if (original?.built === true) {
    checkCopy(named, original, layer);
    shareWeights(original, layer);
  }
  return output;
}

function titleOf(layer: tf.layers.Layer): string {
  return `The new layer "${layer.name}" (${layer.getClassName()})`;
}

function checkCopy(named: string, original: tf.layers.Layer, copy: tf.layers.Layer): void {
  const fields = differingFields(original, copy);
  if (fields.length > 0) {
    throw unsupportedError(
      `${named} changes when it is re-created from its config: ${listed(fields)}. Its class must return these from ` +
        'getConfig().',
    );
  }
}

function carryStructure(model: tf.LayersModel, built: tf.LayersModel): void {
  carryMetadata(model, built);
  const originals = new Map(containersOf(model));
  for (const [path, container] of containersOf(built)) {
    if (path !== '' && originals.get(path)?.trainable === false) {
      container.trainable = false;
    }
  }
}
