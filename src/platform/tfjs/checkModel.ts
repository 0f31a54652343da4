import * as tf from '@tensorflow/tfjs';
import {disposedError, kindOf, LoRAError, misfitError, unsupportedError} from '../errors';
import {isLayerOfOtherCopy, isGraphModel, OTHER_COPY} from './copies';
import {fieldsOf} from './fields';
import type {ModelFields} from './layerFields';
import {isDisposed} from './weights';

export function isContainer(layer: tf.layers.Layer): layer is tf.LayersModel {
  return Array.isArray(fieldsOf<Partial<ModelFields>>(layer).layers) && 'inputLayers' in layer;
}

/** @throws LoRAError if it is not a layers model, or was disposed. */
export function checkModel(model: unknown): asserts model is tf.LayersModel {
  if (isGraphModel(model)) {
    throw unsupportedError(
      'A tf.GraphModel is a fixed graph without layers, which tfjs cannot train. Convert it first: import ' +
        "{fromGraphModel} from 'tfjs-lora/graph'; then adapt what `await fromGraphModel(graph)` returns. " +
        'toGraphModel turns the merged model back into a graph.',
    );
  }
  if (isLayerOfOtherCopy(model)) {
    throw misfitError(`The model is ${OTHER_COPY}`);
  }
  if (!(model instanceof tf.layers.Layer) || !isContainer(model)) {
    throw new LoRAError(
      `The model must be a tf.LayersModel, such as tf.loadLayersModel and tf.sequential return, got ${kindOf(model)}.`,
    );
  }
  if (model.weights.some(isDisposed)) {
    throw disposedError('The model was disposed: its weights are no longer there. Load or build it again.');
  }
}
