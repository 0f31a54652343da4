import type * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../errors';
import {partsOf} from '../import/graphDef';
import {nodesOf} from '../../rewire/walk';
import type {GraphRewrite, NewEnd} from './graphRewrite';
import {nodesOfLayer} from './headNodes';
import type {GraphPlan} from '../import/values';

/**
 * Writes the layers of a model that are not of its graph as nodes.
 *
 * @returns the outputs of the model, if any of them is new; else an empty list.
 * @throws LoRAError if a layer cannot be written, or is put on something that no node gives.
 */
export function writeHead(model: tf.LayersModel, plan: GraphPlan, rewrite: GraphRewrite): NewEnd[] {
  const calls = new Map<string, string[][]>();
  for (const {layer, outputs} of plan.layers) {
    calls.set(layer.name, [...(calls.get(layer.name) ?? []), outputs]);
  }
  // What a symbolic tensor is in the graph, and for a new layer, what of the graph it is put on.
  const names = new Map<tf.SymbolicTensor, string | undefined>();
  const behind = new Map<tf.SymbolicTensor, string>();
  model.inputs.forEach(input => {
    const planned = plan.inputs.find(({name}) => name === input.sourceLayer.name);
    names.set(input, planned?.node);
  });
  for (const {outboundLayer: layer, inputTensors, outputTensors} of nodesOf(model)) {
    const keys = calls.get(layer.name)?.shift();
    if (keys !== undefined) {
      outputTensors.forEach((tensor, i) => names.set(tensor, plan.ends.get(keys[i] ?? '')?.replace(/:0$/, '')));
      continue;
    }
    const [input] = inputTensors;
    const [output] = outputTensors;
    const name = input && names.get(input);
    if (input === undefined || output === undefined || name === undefined || inputTensors.length > 1) {
      throw new LoRAError(
        `Layer "${layer.name}" cannot be written as nodes: it is put on something that is no output of a node in ` +
          'the graph.',
      );
    }
    const {nodes, constants} = nodesOfLayer(layer, name, rewrite.freeName(layer.name));
    constants.forEach((tensor, constant) => {
      rewrite.addConstant(constant, tensor.dtype);
      rewrite.constants.set(constant, tensor);
    });
    nodes.forEach(node => rewrite.addNode(node));
    names.set(output, nodes.at(-1)?.name ?? name);
    behind.set(output, behind.get(input) ?? partsOf(name)[0]);
  }
  return model.outputs.some(output => behind.has(output))
    ? model.outputs.map(output => ({
        node: names.get(output) ?? '',
        layer: output.sourceLayer.name,
        shape: output.shape,
        behind: behind.get(output) ?? '',
      }))
    : [];
}
