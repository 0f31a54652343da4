import * as tf from '@tensorflow/tfjs';
import {
  accumulate,
  accuracy,
  adam,
  adamW,
  bestAdapter,
  checkpoint,
  clipByGlobalNorm,
  compileModel,
  f1Score,
  focalLoss,
  keepIfBetter,
  learningRateSchedule,
  LoRAError,
  loraPlus,
  neftune,
  progress,
  seededBatches,
  sgd,
  withReplay,
} from 'tfjs-lora';

/** Less than what any setting tells apart from nothing. */
const BIT = 1e-9;

const SAFE = Number.MAX_SAFE_INTEGER;

const gate = (options: object) => keepIfBetter({validationData: [tf.ones([2, 1]), tf.ones([2, 1])], ...options});
const batches = (batchSize = 1) => seededBatches(tf.ones([2, 1]), tf.ones([2, 1]), {batchSize, seed: 1});
const compiled = (options: object) => {
  const model = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [1]})]});
  compileModel(model, {optimizer: 'sgd', ...options});
};

test.each<[setting: string, use: (value: number) => unknown, accepted: number[], refused: number[]]>([
  ['learningRate of adam', learningRate => adam({learningRate}), [0], [-BIT, Infinity]],
  ['beta1 of adam', beta1 => adam({beta1}), [0, 1 - BIT], [-BIT, 1]],
  ['beta2 of adam', beta2 => adam({beta2}), [0, 1 - BIT], [-BIT, 1]],
  ['epsilon of adam', epsilon => adam({epsilon}), [0], [-BIT]],
  ['weightDecay of adamW', weightDecay => adamW({weightDecay}), [0], [-BIT]],
  ['learningRate of sgd', learningRate => sgd({learningRate}), [0], [-BIT]],
  ['momentum of sgd', momentum => sgd({momentum}), [0, 1 - BIT], [-BIT, 1]],
  ['ratio of loraPlus', ratio => loraPlus(adam(), {ratio}), [BIT], [0]],
  ['maxNorm of clipByGlobalNorm', maxNorm => clipByGlobalNorm(adam(), maxNorm), [BIT], [0]],
  ['batches of accumulate', count => accumulate(adam(), count), [1], [0, 1.5]],
  ['alpha of focalLoss', alpha => focalLoss({alpha}), [0, 1], [-BIT, 1 + BIT]],
  ['gamma of focalLoss', gamma => focalLoss({gamma}), [0], [-BIT]],
  ['alpha of neftune', alpha => neftune({alpha}), [BIT], [0]],
  ['seed of neftune', seed => neftune({seed}), [SAFE, -SAFE], [SAFE + 1, 0.5]],
  ['patience of bestAdapter', patience => bestAdapter({patience}), [1], [0, 1.5]],
  ['minDelta of bestAdapter', minDelta => bestAdapter({minDelta}), [0], [-BIT]],
  ['everySeconds of progress', everySeconds => progress({everySeconds}), [0], [-BIT]],
  ['margin of keepIfBetter', margin => gate({margin}), [0], [-BIT]],
  ['confidence of keepIfBetter', confidence => gate({confidence}), [0.5, 1 - BIT], [0.5 - BIT, 1]],
  ['batchSize of keepIfBetter', batchSize => gate({batchSize}), [1], [0, 1.5]],
  ['seed of keepIfBetter', seed => gate({seed}), [SAFE], [SAFE + 1]],
  ['everyEpochs of checkpoint', everyEpochs => checkpoint('memory://x', {everyEpochs}), [1], [0]],
  ['everySteps of checkpoint', everySteps => checkpoint('memory://x', {everySteps}), [1], [0]],
  ['keep of checkpoint', keep => checkpoint('memory://x', {keep}), [1], [0]],
  ['steps of learningRateSchedule', steps => learningRateSchedule({steps}), [1], [0]],
  ['batchSize of seededBatches', batchSize => batches(batchSize), [1], [0, 1.5]],
  ['share of withReplay', share => withReplay(batches(), {replay: batches(), share}), [BIT, 1 - BIT], [0, 1]],
  ['labelSmoothing of compileModel', labelSmoothing => compiled({labelSmoothing}), [0, 1], [-BIT, 1 + BIT]],
  ['focalGamma of compileModel', focalGamma => compiled({focalGamma}), [0], [-BIT]],
  ['topK of accuracy', topK => accuracy({topK}), [1], [0, 1.5]],
  ['positive of f1Score', positive => f1Score({positive}), [0], [-1, 0.5]],
])('%s may be at its bounds, and not beyond', (_, use, accepted, refused) => {
  for (const value of accepted) {
    expect(() => use(value)).not.toThrow();
  }
  for (const value of refused) {
    expect(() => use(value)).toThrow(LoRAError);
  }
});
