import * as tf from '@tensorflow/tfjs';
import {callsOf, sitesOf} from '../../core/rewire/walk';

/** Whether tfjs may pass its own mask from layer to layer. */
export function hasMasks(model: tf.LayersModel): boolean {
  return sitesOf(model).some(
    ({layer}) => (layer as {maskZero?: boolean}).maskZero === true || layer.getClassName() === 'Masking',
  );
}

/**
 * Returns a function that computes a model by calling its layers one after the other. With one position at a time,
 * tfjs's work around each call takes as long as many layers: it looks up tensors by name, opens scopes, and checks
 * shapes, which are the same for every token.
 */
export function directPass(model: tf.LayersModel): (inputs: readonly tf.Tensor[]) => tf.Tensor {
  if (hasMasks(model)) {
    return inputs => model.apply([...inputs]) as tf.Tensor;
  }
  const calls = callsOf(model).map(({outboundLayer, inputTensors, outputTensors}) => ({
    layer: outboundLayer,
    inputTensors,
    outputTensors,
    /** The tensors that no later layer reads. */
    spent: [] as tf.SymbolicTensor[],
  }));
  const retained = new Set([...model.inputs, ...model.outputs]);
  for (const {inputTensors, spent} of [...calls].reverse()) {
    for (const tensor of inputTensors.filter(input => !retained.has(input))) {
      retained.add(tensor);
      spent.push(tensor);
    }
  }
  return inputs => {
    const values = new Map(model.inputs.map((input, i) => [input, inputs[i] as tf.Tensor]));
    for (const {layer, inputTensors, outputTensors, spent} of calls) {
      const inputsOfModel = inputTensors.map(tensor => values.get(tensor) as tf.Tensor);
      [layer.call(inputsOfModel, {})].flat().forEach((result, i) => {
        // A layer may return its input, which is disposed of separately.
        values.set(outputTensors[i] as tf.SymbolicTensor, inputsOfModel.includes(result) ? tf.clone(result) : result);
      });
      spent.forEach(tensor => values.get(tensor)?.dispose());
    }
    return values.get(model.outputs[0] as tf.SymbolicTensor) as tf.Tensor;
  };
}
