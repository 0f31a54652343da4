import type * as tf from '@tensorflow/tfjs';
import {listed, LoRAError} from '../errors';
import {checkModel, checkNotAdapted, type GraphNode, isContainer, nodesOf, sitesOf} from '../rewire/walk';

/** Refuses a model on which no new head can go. */
export function checkBody(model: tf.LayersModel): void {
  checkModel(model);
  const sites = sitesOf(model);
  checkNotAdapted(sites);
  if (sites.length === 0 || sites.some(({layer}) => !layer.built)) {
    throw new LoRAError('The model is not built: give its first layer an inputShape, so that its weights exist.');
  }
  if (model.outputs.length !== 1) {
    throw new LoRAError(
      `The model has ${model.outputs.length} outputs (${listed(model.outputNames)}), and a head belongs to one. ` +
        'Take a model with one of them: tf.model({inputs: model.inputs, outputs: model.outputs[0]}).',
    );
  }
}

/** The name of the layer before the last one that has weights. */
export function defaultPlace(model: tf.LayersModel): string {
  const nodes = nodesOf(model);
  const sourceOf = (tensor: tf.SymbolicTensor | undefined) =>
    nodes.find(({outputTensors}) => tensor !== undefined && outputTensors.includes(tensor));
  const advice = `Name the last layer to keep: {at: '…'}. The model has: ${layersOf(model)}.`;
  let node = sourceOf(model.outputs[0]);
  for (;;) {
    const [before, ...others] = node?.inputTensors ?? [];
    if (node === undefined || others.length > 0 || isContainer(node.outboundLayer)) {
      throw new LoRAError(`It is not clear where the head of the model begins. ${advice}`);
    }
    const isHead = node.outboundLayer.weights.length > 0;
    node = sourceOf(before);
    if (isHead) {
      break;
    }
  }
  if (node === undefined) {
    throw new LoRAError(`Nothing comes before the only layer with weights, so there is no body to keep. ${advice}`);
  }
  return node.outboundLayer.name;
}

/**
 * The one call of the layer after which a head goes.
 *
 * @throws LoRAError if there is no such layer, or it has several outputs.
 */
export function callBeforeHead(model: tf.LayersModel, at: string): GraphNode {
  const calls = callsOf(model, at);
  const [call] = calls;
  if (call === undefined) {
    const inside = sitesOf(model).find(
      ({path, layer, ancestors}) => ancestors.length > 0 && (path === at || layer.name === at),
    );
    const outer = inside?.ancestors[0]?.name;
    throw new LoRAError(
      outer === undefined
        ? `There is no layer "${at}" after which a head could go. The model has: ${layersOf(model)}.`
        : `Layer "${at}" lies inside "${outer}". A head goes after a layer of the model itself, such as ` +
            `"${outer}"; or take the inner model as the base: replaceHead(model.getLayer('${outer}'), …).`,
    );
  }
  const outputs = calls.flatMap(({outputTensors}) => outputTensors).length;
  if (outputs > 1) {
    throw new LoRAError(
      `Layer "${at}" has ${outputs} outputs in the model: it is not clear after which the head goes. Name a layer ` +
        `with one. The model has: ${layersOf(model)}.`,
    );
  }
  return call;
}

/** The calls that give the outputs of a layer of a model itself. */
function callsOf(model: tf.LayersModel, name: string): GraphNode[] {
  const nodes = nodesOf(model);
  const calls = nodes.filter(({outboundLayer}) => outboundLayer.name === name);
  if (calls.length > 0) {
    return calls;
  }
  // A model that begins a Sequential is called by nobody: its calls are the Sequential's own, and the last one of them
  // gives its output.
  const first = model.layers.find(layer => layer.name === name);
  const outputs = first !== undefined && isContainer(first) ? first.outputs : [];
  return nodes.filter(({outputTensors}) => outputs.some(output => outputTensors.includes(output)));
}

/** On which inputs and layers of a model a tensor depends. */
export function leadingTo(
  model: tf.LayersModel,
  tensor: tf.SymbolicTensor,
): {inputs: tf.SymbolicTensor[]; layers: tf.layers.Layer[]} {
  const needed = new Set([tensor]);
  const layers: tf.layers.Layer[] = [];
  for (const {outboundLayer, inputTensors, outputTensors} of nodesOf(model).reverse()) {
    if (outputTensors.some(output => needed.has(output))) {
      layers.push(outboundLayer);
      inputTensors.forEach(input => needed.add(input));
    }
  }
  const inputs = model.inputs.filter(input => needed.has(input));
  return {inputs, layers: [...inputs.map(({sourceLayer}) => sourceLayer), ...layers]};
}

function layersOf(model: tf.LayersModel): string {
  return listed(model.layers.map(layer => `${layer.name} (${layer.getClassName()})`));
}
