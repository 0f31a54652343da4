import * as tf from '@tensorflow/tfjs';
import {misfitError} from '../../platform/errors';
import {isInHead, newLayersOf} from '../head/headPlace';
import {trains} from '../layers/layerMarks';
import {recordOf} from '../rewire/record';
import {callsOf, childrenOf, type Site, sitesOf} from '../rewire/walk';
import {isContainer} from '../../platform/tfjs/checkModel';
import type {LayerCall} from '../../platform/tfjs/layerFields';
import {adaptedSites} from './adapted';

/** A model in two pieces that share its layers: training a piece trains the model. */
export interface Split {
  /** From the model's inputs to the features. Nothing in it depends on trainable weights. */
  prefix: tf.LayersModel;
  /** From the features to the model's outputs: all adapted layers, and those that train. */
  suffix: tf.LayersModel;
}

interface PlacedTensor {
  piece: 'prefix' | 'suffix';
  tensor: tf.SymbolicTensor;
}

/** Splitting adds nodes to the layers, so a model is split once. */
const splits = new WeakMap<tf.LayersModel, Split>();
const headSplits = new WeakMap<tf.LayersModel, Split>();

/**
 * Splits an adapted model before the first layer that trains, in each branch of the graph, inside nested models too.
 *
 * The prefix gives the same features in every epoch, so it need run only once: see {@link fitOnFeatures}. Both pieces
 * consist of the model's own layers. Dispose the model, not the pieces.
 *
 * @param model an adapted model.
 * @returns the two pieces: what runs before the first layer that trains, and the rest.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_MISFIT` if nothing comes before the first
 *     adapted layer.
 */
export function splitAtFirstAdapter(model: tf.LayersModel): Split {
  const cachedSplit = splits.get(model);
  if (cachedSplit !== undefined) {
    return cachedSplit;
  }
  adaptedSites(model);
  const split = new Splitter(trains).split(model);
  splits.set(model, split);
  return split;
}

/**
 * Splits the suffix of a model again, before its new head: the one that `replaceHead` added, or that was random when a
 * transformer was loaded. If nothing before the head trains, there is no prefix.
 *
 * @throws LoRAError `ERR_MISFIT` if the model has no new head that trains.
 */
export function splitAtHead(model: tf.LayersModel): Partial<Split> & Pick<Split, 'suffix'> {
  const {suffix} = splitAtFirstAdapter(model);
  const [{head}, fresh] = [recordOf(model), newLayersOf(model)];
  const isNew = (site: Site) => isInHead(head, site) || fresh.has(site.path);
  const [layers, trainedBefore] = [true, false].map(wanted =>
    sitesOf(model).flatMap(site => (trains(site.layer) && isNew(site) === wanted ? [site.layer] : [])),
  ) as [tf.layers.Layer[], tf.layers.Layer[]];
  if (layers.length === 0) {
    throw misfitError(
      'headFirst needs a new head that trains, and the model has none. Put one on the base with ' +
        'replaceHead(base, classes) before applyLoRA, or leave headFirst out.',
    );
  }
  if (trainedBefore.length === 0) {
    return {suffix};
  }
  const split = headSplits.get(model) ?? new Splitter(layer => layers.includes(layer)).split(suffix);
  headSplits.set(model, split);
  return split;
}

class Splitter {
  /** Where the suffix takes over a tensor of the prefix, and the tensor that replaces it there. */
  private readonly cuts = new Map<tf.SymbolicTensor, tf.SymbolicTensor>();
  private prefixLayers = 0;

  /** @param begins whether the suffix begins with a layer that contains no others. */
  constructor(private readonly begins: (layer: tf.layers.Layer) => boolean) {}

  split(model: tf.LayersModel): Split {
    const inputs = model.inputs.map(like);
    const outputs = this.replay(
      model,
      inputs.map(tensor => ({piece: 'prefix', tensor})),
    );
    if (this.prefixLayers === 0) {
      throw misfitError(
        'The first layer of the model is adapted, so there are no layers before it to compute once. Train with fit.',
      );
    }
    const results = outputs.map(output => this.inSuffix(output));
    const prefix = tf.model({inputs, outputs: [...this.cuts.keys()], name: `${model.name}_prefix`});
    const suffix = tf.model({inputs: [...this.cuts.values()], outputs: results, name: `${model.name}_suffix`});
    suffix.outputNames = [...model.outputNames]; // losses, metrics, class weights and logs use these names
    return {prefix, suffix};
  }

  /** Applies the layers of a model again, each in its piece, and returns the model's outputs. */
  private replay(model: tf.LayersModel, inputs: readonly PlacedTensor[]): PlacedTensor[] {
    const placed = new Map<tf.SymbolicTensor, PlacedTensor>();
    model.inputs.forEach((tensor, i) => {
      const input = inputs[i];
      if (input !== undefined) {
        placed.set(tensor, input);
      }
    });
    for (const node of callsOf(model)) {
      const arguments_ = node.inputTensors.map(tensor => placed.get(tensor)).filter(value => value !== undefined);
      const results = this.call(node, arguments_);
      node.outputTensors.forEach((tensor, i) => {
        const result = results[i];
        if (result !== undefined) {
          placed.set(tensor, result);
        }
      });
    }
    return model.outputs.map(tensor => placed.get(tensor)).filter(value => value !== undefined);
  }

  private call({outboundLayer: layer, callArgs}: LayerCall, inputs: readonly PlacedTensor[]): PlacedTensor[] {
    const early = inputs.every(({piece}) => piece === 'prefix');
    if (isContainer(layer) && early && holds(layer, this.begins)) {
      return this.replay(layer, inputs); // the cut is inside
    }
    const piece = early && !holds(layer, this.begins) ? 'prefix' : 'suffix';
    this.prefixLayers += piece === 'prefix' ? 1 : 0;
    const tensors = piece === 'prefix' ? inputs.map(({tensor}) => tensor) : inputs.map(input => this.inSuffix(input));
    const [only] = tensors;
    const output = layer.apply(tensors.length === 1 && only !== undefined ? only : tensors, callArgs ?? {});
    return [output].flat().map(tensor => ({piece, tensor: tensor as tf.SymbolicTensor}));
  }

  private inSuffix({piece, tensor}: PlacedTensor): tf.SymbolicTensor {
    if (piece === 'suffix') {
      return tensor;
    }
    const input = this.cuts.get(tensor) ?? like(tensor);
    this.cuts.set(tensor, input);
    return input;
  }
}

/** Whether a test is true for a layer, or for one inside it. */
function holds(layer: tf.layers.Layer, test: (layer: tf.layers.Layer) => boolean): boolean {
  return childrenOf(layer)?.some(child => holds(child, test)) ?? test(layer);
}

function like({shape, dtype}: tf.SymbolicTensor): tf.SymbolicTensor {
  return tf.input({batchShape: shape, dtype});
}
