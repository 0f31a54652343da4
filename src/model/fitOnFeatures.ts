import * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, LoRAError} from '../errors';
import {checkModel} from '../rewire/walk';
import {isDataset, isTensorOfOtherCopy, OTHER_COPY} from '../tfjs/copies';
import {stopWith, takeTargetsOf} from '../tfjs/training';
import {asFitOf} from './fits';
import {splitAtFirstAdapter} from './split';

/** Options of `model.fit`. */
type FitArgs = NonNullable<Parameters<tf.LayersModel['fit']>[2]>;

/** How a model is trained on features that are computed once. */
export interface FeatureFitArgs extends FitArgs {
  /**
   * Called after each batch that has passed the prefix. `total` is unknown for a dataset that does not say how large it
   * is.
   */
  onFeatures?: (batches: number, total: number | undefined) => void;
  /** How many bytes the features may take. Default: 1 GiB. */
  maxBytes?: number;
}

/** Batches of examples, as `model.fitDataset` takes them. */
export type Batches = tf.data.Dataset<{xs: tf.TensorContainer; ys: tf.TensorContainer}>;

const GIBIBYTE = 2 ** 30;

/**
 * Trains an adapted, compiled model like `fit`, but runs everything before the first adapted layer only once: over a
 * tensor, or a `tf.data.Dataset` of batches `{xs, ys}`. From the second epoch on, a step costs only the layers from the
 * first adapted one.
 *
 * The prefix runs as in `predict`, without dropout. The model itself is trained, so its adapter is like any other. It
 * counts as a fit of the model: another one at the same time is refused, and so is a step after the adapter was changed
 * meanwhile.
 *
 * @param model an adapted model that has been compiled.
 * @param x inputs, as for `fit`; or a dataset, in which case `y` is `null`.
 * @param y targets, as for `fit`.
 * @throws LoRAError if the model is not adapted or compiled, its first layer is adapted, the features take more than
 *     `maxBytes`, or another fit of the model is going on.
 */
export async function fitOnFeatures(
  model: tf.LayersModel,
  x: tf.Tensor | tf.Tensor[] | Batches,
  y: tf.Tensor | tf.Tensor[] | null,
  args: FeatureFitArgs = {},
): Promise<tf.History> {
  checkModel(model);
  checkOptions(args);
  const {onFeatures, maxBytes = GIBIBYTE, ...fitArgs} = args;
  const isData = isDataset(x);
  checkTensors('x', isData ? [] : x);
  checkTensors('y', isData ? [] : y);
  const optimizer = model.optimizer as tf.Optimizer | undefined;
  if (optimizer === undefined) {
    throw new LoRAError('The model is not compiled. Call model.compile({optimizer, loss}) first.');
  }
  const {prefix, suffix} = splitAtFirstAdapter(model);
  const store = new FeatureStore(maxBytes);
  const targets = new FeatureStore(Infinity);
  return asFitOf(model, suffix, async () => {
    try {
      if (isData) {
        await collect(prefix, x, model, {store, targets, onFeatures});
      } else {
        await compute(prefix, [x].flat(), fitArgs.batchSize ?? 32, {store, onFeatures});
      }
      const features = store.join();
      const labels = isData ? targets.join() : [y ?? []].flat();
      suffix.compile({optimizer, loss: model.loss, metrics: model.metrics});
      takeTargetsOf(suffix, model); // their shapes may be others than those of the outputs
      stopWith(suffix, model);
      try {
        return await suffix.fit(oneOrMany(features), oneOrMany(labels), fitArgs);
      } finally {
        tf.dispose(features);
        if (isData) {
          tf.dispose(labels);
        }
      }
    } finally {
      store.dispose();
      targets.dispose();
    }
  });
}

function checkTensors(name: string, value: unknown): void {
  const tensors: unknown[] = [value].flat();
  if (tensors.some(isTensorOfOtherCopy)) {
    throw new LoRAError(`${name} is ${OTHER_COPY}`);
  }
  const stranger = tensors.findIndex(tensor => !(tensor instanceof tf.Tensor));
  if (stranger >= 0) {
    throw new LoRAError(
      `${name} must be a tensor, or a list of tensors for several, got ${kindOf(tensors[stranger])}.`,
    );
  }
}

/** Tensors in batches, a list for each input of a model. */
class FeatureStore {
  private readonly batches: tf.Tensor[][] = [];
  private bytes = 0;

  constructor(private readonly maxBytes: number) {}

  add(tensors: tf.Tensor[]): void {
    this.batches.push(tensors);
    this.bytes += tensors.reduce((sum, {size}) => sum + 4 * size, 0);
    if (this.bytes > this.maxBytes) {
      throw new LoRAError(
        `The features of ${this.batches.length} batches take ${mebibytes(this.bytes)}, more than the ` +
          `${mebibytes(this.maxBytes)} allowed. Allow more with maxBytes, take fewer examples, or train with fit.`,
      );
    }
  }

  /** All batches as one tensor an input. The store is empty afterwards. */
  join(): tf.Tensor[] {
    const [first] = this.batches;
    if (first === undefined) {
      throw new LoRAError('There is nothing to train on: x has no examples, or the dataset gives no batches.');
    }
    const joined = first.map((_, i) =>
      tf.concat(this.batches.map(batch => batch[i]).filter(part => part !== undefined)),
    );
    this.dispose();
    return joined;
  }

  dispose(): void {
    tf.dispose(this.batches);
    this.batches.length = 0;
  }
}

async function compute(
  prefix: tf.LayersModel,
  inputs: tf.Tensor[],
  batchSize: number,
  {store, onFeatures}: {store: FeatureStore; onFeatures: FeatureFitArgs['onFeatures']},
): Promise<void> {
  const examples = inputs[0]?.shape[0] ?? 0;
  const total = Math.ceil(examples / batchSize);
  for (let batch = 0; batch < total; batch++) {
    const start = batch * batchSize;
    const size = Math.min(batchSize, examples - start);
    store.add(
      tf.tidy(() =>
        run(
          prefix,
          inputs.map(input => tf.slice(input, start, size)),
        ),
      ),
    );
    onFeatures?.(batch + 1, total);
    await tf.nextFrame();
  }
}

async function collect(
  prefix: tf.LayersModel,
  dataset: Batches,
  {inputNames, outputNames}: tf.LayersModel,
  {store, targets, onFeatures}: {store: FeatureStore; targets: FeatureStore; onFeatures: FeatureFitArgs['onFeatures']},
): Promise<void> {
  const total = Number.isFinite(dataset.size) ? dataset.size : undefined;
  let batches = 0;
  await dataset.forEachAsync(({xs, ys}) => {
    targets.add(tensorsIn(ys, outputNames).map(tensor => tf.keep(tf.clone(tensor))));
    store.add(tf.tidy(() => run(prefix, tensorsIn(xs, inputNames))));
    onFeatures?.(++batches, total);
  });
}

function run(prefix: tf.LayersModel, inputs: tf.Tensor[]): tf.Tensor[] {
  const outputs = prefix.predictOnBatch(oneOrMany(inputs));
  return [outputs].flat().map(output => tf.keep(output));
}

/** The tensors that a dataset gives for inputs or targets: one, a list, or an object by name. */
function tensorsIn(value: tf.TensorContainer, names: readonly string[]): tf.Tensor[] {
  if (value instanceof tf.Tensor) {
    return [value];
  }
  if (Array.isArray(value)) {
    return value as tf.Tensor[];
  }
  const named = value as Record<string, tf.Tensor>;
  return names.map(name => named[name]).filter(tensor => tensor !== undefined);
}

function oneOrMany(tensors: tf.Tensor[]): tf.Tensor | tf.Tensor[] {
  const [first] = tensors;
  return tensors.length === 1 && first !== undefined ? first : tensors;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
