import type * as tf from '@tensorflow/tfjs';
import {throwFaults} from '../../../platform/errors';
import {callsOf} from '../../../core/rewire/walk';
import {nodeAndOutput} from '../graphDef';
import type {GraphPlan} from '../import/values';
import type {GraphRewrite, NewEnd} from './graphRewrite';

/**
 * Writes the layers of a model that are not of its graph as nodes. A page loads the writers of layers for it.
 *
 * @returns the outputs of the model if any of them is new, else an empty list.
 * @throws LoRAError if a layer cannot be written, or its input is not the output of a node.
 */
export async function writeHead(model: tf.LayersModel, plan: GraphPlan, rewrite: GraphRewrite): Promise<NewEnd[]> {
  const {GraphDefWriter} = await import('../../onnx/write/graphDefWriter');
  const {writeNewLayers} = await import('../../onnx/layers/newLayers');
  const out = new GraphDefWriter(rewrite.names);
  const {written, fresh} = writeNewLayers(out, model, {
    plan,
    valueAt: (key, {shape}) => {
      const node = plan.inputs.find(input => input.key === key)?.node ?? plan.ends.get(key)?.replace(/:0$/, '');
      return node === undefined ? undefined : out.value(shape, node);
    },
    isPlanned: (layer, planned) => layer.getClassName() === planned?.getClassName(),
  });
  throwFaults([...out.faults], 'ERR_UNSUPPORTED', 'The model cannot be written as a graph:');
  const nodeOf = (tensor: tf.SymbolicTensor) => {
    const value = written.get(tensor);
    return value === undefined ? '' : out.plain(value);
  };
  // The nodes of the graph below new layers.
  const behind = new Map<tf.SymbolicTensor, string>();
  for (const {inputTensors, outputTensors} of callsOf(model)) {
    const [input] = inputTensors;
    if (input !== undefined && outputTensors.some(output => fresh.has(output))) {
      outputTensors.forEach(output => behind.set(output, behind.get(input) ?? nodeAndOutput(nodeOf(input))[0]));
    }
  }
  const ends = model.outputs.some(output => fresh.has(output))
    ? model.outputs.map(output => ({
        node: nodeOf(output),
        layer: output.sourceLayer.name,
        shape: output.shape,
        behind: behind.get(output) ?? '',
      }))
    : [];
  for (const [name, tensor] of await out.constants()) {
    rewrite.addConstant(name, tensor.dtype);
    rewrite.constants.set(name, tensor);
  }
  out.graphNodes.forEach(node => {
    rewrite.addNode(node);
  });
  return ends;
}
