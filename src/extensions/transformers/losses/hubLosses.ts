import * as tf from '@tensorflow/tfjs';
import {addLosses, type Loss, type LossName, registerHeadLoss, supplyLossOfHead} from '../../../core/training/losses';
import {misfitError, show, showShape} from '../../../platform/errors';
import {hubClassOf, hubHeadOf} from '../net/hubRecord';
import {lossOfHead} from './chunkedLoss';
import {pairLoss, rankingLoss, sigmoidPairLoss} from './contrastive';
import {SPAN_METRICS, spanCrossEntropy} from './spans';

const PAIRS = {
  takes: [],
  takesLogits: false,
  metrics: {},
  targets: 'pairs',
  output: 'of similarities, [pairs, pairs]',
  fits: (shape: tf.Shape) => shape.length === 2,
} as const;

const SPANS: Loss = {
  lossFor: () => spanCrossEntropy,
  takes: ['labelSmoothing', 'focalGamma', 'weighted'],
  takesLogits: true,
  metrics: SPAN_METRICS,
  targets: 'spans',
  output: '[batch, positions, 2], a start and an end',
  fits: isSpans,
  targetShape: ([batch]) => [batch ?? null, 2],
};

/** Rows are n anchors, their n positives, and negatives; targets are `[rows, n]`. */
const RANKING: Loss = {
  lossFor:
    () =>
    ({shape: [rows = 0, pairs = 0]}, embeddings, {scale = 20}) => {
      const [anchors, candidates] = tf.split(embeddings, [pairs, rows - pairs]) as [tf.Tensor, tf.Tensor];
      return rankingLoss(anchors, candidates, {scale});
    },
  takes: ['scale'],
  takesLogits: false,
  metrics: {},
  targets: 'rankings',
  output: 'of embeddings, [texts, width]',
  fits: shape => shape.length === 2,
  targetShape: ([batch]) => [batch ?? null, null],
};

supplyLossOfHead(lossOfHead);
addLosses({
  spans: SPANS,
  pairs: {...PAIRS, lossFor: () => pairLoss},
  sigmoidPairs: {...PAIRS, lossFor: () => sigmoidPairLoss},
  ranking: RANKING,
});

registerHeadLoss(model => {
  const name = lossOf(model);
  const head = hubHeadOf(model);
  if (head === 'none' || head === 'projection') {
    throw misfitError(
      `The model is a ${hubClassOf(model)} without a head: its output, ${showShape(model.outputs[0]?.shape ?? [])}, ` +
        'is not logits. Load it with a new head, loadTransformer(…, {labels: 2}), put one on it with replaceHead, or ' +
        `choose another loss. If its outputs are logits, name the loss: {loss: ${show(name ?? 'crossEntropy')}}.`,
    );
  }
  return name;
});

/** The loss of a model of the hub, by its class. A replaced head has other outputs. */
function lossOf(model: tf.LayersModel): LossName | undefined {
  const className = hubClassOf(model);
  const shape = model.outputs[0]?.shape ?? [];
  if (className.endsWith('ForQuestionAnswering') && isSpans(shape)) {
    return 'spans';
  }
  if (className.endsWith('ForCTC')) {
    return 'ctc';
  }
  const isPairs = shape.length === 2 && shape[1] === null;
  return isPairs && className === 'CLIPModel'
    ? 'pairs'
    : isPairs && ['SiglipModel', 'Siglip2Model'].includes(className)
      ? 'sigmoidPairs'
      : undefined;
}

function isSpans(shape: tf.Shape): boolean {
  return shape.length === 3 && shape[2] === 2;
}
