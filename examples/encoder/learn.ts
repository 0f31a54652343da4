import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, disposeModel, type LoRAConfig} from 'tfjs-lora';
import {embed, encodeTexts, loadTransformer} from 'tfjs-lora/transformers';
import type {Pretrained} from '../../scripts/pretrained';
import {type Labelled, randomFrom, shuffled, type Task} from './data';

/** Longer subjects are truncated, in tokens. */
const PLACES = 24;
const BATCH = 8;

/** What trains: a head on the encoder's output, LoRA and a head, or every weight. */
export const WAYS = ['linear probe', 'LoRA', 'full fine-tuning'] as const;
export type Way = (typeof WAYS)[number];

/** The layers that LoRA adapts: queries, values, and both feed-forward layers. */
export const LORA: LoRAConfig = {
  rank: 8,
  targets: ['attention/self/query', 'attention/self/value', 'intermediate/dense', 'output/dense'].map(
    part => new RegExp(`/${part}$`),
  ),
};

const RATES: Readonly<Record<Way, number>> = {'linear probe': 1e-2, LoRA: 2e-3, 'full fine-tuning': 2e-4};

/** The results of a training. */
export interface Outcome {
  accuracy: number;
  parameters: number;
  seconds: number;
  /** The size of the file to keep. */
  kilobytes: number;
}

export interface Learned {
  outcome: Outcome;
  model: tf.LayersModel;
}

/** The encoder with mean pooling and a new head for a task. */
export async function classifier(encoder: Pretrained, classes: number, seed: number): Promise<tf.LayersModel> {
  const {model: body} = await loadTransformer({config: encoder.config, weights: encoder.weights, pooling: 'mean'});
  const head = tf.layers.dense({
    units: classes,
    name: 'classes',
    kernelInitializer: tf.initializers.randomNormal({stddev: 0.02, seed}),
  });
  return tf.model({inputs: body.inputs, outputs: head.apply(body.outputs[0]!) as tf.SymbolicTensor});
}

/** Trains on a task in one of the ways. */
export async function learn(
  encoder: Pretrained,
  {classes, train, test}: Pick<Task, 'classes' | 'train' | 'test'>,
  way: Way,
  {epochs, seed}: {epochs: number; seed: number},
): Promise<Learned> {
  const base = await classifier(encoder, classes.length, seed);
  const begin = Date.now();
  const model = modelFor(base, way);
  compileModel(model, {optimizer: adam({learningRate: RATES[way]})});
  if (way === 'linear probe') {
    await fitHead(model, encoder, train);
  } else {
    await fit(model, encoder, train, epochs, seed);
  }
  const seconds = (Date.now() - begin) / 1000;
  const accuracy = accuracyOf(model, encoder, test);
  const parameters = model.trainableWeights.reduce(
    (sum, weight) => sum + tf.util.sizeFromShape(weight.shape as number[]),
    0,
  );
  return {outcome: {accuracy, parameters, seconds, kilobytes: (4 * parameters) / 1000}, model};
}

function modelFor(base: tf.LayersModel, way: Way): tf.LayersModel {
  switch (way) {
    case 'linear probe':
      base.layers.forEach(layer => (layer.trainable = layer.name === 'classes'));
      return base;
    case 'LoRA': {
      const adapted = applyLoRA(base, {...LORA, trainInFull: ['classes']});
      disposeModel(base);
      return adapted;
    }
    case 'full fine-tuning':
      return base;
  }
}

/** Trains the head alone, on embeddings that are computed once. */
async function fitHead(model: tf.LayersModel, {tokenizer}: Pretrained, texts: Labelled[]): Promise<void> {
  const body = tf.model({inputs: model.inputs, outputs: model.getLayer('pooling').output});
  const head = model.getLayer('classes');
  const input = tf.input({shape: [384]});
  const onVectors = tf.model({inputs: input, outputs: head.apply(input) as tf.SymbolicTensor});
  const optimizer = adam({learningRate: RATES['linear probe']});
  compileModel(onVectors, {optimizer});
  const lines = texts.map(({text}) => text);
  const vectors = await embed(body, tokenizer, lines, {maxLength: PLACES, normalize: false});
  const labels = tf.tensor1d(texts.map(({label}) => label));
  await onVectors.fit(vectors, labels, {epochs: 40, batchSize: BATCH, verbose: 0});
  tf.dispose([vectors, labels]);
  optimizer.dispose();
}

/** Trains a compiled model. */
export async function fit(
  model: tf.LayersModel,
  {tokenizer}: Pretrained,
  texts: Labelled[],
  epochs: number,
  seed: number,
) {
  const random = randomFrom(seed + 1);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const ordered = shuffled(texts, random);
    for (let from = 0; from < ordered.length; from += BATCH) {
      const batch = ordered.slice(from, from + BATCH);
      const {inputs, tokenTypeIds} = encodeTexts(
        model,
        tokenizer,
        batch.map(({text}) => text),
        {maxLength: PLACES},
      );
      const labels = tf.tensor1d(batch.map(({label}) => label));
      await model.trainOnBatch(inputs, labels);
      tf.dispose([inputs, tokenTypeIds, labels]);
    }
  }
}

/** The accuracy of a model on texts. */
export function accuracyOf(model: tf.LayersModel, {tokenizer}: Pretrained, texts: Labelled[]): number {
  return tf.tidy(() => {
    const ordered = [...texts].sort((one, other) => one.text.length - other.text.length);
    let right = 0;
    for (let from = 0; from < ordered.length; from += 64) {
      const batch = ordered.slice(from, from + 64);
      right += tf.tidy(() => {
        const {inputs} = encodeTexts(
          model,
          tokenizer,
          batch.map(({text}) => text),
          {maxLength: PLACES},
        );
        const logits = model.predict(inputs, {batchSize: 64}) as tf.Tensor;
        const chosen = tf.argMax(logits, -1).dataSync();
        return batch.filter(({label}, i) => chosen[i] === label).length;
      });
    }
    return right / texts.length;
  });
}
