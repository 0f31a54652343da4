import type * as tf from '@tensorflow/tfjs';
import type {HeadConfig} from '../adapter/adapter';
import {listed, misfitError, notReadyError} from '../../platform/errors';
import {borrowing} from '../layers/borrowingLayer';
import {adaptationOf, hasKernel} from '../layers/registry';
import {checkNotAdapted, callsOf, type Site, sitesOf} from '../rewire/walk';
import {checkModel, isContainer} from '../../platform/tfjs/checkModel';
import type {LayerCall} from '../../platform/tfjs/layerFields';

/** Refuses a model that cannot get a new head. */
export function checkBody(model: tf.LayersModel): void {
  checkModel(model);
  const sites = sitesOf(model);
  checkNotAdapted(sites);
  if (sites.length === 0 || sites.some(({layer}) => !layer.built)) {
    throw notReadyError('The model is not built: give its first layer an inputShape, so that its weights exist.');
  }
  if (model.outputs.length !== 1) {
    throw misfitError(
      `The model has ${model.outputs.length} outputs (${listed(model.outputNames)}), but a head needs a ` +
        'single one. Make a model with one of them: tf.model({inputs: model.inputs, outputs: model.outputs[0]}).',
    );
  }
}

/** Where a new head goes, and why. */
export interface HeadPlace {
  /** The last layer before it. */
  after: string;
  /** Why it goes there, as a sentence. */
  reason: string;
}

/**
 * The default position of a new head: after the last layer whose outputs are features.
 *
 * The old head is the last layer that has weights. Dense layers before it belong to it as well if they are narrower
 * than their inputs: they keep what the old classes need, and little else. A layer after a flattened map is compared
 * with the map's channels. At least one layer with a kernel stays in the body.
 */
export function defaultPlace(model: tf.LayersModel): HeadPlace {
  const advice = adviceFor(model);
  const chain = chainBack(model);
  const last = chain.findIndex(
    ({outboundLayer}) => outboundLayer.weights.length > 0 || borrowing(outboundLayer) !== undefined,
  );
  const isClear = ({outboundLayer, inputTensors}: LayerCall) =>
    inputTensors.length === 1 && !isContainer(outboundLayer);
  const head = chain[last];
  if (head === undefined || !chain.slice(0, last + 1).every(isClear)) {
    throw misfitError(`It is not clear where the head of the model begins. ${advice}`);
  }
  let featuresAt = last + 1;
  const narrow: tf.layers.Layer[] = [];
  for (;;) {
    const next = featuresAt + chain.slice(featuresAt).findIndex(({outboundLayer}) => hasKernel(outboundLayer));
    const call = next < featuresAt ? undefined : chain[next];
    const isAlone = chain.slice(featuresAt, next + 1).every(isClear);
    if (call === undefined || !isAlone || !narrows(call, chain.slice(next + 1)) || !hasBody(model, call)) {
      break;
    }
    narrow.unshift(call.outboundLayer);
    featuresAt = next + 1;
  }
  const after = chain[featuresAt]?.outboundLayer.name;
  if (after === undefined) {
    throw misfitError(`Nothing comes before the only layer with weights, so there is no body to keep. ${advice}`);
  }
  const widths = narrow.map(layer => `${layer.name} (${layer.getConfig().units as number})`);
  const place = `The new head goes after "${after}"`;
  return {
    after,
    reason:
      narrow.length === 0
        ? `${place}, which comes before "${head.outboundLayer.name}", the last layer with weights.`
        : `${place}, which gives ${widthOf(chain[featuresAt]?.outputTensors[0]) ?? '?'} features. The layers after ` +
          `it are narrower: ${listed(widths)}.`,
  };
}

/** How to say where a head goes: what comes before the last layer that could be adapted, and the last of these. */
function adviceFor(model: tf.LayersModel): string {
  const weighty = model.layers.filter(({weights}) => weights.length > 0);
  const adaptable = weighty.filter(layer => adaptationOf(layer) !== undefined);
  const shown = adaptable.length > 0 ? adaptable : weighty;
  const call = callsOf(model).filter(({outboundLayer}) => outboundLayer === shown.at(-1));
  const before = call[0]?.inputTensors[0]?.sourceLayer;
  const proposal = before === undefined || before.inboundNodes[0]?.inboundLayers.length === 0 ? '…' : before.name;
  const last = shown.slice(-MAX_SHOWN).map(layer => `${layer.name} (${layer.getClassName()})`);
  return `Name the last layer to keep, such as {after: '${proposal}'}. The last layers with weights: ${last.join(', ')}.`;
}

/** How many layers a proposal lists. */
const MAX_SHOWN = 6;

/** The chain of calls that leads to the output of a model, the last one first, up to one with several inputs. */
function chainBack(model: tf.LayersModel): LayerCall[] {
  const nodes = callsOf(model);
  const chain: LayerCall[] = [];
  let tensors: readonly tf.SymbolicTensor[] = model.outputs;
  for (;;) {
    const [tensor, ...laterTensors] = tensors;
    const node = nodes.find(({outputTensors}) => tensor !== undefined && outputTensors.includes(tensor));
    if (node === undefined || laterTensors.length > 0) {
      return chain;
    }
    chain.push(node);
    tensors = node.inputTensors;
  }
}

function hasBody(model: tf.LayersModel, {inputTensors}: LayerCall): boolean {
  return inputTensors.some(input =>
    leadingTo(model, input).layers.some(({weights}) => weights.some(({shape}) => shape.length >= 2)),
  );
}

function narrows({outboundLayer, inputTensors}: LayerCall, before: readonly LayerCall[]): boolean {
  const flattened = before.findIndex(({outboundLayer: layer}) => layer.getClassName() === 'Flatten');
  const isOfMap = flattened >= 0 && before.slice(0, flattened).every(({outboundLayer: layer}) => !hasKernel(layer));
  const source = isOfMap ? before[flattened]?.inputTensors[0] : inputTensors[0];
  const {units} = outboundLayer.getConfig();
  return outboundLayer.getClassName() === 'Dense' && (units as number) < (widthOf(source) ?? 0);
}

function widthOf(tensor: tf.SymbolicTensor | undefined): number | undefined {
  return tensor?.shape.at(-1) ?? undefined;
}

/**
 * The only call of the layer after which a head goes.
 *
 * @throws LoRAError if there is no such layer, or it has several outputs.
 */
export function callBeforeHead(model: tf.LayersModel, at: string): LayerCall {
  const calls = callsNamed(model, at);
  const [call] = calls;
  if (call === undefined) {
    const inside = sitesOf(model).find(
      ({path, layer, ancestors}) => ancestors.length > 0 && (path === at || layer.name === at),
    );
    const outer = inside?.ancestors[0]?.name;
    throw misfitError(
      outer === undefined
        ? `There is no layer "${at}" to put a head after. The model has: ${layersOf(model)}.`
        : `Layer "${at}" is inside "${outer}". A head goes after a layer of the model itself, such as ` +
            `"${outer}"; or take the inner model as the base: replaceHead(model.getLayer('${outer}'), …).`,
    );
  }
  const outputs = calls.flatMap(({outputTensors}) => outputTensors).length;
  if (outputs > 1) {
    throw misfitError(
      `Layer "${at}" has ${outputs} outputs in the model, so it is not clear which one the head belongs to. ` +
        `Name a layer with one output. The model has: ${layersOf(model)}.`,
    );
  }
  return call;
}

function callsNamed(model: tf.LayersModel, name: string): LayerCall[] {
  const nodes = callsOf(model);
  const calls = nodes.filter(({outboundLayer}) => outboundLayer.name === name);
  if (calls.length > 0) {
    return calls;
  }
  // The inner model at the start of a Sequential has no call: use those of the Sequential; the last gives its output.
  const first = model.layers.find(layer => layer.name === name);
  const outputs = first !== undefined && isContainer(first) ? first.outputs : [];
  return nodes.filter(({outputTensors}) => outputs.some(output => outputTensors.includes(output)));
}

export function leadingTo(
  model: tf.LayersModel,
  tensor: tf.SymbolicTensor,
): {inputs: tf.SymbolicTensor[]; layers: tf.layers.Layer[]} {
  const needed = new Set([tensor]);
  const layers: tf.layers.Layer[] = [];
  for (const {outboundLayer, inputTensors, outputTensors} of callsOf(model).reverse()) {
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

/** Whether a layer is one of a new head, or inside one. */
export function isInHead(head: HeadConfig | undefined, {layer, ancestors}: Site): boolean {
  const {name} = ancestors[0] ?? layer;
  return head?.layers.some(({config}) => config.name === name) ?? false;
}

/** The new head of a model, and the layer after which it was put. */
interface PlacedHead {
  head: HeadConfig;
  /** Unknown of a model that was restored. */
  place?: HeadPlace;
}

/** The heads of models that `replaceHead` made. */
const heads = new WeakMap<tf.LayersModel, PlacedHead>();

/** The new head of a model that `replaceHead` made. */
export function headOf(model: tf.LayersModel): HeadConfig | undefined {
  return heads.get(model)?.head;
}

/** Where `replaceHead` put the new head of a model, and why. */
export function placeOf(model: tf.LayersModel): HeadPlace | undefined {
  return heads.get(model)?.place;
}

/** Records that a model has a new head, if it has one. */
export function markHead(model: tf.LayersModel, head: HeadConfig | undefined, place?: HeadPlace): void {
  if (head !== undefined) {
    heads.set(model, {head, ...(place && {place})});
  }
}

/** The key of a model's metadata under which it names layers that did not come with its pretrained weights. */
const NEW_LAYERS = 'newLayers';

/** Metadata that says which layers of a model start random. Adapted, they train in full. */
export function newLayersEntry(names: readonly string[]): object {
  return names.length > 0 ? {[NEW_LAYERS]: names} : {};
}

/** The paths of the layers of a model that started random, as its metadata says. */
export function newLayersOf(model: tf.LayersModel): ReadonlySet<unknown> {
  const {[NEW_LAYERS]: names} = {...(model.getUserDefinedMetadata() as Record<string, unknown> | undefined)};
  return new Set(Array.isArray(names) ? (names as unknown[]) : []);
}
