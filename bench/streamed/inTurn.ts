// Times of a model whose weights stay in their file against those of the same model in memory.

import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel} from 'tfjs-lora';
import {generateTexts, type Tokenizer} from 'tfjs-lora/language';
import {type Clock, now, summarize} from '../measure';

/** The same model twice. */
export interface Bases {
  inMemory: tf.LayersModel;
  streamed: tf.LayersModel;
}

export interface Plan {
  /** The tokens of a step. */
  positions: number;
  vocabulary: number;
  rounds: number;
  clock: Clock;
  /** How many tokens an answer has. Default: none is generated. */
  tokens?: number;
  tokenizer?: Tokenizer;
}

/** Medians of streamed ÷ in memory. */
export interface Ratios {
  step: number;
  token?: number;
}

/**
 * Takes LoRA steps with both in turn, and generates answers with both.
 *
 * @throws Error if the adapters do not have the same bits at the end.
 */
export async function streamedRatios(bases: Bases, plan: Plan): Promise<Ratios> {
  const {positions, vocabulary, tokens, tokenizer} = plan;
  const models = [bases.inMemory, bases.streamed].map(base =>
    applyLoRA(base, {rank: 8, targets: [/[qv]_proj$/], seed: 1}),
  );
  models.forEach(model => {
    compileModel(model, {optimizer: adam({learningRate: 1e-4})});
  });
  const ids = tf.randomUniform([1, positions], 0, vocabulary, 'int32', 1);
  const mask = tf.onesLike(ids);
  const token =
    tokenizer === undefined
      ? undefined
      : await inTurn(models, plan, async model => {
          await generateTexts(model, tokenizer, ['Once'], {maxTokens: tokens!});
        });
  const step = await inTurn(models, plan, async model => {
    await model.trainOnBatch([ids, mask], ids);
  });
  const [inMemory = [], streamed = []] = await Promise.all(
    models.map(({trainableWeights}) => Promise.all(trainableWeights.map(weight => weight.read().data()))),
  );
  if (inMemory.some((values, i) => values.some((value, j) => !Object.is(value, streamed[i]![j])))) {
    throw new Error('Steps with streamed weights change the adapter by other bits.');
  }
  return {step, ...(token !== undefined && {token})};
}

/** The median of the second model's time ÷ the first one's of the same round. The first round warms up. */
async function inTurn(
  models: readonly tf.LayersModel[],
  {rounds, clock}: Plan,
  run: (model: tf.LayersModel) => Promise<void>,
): Promise<number> {
  const ratios: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const taken = [0, 0];
    for (const i of round % 2 === 0 ? [0, 1] : [1, 0]) {
      const start = now(clock);
      await run(models[i]!);
      taken[i] = now(clock) - start;
    }
    if (round > 0) {
      ratios.push(taken[1]! / taken[0]!);
    }
  }
  return summarize(ratios)!.median;
}
