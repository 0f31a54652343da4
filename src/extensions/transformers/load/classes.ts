import * as tf from '@tensorflow/tfjs';
import {checkCount, kindOf, LoRAError, misfitError, prefixed, show, showShape} from '../../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf} from '../../../platform/signals';
import {checkModel} from '../../../platform/tfjs/checkModel';
import {outputActivation} from '../../../core/head/outputActivation';
import {hubClassOf, hubHeadOf, hubRecordOf} from '../net/hubRecord';

/** A class, and how likely it is. */
export interface ClassScore {
  /** The name of the class. */
  label: string;
  /** From 0 to 1. */
  score: number;
}

/** Options of `classify` and `classifyImages`. */
export interface ClassScoreOptions extends CallOptions {
  /** The names of the classes, in the order of the model's outputs. Default: those of the model's config. */
  labels?: readonly string[];
  /** How many classes to return, the most likely ones. Default: 5. */
  topK?: number;
}

/** The classes of a model. */
export interface ModelClasses {
  count: number;
  /** Unknown for a head that is not from the hub, unless the caller passes them. */
  names: readonly string[] | undefined;
  isMultiLabel: boolean;
}

/**
 * Finds the classes of a model: how many, and their names.
 *
 * @throws LoRAError `ERR_MISFIT` if its output is not of classes, `ERR_OPTION` if labels are not a name for each class.
 */
export function classesOf(model: tf.LayersModel, labels: readonly string[] | undefined): ModelClasses {
  checkModel(model);
  const shapes = model.outputs.map(({shape}) => shape);
  const [[, count, ...furtherSizes] = []] = shapes;
  const head = hubHeadOf(model);
  const config = head === undefined ? {} : ((hubRecordOf(model)?.config ?? {}) as Record<string, unknown>);
  const {id2label, problem_type: problem} = config;
  const isOfClasses = head === undefined || head === 'classes' || head === 'taught';
  if (shapes.length !== 1 || !isOfClasses || count == null || furtherSizes.length > 0 || problem === 'regression') {
    const of = problem === 'regression' ? 'a regression' : hubClassOf(model);
    throw misfitError(
      `The model must have one output of classes, [batch, classes], got ${shapes.map(showShape).join(', ')}` +
        `${head === undefined ? '' : `, of ${of}`}. Load it with a head for them, loadTransformer(folder, ` +
        '{labels: 2}), or put one on it with replaceHead.',
    );
  }
  if (labels !== undefined) {
    checkLabels(labels, count);
  }
  const names = (id2label ?? {}) as Readonly<Record<number, unknown>>;
  const ofConfig = Array.from({length: count}, (_, i) => {
    const name = names[i];
    return typeof name === 'string' ? name : `LABEL_${i}`;
  });
  return {
    count,
    names: labels ?? (head === undefined ? undefined : ofConfig),
    isMultiLabel: problem === 'multi_label_classification',
  };
}

function checkLabels(labels: readonly string[], count: number): void {
  if (!Array.isArray(labels) || labels.some(label => typeof label !== 'string')) {
    throw new LoRAError(`labels must be a list of names, got ${kindOf(labels)}.`);
  }
  if (labels.length !== count || new Set(labels).size !== count) {
    throw new LoRAError(
      `labels must be ${count} different names, one for each class, got ${labels.map(show).join(', ')}.`,
    );
  }
}

/**
 * Computes the scores of classes, batch by batch: the softmax of logits or, where classes exclude no others, their
 * sigmoid. A head that ends in either returns scores already.
 *
 * @param encode makes the inputs of a batch.
 * @param what is being done, for progress.
 * @returns for each entry its best classes.
 */
export async function classScores<T>(
  model: tf.LayersModel,
  entries: readonly T[],
  options: ClassScoreOptions & {batchSize: number},
  {encode, what}: {encode: (batch: readonly T[]) => Promise<{inputs: tf.Tensor[]}>; what: string},
): Promise<ClassScore[][]> {
  const {labels, topK = 5, batchSize} = options;
  checkCallOptions(options);
  checkCount('topK', topK);
  checkCount('batchSize', batchSize);
  const classes = classesOf(model, labels);
  const {count, names} = classes;
  if (names === undefined) {
    throw new LoRAError(
      `The names of the model's ${count} classes are not known, because its head is not from the hub. Pass them in the ` +
        "order of its outputs: {labels: ['cat', 'dog', …]}.",
    );
  }
  const scoresOf = scorer(model, classes);
  const step = stepsOf(options);
  const results: ClassScore[][] = [];
  for (let from = 0; from < entries.length; from += batchSize) {
    await step({done: from, total: entries.length, what});
    const batch = entries.slice(from, from + batchSize);
    const encoded = await encode(batch).catch((error: unknown) => {
      throw from > 0 && error instanceof LoRAError ? prefixed(`Counted from entry ${from}: `, error) : error;
    });
    try {
      const scores = tf.tidy(() => scoresOf(model.predict(encoded.inputs, {batchSize: batch.length}) as tf.Tensor));
      const values = await scores.data().finally(() => scores.dispose());
      for (let row = 0; row < batch.length; row++) {
        const ofRow = names.map((label, i) => ({label, score: values[row * count + i] as number}));
        results.push(ofRow.sort((one, other) => other.score - one.score).slice(0, topK));
      }
    } finally {
      tf.dispose({...encoded});
    }
  }
  await step({done: entries.length, total: entries.length, what});
  return results;
}

/** How outputs become scores, as in the pipelines of transformers. */
function scorer(model: tf.LayersModel, {count, isMultiLabel}: ModelClasses): (outputs: tf.Tensor) => tf.Tensor {
  const end = outputActivation(model.outputs[0] as tf.SymbolicTensor);
  switch (end?.activation.toLowerCase()) {
    case 'softmax':
    case 'sigmoid':
      return scores => scores;
    case undefined:
      return logits => (isMultiLabel || count === 1 ? tf.sigmoid(logits) : tf.softmax(logits));
    default:
      throw misfitError(
        `The output of the model ends in the activation ${end?.activation} of layer "${end?.layer}". Scores need ` +
          'logits, a softmax or a sigmoid.',
      );
  }
}
