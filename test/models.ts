import * as tf from '@tensorflow/tfjs';
import type {LoRALayer} from '../src/core/layers/loraLayer';
import {numbers, random} from './helpers';

/** A small model of some form, and inputs for it. */
export interface Specimen {
  model: tf.LayersModel;
  inputs: tf.Tensor[];
}

/** Gives every weight seeded random numbers, biases and statistics included, so that none of them is at rest. */
export function stir(model: tf.LayersModel | tf.layers.Layer, seed = 1): void {
  tf.tidy(() => {
    [...new Set(model.weights)]
      .sort((one, other) => one.id - other.id)
      .forEach((weight, i) => {
        const value = tf.mul(random(weight.shape as [number, number], seed + i), 0.5);
        const isVariance = weight.originalName.endsWith('variance');
        weight.write(isVariance ? tf.add(tf.abs(value), 0.5) : value);
      });
  });
}

/** Gives the factors in a model or a layer random numbers, as training would. */
export function stirFactors(model: tf.LayersModel | tf.layers.Layer, seed = 100): void {
  tf.tidy(() => {
    factorsOf(model).forEach((weight, i) =>
      weight.write(tf.mul(random(weight.shape as [number, number], seed + i), 0.5)),
    );
  });
}

/** Moves all that trains in a model by random numbers, as training would. */
export function stirUpdates(model: tf.LayersModel, seed = 100): void {
  tf.tidy(() => {
    [...new Set(model.trainableWeights)]
      .sort((one, other) => one.id - other.id)
      .forEach((weight, i) => {
        weight.write(tf.add(weight.read(), tf.mul(random(weight.shape as [number, number], seed + i), 0.3)));
      });
  });
}

/** `W + s·A·B` of an adapted layer, or of one of its weights, in plain loops. */
export function mergedKernel(layer: LoRALayer, part = layer.loraLayer): number[] {
  const [w, a, b] = [layer.tryGetParameter(part.weight)!, part.A, part.B].map(numbers) as [
    number[],
    number[],
    number[],
  ];
  const rank = part.B.shape[0];
  const columns = b.length / rank;
  return w.map((value, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    let sum = 0;
    for (let k = 0; k < rank; k++) {
      sum += a[row * rank + k]! * b[k * columns + column]!;
    }
    return value + layer.scaling * sum;
  });
}

/** The variables in a model or a layer that are factors. */
export function factorsOf(model: tf.LayersModel | tf.layers.Layer): tf.LayerVariable[] {
  return [...new Set(model.weights)].filter(({originalName}) => /lora_[AB]$/.test(originalName));
}

/** The numbers of all weights of a model that are not factors or kept originals, by name. */
export function baseWeights(model: tf.LayersModel): Record<string, number[]> {
  const found: Record<string, number[]> = {};
  for (const weight of [...new Set(model.weights)].sort((a, b) => a.id - b.id)) {
    if (!/(lora_[AB]|original_\w+)$/.test(weight.originalName)) {
      let name = weight.originalName;
      while (name in found) {
        name += "'";
      }
      found[name] = numbers(weight.read());
    }
  }
  return found;
}

/** What a model predicts for inputs, output by output. */
export function predictions(model: tf.LayersModel, inputs: tf.Tensor[]): number[][] {
  return tf.tidy(() => {
    const outputs = model.predict(inputs.length === 1 ? inputs[0]! : inputs);
    return [outputs].flat().map(numbers);
  });
}

/** Some steps of training towards random targets. */
export async function train(
  model: tf.LayersModel,
  inputs: tf.Tensor[],
  {
    epochs = 5,
    optimizer = 'adam',
    batchSize = 16,
  }: {epochs?: number; optimizer?: string | tf.Optimizer; batchSize?: number} = {},
): Promise<tf.History> {
  model.compile({optimizer, loss: 'meanSquaredError'});
  const targets = tf.tidy(() =>
    [model.predict(inputs.length === 1 ? inputs[0]! : inputs)]
      .flat()
      .map((output, i) => tf.add(output, random(output.shape as [number, number], 50 + i))),
  );
  const xs = inputs.length === 1 ? inputs[0]! : inputs;
  const ys = targets.length === 1 ? targets[0]! : targets;
  const history = await model.fit(xs, ys, {epochs, batchSize, verbose: 0, shuffle: false});
  tf.dispose(targets);
  return history;
}

/**
 * A place in memory that models and adapters can be saved to and loaded from. What is saved goes through JSON, as a
 * file would.
 */
export class MemoryHandler implements tf.io.IOHandler {
  json = '';
  weightData: tf.io.WeightData = new ArrayBuffer(0);

  readonly save = ({weightData, ...rest}: tf.io.ModelArtifacts): Promise<tf.io.SaveResult> => {
    this.json = JSON.stringify(rest);
    this.weightData = weightData!;
    const info = {dateSaved: new Date(0), modelTopologyType: 'JSON' as const};
    return Promise.resolve({modelArtifactsInfo: info});
  };

  readonly load = (): Promise<tf.io.ModelArtifacts> => Promise.resolve(this.artifacts);

  /** What was saved. */
  get artifacts(): tf.io.ModelArtifacts {
    return {...(JSON.parse(this.json) as tf.io.ModelArtifacts), weightData: this.weightData};
  }
}

/** What a model saves. */
export async function artifactsOf(model: tf.LayersModel, config?: tf.io.SaveConfig): Promise<tf.io.ModelArtifacts> {
  const handler = new MemoryHandler();
  await model.save(handler, config);
  return handler.artifacts;
}

/** A model after it has been saved and loaded. */
export async function reloaded(model: tf.LayersModel, config?: tf.io.SaveConfig): Promise<tf.LayersModel> {
  return tf.loadLayersModel(tf.io.fromMemory(await artifactsOf(model, config)));
}

const {layers} = tf;

function dense(units: number, name: string, args: object = {}) {
  return layers.dense({units, name, ...args});
}

function sequential(parts: tf.layers.Layer[], name?: string): tf.Sequential {
  return tf.sequential({layers: parts, ...(name !== undefined && {name})});
}

export function mlp(): Specimen {
  const model = sequential([dense(6, 'hidden', {activation: 'tanh', inputShape: [5]}), dense(3, 'head')]);
  return specimen(model, [[4, 5]]);
}

export function cnn(): Specimen {
  const model = sequential([
    layers.conv2d({filters: 4, kernelSize: 3, name: 'conv', inputShape: [6, 6, 2]}),
    layers.batchNormalization({name: 'norm'}),
    layers.activation({activation: 'relu', name: 'act'}),
    layers.maxPooling2d({poolSize: 2, name: 'pool'}),
    layers.flatten({name: 'flat'}),
    dense(3, 'head', {activation: 'softmax'}),
  ]);
  return specimen(model, [[2, 6, 6, 2]]);
}

/** A functional model around a sequential one. */
export function nested(): Specimen {
  const body = sequential([dense(6, 'first', {inputShape: [5], activation: 'relu'}), dense(4, 'second')], 'body');
  const input = tf.input({shape: [5], name: 'in'});
  const output = dense(3, 'head').apply(body.apply(input)) as tf.SymbolicTensor;
  return specimen(tf.model({inputs: input, outputs: output, name: 'outer'}), [[4, 5]]);
}

/** One layer applied to two inputs. */
export function shared(): Specimen {
  const one = tf.input({shape: [5], name: 'one'});
  const other = tf.input({shape: [5], name: 'other'});
  const tower = dense(4, 'tower', {activation: 'sigmoid'});
  const joined = layers
    .concatenate({name: 'joined'})
    .apply([tower.apply(one), tower.apply(other)] as tf.SymbolicTensor[]);
  const output = dense(3, 'head').apply(joined) as tf.SymbolicTensor;
  return specimen(tf.model({inputs: [one, other], outputs: output}), [
    [4, 5],
    [4, 5],
  ]);
}

/** Two inputs and two outputs. */
export function multi(): Specimen {
  const one = tf.input({shape: [5], name: 'one'});
  const other = tf.input({shape: [4], name: 'other'});
  const a = dense(4, 'a', {activation: 'elu'}).apply(one) as tf.SymbolicTensor;
  const sum = layers.add({name: 'sum'}).apply([a, other]) as tf.SymbolicTensor;
  const outputs = [dense(2, 'left').apply(sum), dense(3, 'right').apply(a)];
  const model = tf.model({inputs: [one, other], outputs: outputs as tf.SymbolicTensor[]});
  return specimen(model, [
    [4, 5],
    [4, 4],
  ]);
}

export function timeDistributed(): Specimen {
  const model = sequential([
    layers.timeDistributed({
      layer: dense(4, 'step', {activation: 'relu'}),
      name: 'steps',
      inputShape: [3, 5],
    }),
    layers.lstm({units: 3, name: 'lstm'}),
    dense(2, 'head'),
  ]);
  return specimen(model, [[4, 3, 5]]);
}

export function bidirectional(): Specimen {
  const model = sequential([
    layers.embedding({inputDim: 7, outputDim: 4, maskZero: true, name: 'embed', inputLength: 5}),
    layers.bidirectional({
      layer: layers.lstm({units: 3, returnSequences: true, name: 'lstm'}),
      mergeMode: 'concat',
      name: 'both',
    }),
    layers.gru({units: 3, name: 'gru'}),
    dense(2, 'head'),
  ]);
  stir(model);
  const inputs = [
    tf.tensor2d([
      [1, 2, 3, 0, 0],
      [6, 5, 4, 3, 2],
    ]),
  ];
  return {model, inputs};
}

function specimen(model: tf.LayersModel, shapes: number[][]): Specimen {
  stir(model);
  const inputs = shapes.map((shape, i) => random(shape as [number, number], 30 + i));
  return {model, inputs};
}

/** Every form of model, by name. */
export const ZOO: [name: string, make: () => Specimen][] = [
  ['a sequential model', mlp],
  ['a convolutional model', cnn],
  ['a nested model', nested],
  ['a model with a shared layer', shared],
  ['a model with several inputs and outputs', multi],
  ['a model with TimeDistributed', timeDistributed],
  ['a model with Embedding, Bidirectional and GRU', bidirectional],
];
