import * as tf from '@tensorflow/tfjs';
import {checkOptions, misfitError, showShape} from '../../../platform/errors';
import {type CrossEntropyOptions, crossEntropyFromLogits} from '../ops/crossEntropy';
import type {Metric} from '../../../platform/tfjs/metric';
import {type MetricName, metricsOf} from './metrics';
import {checkModel} from '../../../core/rewire/walk';
import {takeTargets} from '../../../platform/tfjs/training';

/** How a model is compiled for targets that are whole numbers. */
export interface CompileCrossEntropyOptions extends CrossEntropyOptions {
  /** As for `model.compile`. */
  optimizer: string | tf.Optimizer;
  /**
   * What is logged beside the loss: `'accuracy'` (`acc`, `val_acc`), `'f1'`, `'perplexity'`, or functions such as
   * `topKAccuracy({k: 5})`. Those with a name leave out `ignoreIndex` as the loss does; a function has its own.
   */
  metrics?: MetricName | Metric | (MetricName | Metric)[];
}

/**
 * Compiles a model whose output are logits for targets that are numbers of classes: `[batch]` for logits
 * `[batch, classes]`, `[batch, places]` for logits `[batch, places, classes]`. `fit` and `evaluate` then take such
 * targets; tfjs itself wants them one-hot.
 *
 *     compileCrossEntropy(model, {optimizer: adam({learningRate: 2e-4}), metrics: ['accuracy']});
 *     await model.fit([ids, mask], labels);
 *
 * @throws LoRAError if the model has another number of outputs than one, or an option or metric is
 *     unknown.
 */
export function compileCrossEntropy(model: tf.LayersModel, options: CompileCrossEntropyOptions): void {
  checkOptions(options, {optimizer: true, ignoreIndex: true, metrics: true});
  checkModel(model);
  const {optimizer, metrics = [], ...rest} = options;
  const measures = metricsOf([metrics].flat(), rest);
  const [shape, ...others] = model.outputs.map(output => output.shape);
  if (shape === undefined || others.length > 0 || shape.length < 2) {
    throw misfitError(
      `The model must have one output of logits, [batch, classes] or [batch, places, classes], got ${[shape, ...others]
        .map(each => showShape(each ?? []))
        .join(', ')}.`,
    );
  }
  model.compile({
    optimizer,
    loss: (targets, logits) => crossEntropyFromLogits(targets, logits, rest),
    metrics: measures,
  });
  // tfjs takes targets of the shape of the output, but for its own loss from probabilities. A list of numbers it makes
  // [batch, 1].
  takeTargets(model, shape.length === 2 ? [shape[0] ?? null, 1] : shape.slice(0, -1));
}
