import {crossEntropyFromLogits} from '../ops/crossEntropy';
import type {Loss} from './losses';
import {METRICS} from './metrics';

/** The cross-entropy of logits, `'crossEntropy'`. */
export const CLASS_LOSS: Loss = {
  lossFor: () => crossEntropyFromLogits,
  takes: ['labelSmoothing', 'focalGamma', 'classWeights', 'weighted'],
  takesLogits: true,
  metrics: METRICS,
  targets: 'class indices',
  otherMetrics: ['accuracy({topK})'],
  output: 'of logits, [batch, classes] or [batch, positions, classes]',
  fits: shape => shape.length >= 2,
  targetShape: shape => (shape.length === 2 ? [shape[0] ?? null, 1] : shape.slice(0, -1)),
};
