import type * as tf from '@tensorflow/tfjs';
import {isContainer} from '../../../platform/tfjs/checkModel';
import type {InnerLayers} from '../../../platform/tfjs/layerFields';
import {show} from '../../../platform/errors';
import {type GraphWriter, Tensor} from '../write/graphWriter';
import {ACTIVATION_LAYERS} from './activations';
import {Call, type Keywords, type Mask, type Write} from './call';
import {IMAGE_LAYERS} from './convolutions';
import {formula, hasFormula, kerasLayer} from './formula';
import {callsInOrder, MaskFlow} from './masks';
import {MERGE_LAYERS} from './merges';
import {RECURRENT_LAYERS} from './recurrent';
import {asFloats, PLAIN_LAYERS} from './shapes';
import {TRANSFORMER_LAYERS} from './transformers';

/** Class of a layer → its writer. */
export const LAYERS: Readonly<Record<string, Write>> = {
  ...PLAIN_LAYERS,
  ...ACTIVATION_LAYERS,
  ...IMAGE_LAYERS,
  ...MERGE_LAYERS,
  ...RECURRENT_LAYERS,
  ...TRANSFORMER_LAYERS,
  'tfjs-lora>KerasLayer': kerasLayer,
  TimeDistributed: (out, call) => timeDistributed(out, call),
};

/** The symbolic tensors of a model. */
export type Known = Map<tf.SymbolicTensor, Tensor>;

/** Layers that take whole numbers, or a mask. */
const TAKES_INDICES = /Embedding$|>Attention$/;

/** Writes the calls of a model, each after those that it depends on. */
export function writeCalls(
  out: GraphWriter,
  model: tf.LayersModel,
  written: Known,
  {path = '', keywords, rules}: {path?: string; keywords?: Keywords; rules?: Rules | undefined} = {},
): void {
  const flow = new MaskFlow(keywords);
  for (const call of callsInOrder(model, written.keys())) {
    const {outboundLayer: layer, inputTensors, outputTensors} = call;
    const masked = flow.enter(call);
    if (outputTensors.every(output => written.has(output))) {
      continue;
    }
    const inputs = inputTensors.map(input => written.get(input) as Tensor);
    const shapes = outputTensors.map(({shape}) => shape);
    const {outputs, mask} = writeLayer(out, layer, {inputs, shapes, path: `${path}${layer.name}`, rules, ...masked});
    outputTensors.forEach((tensor, i) => written.set(tensor, outputs[i] ?? (inputs[0] as Tensor)));
    flow.leave(call, mask);
  }
}

/** Class of a layer → what writes it instead of its own rule or formula. */
export type Rules = Readonly<Record<string, Write>>;

/** What a layer is called with, and the shapes of what it returns. */
interface LayerInputs {
  inputs: readonly Tensor[];
  shapes: readonly tf.Shape[];
  path: string;
  masks?: readonly (Mask | undefined)[];
  keywords?: Keywords | undefined;
  rules?: Rules | undefined;
}

/** Writes one call of a layer, which may be a model. */
export function writeLayer(
  out: GraphWriter,
  layer: tf.layers.Layer,
  {inputs, shapes, path, masks, keywords = {}, rules}: LayerInputs,
): {outputs: Tensor[]; mask?: Mask | undefined} {
  if (isContainer(layer)) {
    const written: Known = new Map(layer.inputs.map((input, i) => [input, inputs[i] as Tensor]));
    const {mask} = keywords;
    writeCalls(out, layer, written, {path: `${path}/`, keywords, rules});
    // tfjs frees the masks of an inner model when it has run.
    keywords.mask &&= keywords.mask === mask ? mask : {shape: keywords.mask.shape};
    return {outputs: layer.outputs.map(output => written.get(output) as Tensor)};
  }
  out.begin(path, inputs, shapes);
  const className = layer.getClassName();
  const write = ruleFor(layer, rules);
  if (write === undefined) {
    out.refuse(`The class ${className} cannot be written.${wayFor(className)}`);
    return {outputs: shapes.map(shape => new Tensor(shape, 1, inputs[0]?.name ?? ''))};
  }
  const {integers = []} = hasFormula(layer) ? layer.definition : {};
  const operands = TAKES_INDICES.test(className)
    ? inputs
    : inputs.map((input, i) => (integers.includes(i) ? input : asFloats(out, input)));
  const call = new Call(layer, operands, shapes, masks, keywords);
  const faults = out.faults.size;
  const outputs = [write(out, call)].flat();
  const unread = out.faults.size > faults || hasFormula(layer) ? [] : call.unread();
  unread
    .filter(([, value]) => value != null)
    .forEach(([setting, value]) =>
      out.refuse(`The class ${className} with ${setting}: ${show(value)} cannot be written.`),
    );
  return {outputs, mask: call.outputMask};
}

/** What writes a layer: its formula, or a rule for its class. */
function ruleFor(layer: tf.layers.Layer, rules: Rules = {}): Write | undefined {
  const className = layer.getClassName();
  if (Object.hasOwn(rules, className)) {
    return rules[className];
  }
  return hasFormula(layer) ? formula : Object.hasOwn(LAYERS, className) ? LAYERS[className] : undefined;
}

function wayFor(className: string): string {
  return className.startsWith('tfjs-lora/graph>')
    ? ' Models of fromONNX are written into their file: toONNX(model, file). toGraphModel writes those of ' +
        'fromGraphModel.'
    : '';
}

/** A layer on each step, as on a separate example. */
function timeDistributed(out: GraphWriter, call: Call): Tensor {
  const {layer: inner} = call.fields<Required<InnerLayers>>();
  const {layer: path} = out;
  const [batch = null, , ...sizes] = call.input.shape;
  const [, , ...stepSizes] = call.shape;
  if ([...sizes, ...stepSizes].includes(null)) {
    out.refuse('Steps of dynamic sizes cannot be written.');
  }
  const x = out.plain(call.input);
  const rows = new Tensor([null, ...sizes], call.input.type, out.reshape(x, [-1, ...sizes.map(Number)]));
  // The mask is that of all steps, and the inner layer runs on one.
  const keywords: Keywords = {mask: call.mask && {shape: call.mask.shape}};
  const {outputs} = writeLayer(out, inner, {
    inputs: [rows],
    shapes: [[null, ...stepSizes]],
    path: `${path}/${inner.name}`,
    keywords,
  });
  out.layer = path;
  const flat = out.plain(outputs[0] as Tensor);
  const steps = call.input.shape[1];
  if (steps != null || batch != null) {
    return call.output(out.reshape(flat, [batch ?? -1, steps ?? -1, ...stepSizes.map(Number)]));
  }
  const shape = out.node('Concat', [out.sizeOf(x, 0), out.sizeOf(x, 1), out.ints(stepSizes.map(Number))], {axis: 0});
  return call.output(out.node('Reshape', [flat, shape]));
}

/** Whether there is a rule for a layer. */
export function isWritten(layer: tf.layers.Layer): boolean {
  return isContainer(layer) || ruleFor(layer) !== undefined;
}
