import * as tf from '@tensorflow/tfjs';
import {baseOf} from '../layers/layerMarks';
import {childrenOf} from '../rewire/walk';
import {isContainer} from '../../platform/tfjs/checkModel';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ActivationObject, InnerLayers} from '../../platform/tfjs/layerFields';

/** The activation in which an output ends, and its layer. */
export interface OutputActivation {
  layer: string;
  activation: string;
}

/** Layers that are activations by themselves. `GraphOp` of `tfjs-lora/graph` computes some of TensorFlow's. */
const ACTIVATIONS = new Set([
  ...['ELU', 'Gelu', 'LeakyReLU', 'PReLU', 'QuickGelu', 'ReLU', 'Softmax', 'ThresholdedReLU'],
  ...['Elu', 'LeakyRelu', 'Prelu', 'Relu', 'Relu6', 'Selu', 'Sigmoid', 'Softplus', 'Softsign', 'Tanh'],
  ...['_FusedHardSwish', '_FusedSwish', 'relu', 'softmax'],
]);

/** Layers that give the values of their first input, in another shape or order, or that do nothing in prediction. */
const ARRANGING = new Set([
  ...[
    'AlphaDropout',
    'Cropping2D',
    'Dropout',
    'Flatten',
    'GaussianDropout',
    'GaussianNoise',
    'Permute',
    'RepeatVector',
  ],
  ...['Reshape', 'SpatialDropout1D', 'UpSampling2D'],
  ...['Cast', 'ExpandDims', 'Identity', 'Squeeze', 'Transpose'],
]);

/** Layers whose values are those of their inputs, or lie between them. */
const JOINING = new Set(['Average', 'Concatenate', 'Maximum', 'Minimum']);

/**
 * Names of the activations after which values are still logits. A log-softmax changes nothing in a softmax of it:
 * `softmax(log softmax(z)) = softmax(z)`.
 */
const HARMLESS = new Set(['linear', 'logSoftmax']);

/**
 * Finds the activation in which an output ends, in wrappers and nested models too; `undefined` if it is linear, or a
 * log-softmax.
 */
export function outputActivation(output: tf.SymbolicTensor): OutputActivation | undefined {
  const {inputs, tensorIndex} = output;
  let layer = baseOf(output.sourceLayer);
  while (layer.getClassName() === 'TimeDistributed') {
    layer = baseOf(childrenOf(layer)?.[0] as tf.layers.Layer);
  }
  if (isContainer(layer)) {
    const inner = layer.outputs[tensorIndex];
    return inner && outputActivation(inner);
  }
  const {cell, forwardLayer, activation} = fieldsOf<InnerLayers & {activation?: Partial<ActivationObject>}>(layer);
  const inside = cell ?? (forwardLayer && fieldsOf<InnerLayers>(forwardLayer).cell);
  const name = (
    inside ? fieldsOf<{activation?: Partial<ActivationObject>}>(inside).activation : activation
  )?.getClassName?.();
  if (name !== undefined && !HARMLESS.has(name)) {
    return {layer: layer.name, activation: name};
  }
  const computes = operationOf(layer);
  if (ACTIVATIONS.has(computes)) {
    return {layer: layer.name, activation: computes};
  }
  const [first] = inputs;
  if (first !== undefined && (ARRANGING.has(computes) || computes === 'Activation')) {
    return outputActivation(first);
  }
  const ends = JOINING.has(computes) ? inputs.map(outputActivation) : [];
  return ends.every(end => end !== undefined) ? ends[0] : undefined;
}

/** What a layer computes: its class without the library's prefix, or the operation of a layer that has several. */
function operationOf(layer: tf.layers.Layer): string {
  const className = layer.getClassName().replace(/^.*>/, '');
  if (className === 'GraphOp') {
    const {fragment} = layer.getConfig() as {fragment: {name: string}};
    return (JSON.parse(fragment.name) as {node: {op: string}}).node.op;
  }
  return className === 'KerasLayer' ? (layer.getConfig() as {computes: string}).computes : className;
}
