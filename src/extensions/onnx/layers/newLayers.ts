import type * as tf from '@tensorflow/tfjs';
import type {LayerCall} from '../../../platform/tfjs/layerFields';
import type {GraphPlan} from '../../graph/import/values';
import type {GraphWriter, Tensor} from '../write/graphWriter';
import {type Known, writeLayer} from './layers';
import {callsInOrder, MaskFlow} from './masks';

/** The graph that a model was imported from. */
interface Origin {
  plan: GraphPlan;
  /** The value of the graph that a flow of the plan is. */
  valueAt: (key: string, tensor: tf.SymbolicTensor) => Tensor | undefined;
  /** Whether a layer is that of the plan with its name. */
  isPlanned: (layer: tf.layers.Layer, planned: tf.layers.Layer | undefined) => boolean;
  /** Why a new layer cannot be written, although others of its class can. */
  faultOf?: (layer: tf.layers.Layer) => string | undefined;
}

/** Writes the layers of a model that its graph lacks. Returns the values of all tensors, and the new tensors. */
export function writeNewLayers(
  out: GraphWriter,
  model: tf.LayersModel,
  {plan, valueAt, isPlanned, faultOf}: Origin,
): {written: Known; fresh: Set<tf.SymbolicTensor>} {
  const planned = new Map(plan.layers.map(({layer}) => [layer.name, layer]));
  const calls = new Map<string, string[][]>();
  plan.layers.forEach(({layer, outputs}) => calls.set(layer.name, [...(calls.get(layer.name) ?? []), outputs]));
  const written: Known = new Map();
  const fresh = new Set<tf.SymbolicTensor>();
  const take = (tensor: tf.SymbolicTensor, key = '') => {
    const value = valueAt(key, tensor);
    if (value !== undefined) {
      written.set(tensor, value);
    }
  };
  model.inputs.forEach(input => {
    take(input, plan.inputs.find(({name}) => name === input.sourceLayer.name)?.key);
  });
  const flow = new MaskFlow();
  const done = new Set<LayerCall>();
  for (const call of callsInOrder(model)) {
    const {outboundLayer: layer, inputTensors, outputTensors} = call;
    const masked = flow.enter(call);
    if (done.has(call)) {
      continue;
    }
    done.add(call);
    const keys = isPlanned(layer, planned.get(layer.name)) ? calls.get(layer.name)?.shift() : undefined;
    if (keys !== undefined) {
      outputTensors.forEach((tensor, i) => {
        take(tensor, keys[i]);
      });
      continue;
    }
    const inputs = inputTensors.map(input => written.get(input));
    out.layer = layer.name;
    const fault = inputs.includes(undefined) ? 'No node of the file returns its input.' : faultOf?.(layer);
    if (fault !== undefined) {
      out.refuse(fault);
    } else {
      const shapes = outputTensors.map(({shape}) => shape);
      const {outputs, mask} = writeLayer(out, layer, {inputs: inputs as Tensor[], shapes, path: layer.name, ...masked});
      outputTensors.forEach((tensor, i) => written.set(tensor, outputs[i] as Tensor));
      flow.leave(call, mask);
    }
    outputTensors.forEach(tensor => fresh.add(tensor));
  }
  return {written, fresh};
}
