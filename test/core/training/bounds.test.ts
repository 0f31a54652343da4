import * as tf from '@tensorflow/tfjs';
import {
  accumulate,
  accuracy,
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
} from '../../../src';
import {MemoryHandler} from '../../models';

const ones = () => tf.ones<tf.Rank.R2>([2, 1]);
const inner = () => tf.train.sgd(0.1);
const batches = () => seededBatches(ones(), ones(), {seed: 1});
const compile = (options: object) =>
  compileModel(tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [1]})]}), {optimizer: 'sgd', ...options});
const gate = (options: object) => keepIfBetter({validationData: [ones(), ones()], ...options});

const NOT_NEGATIVE = {inside: [0, 1e-9], outside: [-1e-9, Infinity]};
const POSITIVE = {inside: [1e-9], outside: [0, -1e-9]};
const COUNT = {inside: [1, 2], outside: [0, 1.5, -1]};
const WHOLE = {inside: [0, -3, 2 ** 53 - 1], outside: [0.5, 2 ** 53]};
const SHARE = {inside: [0, 1], outside: [-1e-9, 1 + 1e-9]};
const BELOW_1 = {inside: [0, 1 - 1e-9], outside: [-1e-9, 1]};

test.each<[string, use: (value: number) => unknown, bounds: {inside: number[]; outside: number[]}]>([
  ['weightDecay', weightDecay => adamW({weightDecay}), NOT_NEGATIVE],
  ['learningRate', learningRate => adamW({learningRate}), NOT_NEGATIVE],
  ['epsilon', epsilon => adamW({epsilon}), NOT_NEGATIVE],
  ['beta1', beta1 => adamW({beta1}), BELOW_1],
  ['beta2', beta2 => adamW({beta2}), BELOW_1],
  ['learningRate', learningRate => sgd({learningRate}), NOT_NEGATIVE],
  ['momentum', momentum => sgd({momentum}), BELOW_1],
  ['ratio', ratio => loraPlus(inner(), {ratio}), POSITIVE],
  ['maxNorm', maxNorm => clipByGlobalNorm(inner(), maxNorm), POSITIVE],
  ['batches', count => accumulate(inner(), count), COUNT],
  ['warmup', warmup => learningRateSchedule({warmup}), {inside: [0, 0.5, 1, 2], outside: [-1e-9, -1, 1.5]}],
  ['steps', steps => learningRateSchedule({steps}), COUNT],
  ['alpha', alpha => neftune({alpha}), POSITIVE],
  ['seed', seed => neftune({seed}), WHOLE],
  ['alpha', alpha => focalLoss({alpha}), SHARE],
  ['gamma', gamma => focalLoss({gamma}), NOT_NEGATIVE],
  ['focalGamma', focalGamma => compile({focalGamma}), NOT_NEGATIVE],
  ['labelSmoothing', labelSmoothing => compile({labelSmoothing}), SHARE],
  ['topK', topK => accuracy({topK}), COUNT],
  ['positive', positive => f1Score({positive}), {inside: [0, 1], outside: [-1, 0.5]}],
  ['everySeconds', everySeconds => progress({everySeconds}), NOT_NEGATIVE],
  ['patience', patience => bestAdapter({patience}), {inside: [1, Infinity], outside: [0, 1.5, -Infinity]}],
  ['minDelta', minDelta => bestAdapter({minDelta}), NOT_NEGATIVE],
  ['margin', margin => gate({margin}), NOT_NEGATIVE],
  ['minimum', minimum => gate({minimum}), {inside: [-1, 0], outside: [Infinity]}],
  ['confidence', confidence => gate({confidence}), {inside: [0.5, 1 - 1e-9], outside: [0.5 - 1e-9, 1]}],
  ['batchSize', batchSize => gate({batchSize}), COUNT],
  ['seed', seed => gate({seed}), WHOLE],
  ['batchSize', batchSize => seededBatches(ones(), ones(), {batchSize, seed: 1}), COUNT],
  ['seed', seed => seededBatches(ones(), ones(), {seed}), WHOLE],
  ['share', share => withReplay(batches(), {replay: batches(), share}), {inside: [1e-9, 1 - 1e-9], outside: [0, 1]}],
  ['everyEpochs', everyEpochs => checkpoint(new MemoryHandler(), {everyEpochs}), COUNT],
  ['everySteps', everySteps => checkpoint(new MemoryHandler(), {everySteps}), COUNT],
  ['keep', keep => checkpoint(() => new MemoryHandler(), {keep}), COUNT],
])('%s is taken up to its bounds, and refused beyond them', (name, use, {inside, outside}) => {
  inside.forEach(value => expect(() => use(value)).not.toThrow());
  [...outside, NaN, '1' as never].forEach(value => {
    expect(() => use(value)).toThrow(LoRAError);
    expect(() => use(value)).toThrow(`${name} must be `);
  });
});
