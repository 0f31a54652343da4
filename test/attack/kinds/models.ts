import * as tf from '@tensorflow/tfjs';
import {type Adapter, applyLoRA, disposeModel, getAdapter, type LoRAConfig, LoRAError, replaceHead} from 'tfjs-lora';
import {random} from '../../helpers';
import {MemoryHandler, stir} from '../../models';
import {mustHold} from '../kind';

const {layers} = tf;

/** The small model that the adapters are for. */
export function baseModel(): tf.LayersModel {
  const model = tf.sequential({
    layers: [
      layers.conv2d({filters: 3, kernelSize: 2, inputShape: [3, 3, 2], name: 'conv', activation: 'relu'}),
      layers.batchNormalization({name: 'norm'}),
      layers.flatten({name: 'flat'}),
      layers.dense({units: 6, name: 'hidden', activation: 'tanh'}),
      layers.dense({units: 3, name: 'head'}),
    ],
  });
  stir(model);
  return model;
}

/**
 * Adapted models of all that an adapter can hold: updates, biases, layers in full, heads of several kinds of layers.
 */
export function adaptedModels(base: tf.LayersModel): tf.LayersModel[] {
  const heads = [
    [
      layers.reshape({targetShape: [3, 2], name: 'new_rows'}),
      layers.lstm({units: 4, name: 'new_lstm'}),
      layers.repeatVector({n: 2, name: 'new_repeat'}),
      layers.timeDistributed({layer: layers.dense({units: 3, name: 'new_step'}), name: 'new_steps'}),
      layers.bidirectional({layer: layers.gru({units: 2}), mergeMode: 'concat', name: 'new_both'}),
      layers.dense({units: 5, activation: 'softmax', name: 'classes'}),
    ],
    [
      layers.reshape({targetShape: [1, 2, 3], name: 'new_picture'}),
      layers.upSampling2d({size: [2, 2], name: 'new_up'}),
      layers.zeroPadding2d({padding: [1, 1], name: 'new_frame'}),
      layers.depthwiseConv2d({kernelSize: 2, depthMultiplier: 2, name: 'new_depthwise'}),
      layers.globalAveragePooling2d({name: 'new_pool'}),
      layers.dense({units: 2, kernelRegularizer: 'l1l2', kernelConstraint: 'maxNorm', name: 'classes'}),
    ],
  ];
  const headed = heads.map(head => replaceHead(base, head, {after: 'hidden'}));
  const models = [
    applyLoRA(base, {rank: 2, targets: ['conv', 'hidden'], trainInFull: ['head'], bias: 'all'}),
    applyLoRA(base, {rank: 2, freezeBaseLayer: false, targets: ['hidden'], init: 'heUniform', seed: 1}),
    ...headed.map(model => applyLoRA(model, {rank: 1, bias: 'adapted'})),
  ];
  headed.forEach(model => disposeModel(model));
  models.forEach((model, i) => stirAdapter(model, i));
  return models;
}

function stirAdapter(model: tf.LayersModel, seed: number): void {
  tf.tidy(() =>
    model.trainableWeights.forEach((weight, i) =>
      weight.write(random(weight.shape as [number, number], 10 * seed + i)),
    ),
  );
}

/** What makes adapted models of a base. */
export type AdaptedModels = (base: tf.LayersModel) => tf.LayersModel[];

/** Adapted models of every method but LoRA, and one that mixes methods. */
export function methodModels(base: tf.LayersModel): tf.LayersModel[] {
  const ways: LoRAConfig[] = [
    {method: 'dora'},
    {method: 'lora-fa', dropout: 0.1},
    {init: 'pissa'},
    {init: 'olora'},
    {method: 'ia3'},
    {method: 'ia3-feedforward'},
    {method: 'vera', rank: 5},
    {method: 'loha'},
    {method: 'lokr'},
    {
      method: 'dora',
      trainInFull: ['head'],
      overrides: [
        {targets: ['hidden'], method: 'vera', rank: 3},
        {targets: ['conv'], method: 'lokr', rank: 1},
      ],
    },
  ];
  const models = ways.map(way =>
    applyLoRA(base, {...(way.method?.startsWith('ia3') !== true && {rank: 2}), seed: 1, ...way}),
  );
  models.forEach((model, i) => stirAdapter(model, i));
  return models;
}

/** Inputs for the small model. */
export function baseInputs(): tf.Tensor {
  return random([2, 3, 3, 2], 3);
}

/** What was saved, in parts: all that is JSON, and the weights. */
export async function savedParts(save: (handler: MemoryHandler) => Promise<unknown>) {
  const handler = new MemoryHandler();
  await save(handler);
  const {weightData, ...json} = handler.artifacts;
  return {json, weights: new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData))};
}

/** Adapts a model by an adapter, and checks that it has what the adapter holds and computes something. */
export function applied(
  base: tf.LayersModel,
  adapter: ReturnType<typeof getAdapter>,
  inputs: tf.Tensor | tf.Tensor[],
): void {
  const model = applyLoRA(base, adapter);
  try {
    const own = getAdapter(model);
    try {
      mustHold(sameKeys(own.tensors, adapter.tensors), 'The adapted model has other tensors than the adapter.');
      for (const [name, tensor] of Object.entries(adapter.tensors)) {
        mustHold(sameNumbers(tensor.dataSync(), own.tensors[name]!.dataSync()), `${name} is another in the model.`);
      }
    } finally {
      own.dispose();
    }
    const outputs = tf.tidy(() => [predictedOrRefused(model, inputs)].flat().map(output => output.shape[0]));
    mustHold(
      outputs.every(rows => rows === [inputs].flat()[0]?.shape[0]),
      'The adapted model does not give a row for each.',
    );
  } finally {
    disposeModel(model);
  }
}

/** A head may be one that tfjs builds and cannot compute. That is an error of tfjs, at the first use. */
function predictedOrRefused(model: tf.LayersModel, inputs: tf.Tensor | tf.Tensor[]): tf.Tensor | tf.Tensor[] {
  try {
    return model.predict(inputs);
  } catch (error) {
    if (error instanceof LoRAError || error instanceof RangeError) {
      throw error;
    }
    return [];
  }
}

/**
 * Whether an adapter has a tensor of a file. One that layers share parts of is not in it: its first part has the first
 * number.
 */
export function isIn({tensors}: Pick<Adapter, 'tensors'>, name: string, numbers: Float32Array): boolean {
  const own = tensors[name];
  return own === undefined
    ? /^vera_[AB]$/.test(name) &&
        Object.entries(tensors).some(
          ([key, part]) => key.endsWith(`/${name}`) && Object.is(part.dataSync()[0], numbers[0]),
        )
    : sameNumbers(own.dataSync(), numbers);
}

function sameKeys(one: object, other: object): boolean {
  const keys = new Set(Object.keys(other));
  return Object.keys(one).length === keys.size && Object.keys(one).every(key => keys.has(key));
}

/** Whether numbers are the same, bit for bit. */
export function sameNumbers(one: ArrayLike<number>, other: ArrayLike<number>): boolean {
  return one.length === other.length && Array.from(one).every((value, i) => Object.is(value, other[i]));
}
