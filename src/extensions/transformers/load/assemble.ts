import * as tf from '@tensorflow/tfjs';
import {kindOf, memoryError, misfitError, show, tooLargeError} from '../../../platform/errors';
import {capabilities} from '../../../backends/shared/capabilities';
import {withoutResidue} from '../../../platform/tfjs/engine';
import {namedWeights, replaceValue} from '../../../platform/tfjs/weights';
import {type Architecture, type ModelInputs, NO_INPUTS, type Purpose} from '../net/architecture';
import type {HubConfig} from '../net/hubConfig';
import {type GradientCheckpointing, Net, type NetTensor} from '../net/net';
import type {Expected, NetSources} from '../net/netSources';
import type {Values} from '../../../platform/formats/layout';
import type {Assignment} from './fileTensors';

/** What a model is planned and built from. */
export interface Making {
  architecture: Architecture;
  config: HubConfig;
  purpose: Purpose;
  sources: NetSources;
}

export function planOf({architecture, config, purpose, sources}: Making): Net {
  const plan = Net.plan(sources).end(purpose.outputs);
  architecture.build(plan, config, NO_INPUTS, purpose);
  const unknown = purpose.outputs?.find(name => !plan.stages.has(name));
  if (unknown !== undefined) {
    const stageNames = plan.stages.size === 0 ? 'no stages' : `the stages ${[...plan.stages.keys()].join(', ')}`;
    config.fault(`outputs has ${show(unknown)}, but the model has ${stageNames}.`);
  }
  return plan;
}

/** What is wrong with an option `gradientCheckpointing`. */
export function checkpointingFaults(value: unknown): string[] {
  return typeof value === 'boolean' || value === 'most'
    ? []
    : [
        `gradientCheckpointing must be true, false or 'most', got ${typeof value === 'string' ? show(value) : kindOf(value)}.`,
      ];
}

/** Refuses a model whose weights alone exceed the memory of the backend. */
export function checkRoom(bytes: number, form: string): void {
  const {mostBytes = Infinity} = capabilities();
  if (bytes > mostBytes) {
    const inGiB = (count: number) => (count / 2 ** 30).toFixed(1);
    throw tooLargeError(
      `The weights take ${inGiB(bytes)} GiB ${form}, but the ${tf.getBackend()} backend has ${inGiB(mostBytes)} ` +
        'GiB in total. Use a smaller model, or another backend, such as webgpu or tfjs-node.',
    );
  }
}

export interface BuiltModel {
  model: tf.LayersModel;
  layers: ReadonlyMap<string, tf.layers.Layer>;
  /** The names of the layers that start at random. */
  newLayers: readonly string[];
}

/** @throws LoRAError if there is not enough memory. Everything is freed then. */
export function buildModel(making: Making, gradientCheckpointing: GradientCheckpointing): BuiltModel {
  try {
    return withoutResidue(() => assembled(making, gradientCheckpointing));
  } catch (error) {
    if (error instanceof RangeError) {
      throw memoryError(
        `There is not enough memory for the weights: ${error.message}. Use a smaller model, or a quantized one.`,
        {cause: error},
      );
    }
    throw error;
  }
}

function assembled(
  {architecture, config, purpose, sources}: Making,
  gradientCheckpointing: GradientCheckpointing,
): BuiltModel {
  const net = Net.build({gradientCheckpointing, ...sources}).end(purpose.outputs);
  const takes = architecture.takes?.(purpose.head) ?? 'texts';
  const channels = architecture.channels?.(config) ?? 3;
  const patchValues = architecture.patchValues?.(config);
  const images = (): Partial<ModelInputs> =>
    patchValues === undefined
      ? {pixels: net.floats('pixel_values', [null, null, channels])}
      : {
          pixels: net.floats('pixel_values', [null, patchValues]),
          patchMask: net.integers('pixel_attention_mask'),
          grids: net.integers('spatial_shapes', [2]),
        };
  const built = (inputs: NetTensor[], last: NetTensor): BuiltModel => {
    const outputs = purpose.outputs?.map(name => net.stages.get(name) ?? null) ?? [last];
    const model = tf.model({inputs: inputs as tf.SymbolicTensor[], outputs: outputs as tf.SymbolicTensor[]});
    return {model, layers: net.layers, newLayers: net.newLayers};
  };
  const withInputs = (modelInputs: Partial<ModelInputs>) =>
    built(Object.values(modelInputs), architecture.build(net, config, {...NO_INPUTS, ...modelInputs}, purpose));
  switch (takes) {
    case 'images':
      return withInputs(images());
    case 'spectrograms':
      return withInputs({sound: net.floats('input_features', [null, channels])});
    case 'samples':
      return withInputs({sound: net.floats('input_values', [null]), mask: net.integers('attention_mask')});
    case 'speech':
      return withInputs({
        sound: net.floats('input_features', [null, channels]),
        ids: net.integers('decoder_input_ids'),
      });
    case 'texts':
    case 'pairs':
  }
  const seen = takes === 'texts' ? {} : images();
  const hasChoices = purpose.head === 'choices';
  const names = ['input_ids', 'attention_mask', ...(purpose.tokenTypes ? ['token_type_ids'] : [])];
  const inputs = names.map(name => net.integers(name, hasChoices ? [null, null] : [null]));
  const [ids = null, mask = null, types = null] = hasChoices
    ? inputs.map((input, i) => net.choiceRows(`${names[i] ?? ''}/rows`, input))
    : inputs;
  const outputsOfBuild = architecture.build(net, config, {...NO_INPUTS, ids, mask, types, ...seen}, purpose);
  const outputs = hasChoices ? net.choiceScores('choices', [outputsOfBuild, inputs[0] ?? null]) : outputsOfBuild;
  return built([...inputs, ...Object.values(seen)], outputs);
}

/** Sets a weight of a new model, in the shape of the file or of the weight. */
export function setWeight(
  layers: ReadonlyMap<string, tf.layers.Layer>,
  {layer, weight}: Expected,
  make: () => tf.Tensor,
): void {
  const owner = layers.get(layer);
  const variable = owner && namedWeights(owner).get(weight);
  if (variable === undefined) {
    throw misfitError(`Layer "${layer}" has no weight "${weight}".`);
  }
  freeValue(variable);
  replaceValue(variable, tf.reshape(make(), variable.shape as number[]));
}

/**
 * Frees the value of a variable before it gets a new one, so that memory never has to hold both. A shared value stays.
 */
function freeValue(variable: tf.LayerVariable): void {
  const value = variable.read();
  if (tf.backend().refCount(value.dataId) === 1) {
    tf.engine().disposeTensor(value);
  }
}

/** Sets the weights of a tensor in a file, or keeps the tensor. */
export function fill(
  assigned: Assignment,
  {layers, uncomputed}: {layers: ReadonlyMap<string, tf.layers.Layer>; uncomputed: Map<string, Values>},
  {name, shape, data}: {name: string; shape: number[]; data: Float32Array | null},
): void {
  if (data === null) {
    return;
  }
  const storedName = assigned.uncomputed.get(name);
  if (storedName !== undefined) {
    uncomputed.set(storedName, {shape, data});
  }
  for (const weight of assigned.weights.get(name) ?? []) {
    tf.tidy(() => setWeight(layers, weight, () => fromFile(tf.tensor(data, shape, 'float32'), weight)));
  }
}

function fromFile(stored: tf.Tensor, {axes, rowSlice}: Expected): tf.Tensor {
  const rowsOfWeight = rowSlice === undefined ? stored : (tf.split(stored, rowSlice.of)[rowSlice.index] as tf.Tensor);
  return axes === undefined ? rowsOfWeight : tf.transpose(rowsOfWeight, [...axes]);
}

/** Frees all layers of a model. `model.dispose()` would miss those in blocks. */
export function disposeLayers(layers: ReadonlyMap<string, tf.layers.Layer>): void {
  tf.dispose([...layers.values()].flatMap(({weights}) => weights.map(weight => weight.read())));
}
