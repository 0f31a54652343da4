// Times of a model whose weights stay in their file against those of the same model in memory.

import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel} from 'tfjs-lora';
import {generateTexts, type Tokenizer} from 'tfjs-lora/language';
import {type Clock, measure, ratioOf, time} from '../measure';

/** All models that are measured have at least so many tokens. */
export const VOCABULARY = 49_152;
/** How many tokens an answer has. */
const TOKENS = 16;
/** A run of more than a second takes part in every third of them. */
const ROUNDS = 13;

/** The same model twice. */
export interface Bases {
  inMemory: tf.LayersModel;
  streamed: tf.LayersModel;
}

export interface Plan {
  /** The tokens of a step. */
  positions: number;
  clock: Clock;
  /** Default: no answer is generated. */
  tokenizer?: Tokenizer;
}

/** Medians of streamed ÷ in memory. */
export interface Ratios {
  step: number;
  token?: number;
}

/** A base with a LoRA adapter, compiled for steps on tokens. */
export function adapted(base: tf.LayersModel): tf.LayersModel {
  const model = applyLoRA(base, {rank: 8, targets: [/[qv]_proj$/], seed: 1});
  compileModel(model, {optimizer: adam({learningRate: 1e-4})});
  return model;
}

/** Takes LoRA steps on random tokens. Returns the losses. */
export async function takeSteps(model: tf.LayersModel, positions: number, count: number): Promise<unknown[]> {
  const ids = tf.randomUniform([1, positions], 0, VOCABULARY, 'int32', 1);
  const mask = tf.onesLike(ids);
  const losses: unknown[] = [];
  for (let step = 0; step < count; step++) {
    losses.push(await model.trainOnBatch([ids, mask], ids));
  }
  tf.dispose([ids, mask]);
  return losses;
}

/**
 * Takes LoRA steps with both in turn, and generates answers with both.
 *
 * @throws Error if the adapters do not have the same bits after three steps.
 */
export async function streamedRatios(bases: Bases, {positions, clock, tokenizer}: Plan): Promise<Ratios> {
  const models = {inMemory: adapted(bases.inMemory), streamed: adapted(bases.streamed)};
  await expectSameBits(models, positions);
  const ratio = async (run: (model: tf.LayersModel) => Promise<unknown>) => {
    const contenders = Object.entries(models).map(([name, model]) => ({
      name,
      sample: (repeats: number) => time(async () => void (await run(model)), repeats, clock),
    }));
    const outcomes = await measure(contenders, {clock, rounds: ROUNDS, sampleMs: 0});
    return ratioOf(outcomes, 'streamed', 'inMemory')!.median;
  };
  const token = tokenizer && (await ratio(model => generateTexts(model, tokenizer, ['Once'], {maxTokens: TOKENS})));
  return {step: await ratio(model => takeSteps(model, positions, 1)), ...(token !== undefined && {token})};
}

async function expectSameBits({inMemory, streamed}: Bases, positions: number): Promise<void> {
  const bitsOf = async (model: tf.LayersModel) => {
    await takeSteps(model, positions, 3);
    const weights = await Promise.all(model.trainableWeights.map(weight => weight.read().data()));
    return weights.flatMap(values => [...new Uint32Array((values as Float32Array).slice().buffer)]);
  };
  const [expected, actual] = [await bitsOf(inMemory), await bitsOf(streamed)];
  if (!expected.every((bits, i) => bits === actual[i])) {
    throw new Error('Steps with streamed weights change the adapter by other bits.');
  }
}
