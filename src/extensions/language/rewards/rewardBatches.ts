import * as tf from '@tensorflow/tfjs';
import {withAdapter} from '../../../core/model/currentAdapter';
import type {Batch} from '../../../core/training/seededBatches';
import type {Head} from '../../transformers/ops/headInChunks';
import {constant, counted, IGNORED, tokenLogProbs} from '../logProbs';
import {type AnsweredPrompt, firstAnswerPosition, inputsOf} from '../sequenceInputs';
import type {LanguageParts} from '../session';
import {policyLoss, type PolicyOptions, type PolicyOutcome} from './policyLoss';

// tfjs passes one tensor of targets to the loss of a model with one output. For each row it holds the next token of
// each position from some position on, their log-probabilities by the old policy and by the reference, then the
// advantage of the answer and the weight of its tokens.

/** A sampled answer with what its loss needs. */
export interface JudgedSample extends AnsweredPrompt {
  /** Whether its tokens count. */
  readonly counts: boolean;
  readonly advantage: number;
  readonly weight: number;
  /** By the policy that sampled, for each token of the answer; if absent, those of the policy that trains. */
  readonly old?: Float32Array;
  /** By the reference, for each token of the answer. */
  readonly reference?: Float32Array;
}

/** How many values follow those of the tokens. */
const FACTS = 2;

/** Makes a batch of answers. */
export function rewardBatch(samples: readonly JudgedSample[], padToMultipleOf: number): Batch {
  const {xs, positions} = inputsOf(samples, padToMultipleOf);
  const first = firstAnswerPosition(samples, padToMultipleOf);
  const tokens = positions - first;
  const targets = new Float32Array(samples.length * (3 * tokens + FACTS));
  samples.forEach(({ids, from, counts, old, reference, advantage, weight}, row) => {
    const at = row * (3 * tokens + FACTS);
    const begin = at + Math.max(0, from - 1) - first;
    targets.fill(IGNORED, at, at + tokens);
    if (counts) {
      targets.set(ids.slice(Math.max(1, from)), begin);
      targets.set(old ?? [], begin + tokens);
      targets.set(reference ?? [], begin + 2 * tokens);
    }
    targets.set([advantage, weight], at + 3 * tokens);
  });
  return {xs, ys: tf.tensor2d(targets, [samples.length, 3 * tokens + FACTS])};
}

/** The options of the loss of a batch. */
export interface BatchLossOptions extends PolicyOptions {
  readonly temperature: number;
  /** Whether the log-probabilities of the old policy are in the targets. */
  readonly hasOld: boolean;
}

/** The outcome of a batch, from states before the head. */
export function batchOutcome(
  targets: tf.Tensor2D,
  states: tf.Tensor3D,
  head: Head,
  {temperature, hasOld, ...options}: BatchLossOptions,
): PolicyOutcome & {entropy: tf.Tensor} {
  const [rows, positions] = states.shape;
  const tokens = (targets.shape[1] - FACTS) / 3;
  const columns = (from: number, width: number) => tf.slice2d(targets, [0, from], [rows, width]);
  const ids = columns(0, tokens);
  const mask = counted(ids) as tf.Tensor2D;
  const answerStates = tf.slice3d(states, [0, positions - tokens, 0], [rows, tokens, -1]);
  const {logProbs, entropy} = tokenLogProbs(ids, answerStates, atTemperature(head, temperature));
  const outcome = policyLoss(
    {
      logProbs,
      mask,
      old: hasOld ? columns(tokens, tokens) : constant(logProbs),
      reference: columns(2 * tokens, tokens),
      advantages: columns(3 * tokens, 1),
      weights: columns(3 * tokens + 1, 1),
    },
    options,
  );
  return {...outcome, entropy: tf.div(entropy, tf.maximum(tf.sum(mask), 1))};
}

/** A head whose logits are divided. */
function atTemperature(head: Head, temperature: number): Head {
  return temperature === 1
    ? head
    : {...head, apply: (states, training) => tf.div(head.apply(states, training), temperature)};
}

/**
 * The log-probabilities of the tokens of answers, as training computes them, by the model as it is or by its base.
 *
 * @returns those of each answer.
 */
export async function answerLogProbs(
  model: tf.LayersModel,
  parts: LanguageParts,
  samples: readonly AnsweredPrompt[],
  {temperature, padToMultipleOf, isBase}: {temperature: number; padToMultipleOf: number; isBase: boolean},
): Promise<Float32Array[]> {
  const first = firstAnswerPosition(samples, padToMultipleOf);
  const compute = () =>
    tf.tidy(() => {
      const {xs, ys} = rewardBatch(
        samples.map(({ids, from}) => ({ids, from, counts: true, advantage: 0, weight: 0})),
        padToMultipleOf,
      );
      const states = tf.slice<tf.Rank.R3, tf.Tensor3D>(parts.states(xs as [tf.Tensor2D, tf.Tensor2D]), [0, first, 0]);
      const ids = tf.slice2d(ys as tf.Tensor2D, [0, 0], [samples.length, states.shape[1]]);
      return tokenLogProbs(ids, states, atTemperature(parts.head, temperature)).logProbs;
    });
  const logProbs = isBase ? withAdapter(model, null, compute) : compute();
  const values = await logProbs.data<'float32'>();
  const [, tokens] = logProbs.shape;
  logProbs.dispose();
  return samples.map(({ids, from}, row) => {
    const begin = row * tokens + Math.max(0, from - 1) - first;
    return values.slice(begin, begin + ids.length - Math.max(1, from));
  });
}
