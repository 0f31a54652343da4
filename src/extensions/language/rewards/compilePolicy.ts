import * as tf from '@tensorflow/tfjs';
import {withName} from '../../../platform/tfjs/metric';
import {setTargetShape, stopSteps} from '../../../platform/tfjs/training';
import {accumulate} from '../../../core/training/accumulate';
import {outputHead} from '../../transformers/losses/outputHead';
import type {Head} from '../../transformers/ops/headInChunks';
import {languageParts} from '../session';
import type {PolicyOptions} from './policyLoss';
import {batchOutcome} from './rewardBatches';
import type {ResolvedRewards} from './rewardOptions';

/** The options that decide the loss, and the steps of the optimizer. */
export type PolicySettings = PolicyOptions &
  Pick<ResolvedRewards, 'optimizer' | 'group' | 'promptsPerStep' | 'batchSize' | 'temperature' | 'iterations'>;

/** Compiles a model for the batches of a run: all answers of a step take one step of the optimizer. */
export function compilePolicy(model: tf.LayersModel, options: PolicySettings): void {
  const {optimizer, group, promptsPerStep, batchSize} = options;
  const passes = (group * promptsPerStep) / batchSize;
  const head = outputHead(model);
  // Without a head, outputs are logits, and all are there already.
  const logits: Head = {
    apply: states => states,
    classes: languageParts(model).vocabulary,
    leastPositions: Number.MAX_SAFE_INTEGER,
    dropouts: [],
  };
  let isStopped = () => false;
  // tfjs calls the loss and then the metrics with the same outputs.
  let latest: {outputs: tf.Tensor; outcome: ReturnType<typeof batchOutcome>} | undefined;
  const outcomeOf = (targets: tf.Tensor, outputs: tf.Tensor) => {
    if (latest?.outputs !== outputs || latest.outcome.kl.isDisposed) {
      const outputHeadOfStep = isStopped() && head ? head : logits;
      latest = {
        outputs,
        outcome: batchOutcome(targets as tf.Tensor2D, outputs as tf.Tensor3D, outputHeadOfStep, {
          ...options,
          hasOld: needsOld(options),
        }),
      };
    }
    return latest.outcome;
  };
  model.compile({
    optimizer: passes === 1 ? optimizer : accumulate(optimizer, passes),
    loss: (targets, outputs) => outcomeOf(targets, outputs).loss,
    metrics: (['kl', 'entropy', 'clipped'] as const).map(name =>
      withName(name, (targets, outputs) => tf.clone(outcomeOf(targets, outputs)[name])),
    ),
  });
  setTargetShape(model, [null, null]);
  if (head !== undefined) {
    isStopped = stopSteps(model, head.states);
  }
}

/** Whether the log-probabilities of the policy that sampled have to be computed before a step. */
export function needsOld({iterations, loss, beta}: Pick<ResolvedRewards, 'iterations' | 'loss' | 'beta'>): boolean {
  return iterations > 1 || (loss === 'rloo' && beta > 0);
}
