// Models whose layers are the library's, to measure threads with.

import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel} from 'tfjs-lora';
import {generate, loadGGUF} from 'tfjs-lora/language';
import {Attention, FusedLayerNormalization, Gelu} from 'tfjs-lora/transformers';
import {blockOf} from '../cases/transformer';
import type {Run} from '../measure';
import {forward, LEARNING_RATE, step} from '../runs';

/** Positions of a text. */
const POSITIONS = 128;
/** Tokens before another text begins. */
const WRITTEN = 64;

/** The transformer block of `bench/cases` with attention, normalizations and activation of the library. */
export function ownBlock(): tf.LayersModel {
  return blockOf({
    attention: args => new Attention(args),
    norm: args => new FusedLayerNormalization(args),
    activation: args => new Gelu(args),
  });
}

/** `predict` of one text with a language model, a LoRA step on it, and the generation of one token. */
export async function languageRuns(source: Response | Blob): Promise<Record<'predict' | 'step' | 'token', Run>> {
  const {model, tokenizer} = await loadGGUF(source);
  const ids = tf.randomUniform([1, POSITIONS], 1000, 20_000, 'int32', 1);
  const xs = [ids, tf.onesLike(ids)];
  const adapted = applyLoRA(model, {rank: 8, targets: [/[qv]_proj$/], seed: 1});
  compileModel(adapted, {optimizer: adam({learningRate: LEARNING_RATE})});
  const begin = () => generate(model, tokenizer, 'Once upon a time', {maxTokens: WRITTEN});
  let pieces = begin();
  return {
    predict: forward(model, xs),
    step: step(adapted, {xs, ys: ids}),
    token: async () => {
      if ((await pieces.next()).done === true) {
        pieces = begin();
        await pieces.next();
      }
    },
  };
}
