import * as tf from '@tensorflow/tfjs';
import {
  checkCount,
  checkOptions,
  kindOf,
  listed,
  LoRAError,
  misfitError,
  notReadyError,
  showShape,
  tooLargeError,
} from '../../platform/errors';
import {checkModel} from '../../platform/tfjs/checkModel';
import {isDataset, isTensorOfOtherCopy, OTHER_COPY} from '../../platform/tfjs/copies';
import {releaseOptimizer} from '../../platform/tfjs/release';
import {stopWith, takeTargetsOf, trainedIn} from '../../platform/tfjs/training';
import {
  type CallOptions,
  checkCallOptions,
  type Step,
  stepsOf,
  throwIfAborted,
  unlessAborted,
} from '../../platform/signals';
import {asFitOf, checkMoments} from './fits';
import {type HeadFirst, headSettingsOf} from './headFirst';
import {splitAtFirstAdapter, splitAtHead} from './split';

/** Options of `model.fit`. */
type FitArgs = NonNullable<Parameters<tf.LayersModel['fit']>[2]>;

/** Options of `fitOnFeatures`: those of `fit`, and how the features are computed. */
export interface FeatureFitArgs extends Omit<FitArgs, 'validationData'>, CallOptions {
  /** Examples to evaluate on after each epoch: `[x, y]`, or a dataset of batches. They pass the prefix once too. */
  validationData?: FitArgs['validationData'] | Batches;
  /** How many bytes the features may take. Default: 1 GiB. */
  maxBytes?: number;
  /** Trains the new head alone first, so that it distorts no other layer. `true`: 20 epochs of Adam at 3e-3. */
  headFirst?: boolean | HeadFirst;
}

/** Batches of examples, as `model.fitDataset` takes them. */
export type Batches = tf.data.Dataset<{xs: tf.TensorContainer; ys: tf.TensorContainer}>;

const GIBIBYTE = 2 ** 30;

/** Arguments of `fit` and `fitDataset` that don't apply to features. */
const REFUSED = [
  ...['sampleWeight', 'stepsPerEpoch', 'validationSteps'],
  ...['batchesPerEpoch', 'validationBatches', 'validationBatchSize'],
];

/**
 * Trains an adapted, compiled model like `fit`, but runs everything before the first adapted layer only once: over a
 * tensor, or a `tf.data.Dataset` of batches `{xs, ys}`, and over `validationData`. From the second epoch on, a step
 * costs only the layers from the first adapted one.
 *
 * The prefix runs as in `predict`, without dropout. The model itself is trained, so its adapter is like any other. The
 * call counts as a fit of the model: another fit at the same time is refused, and so is a step after the adapter
 * changed.
 *
 * With `headFirst`, the new head trains alone before the fit: what `replaceHead` put on, or what was random when
 * `loadTransformer` made the model. The steps of an untrained head would otherwise distort the layers before it (Kumar
 * et al., "Fine-Tuning can Distort Pretrained Features", arXiv 2202.10054). The head passes over features too, without
 * the callbacks, and the optimizer of the model is not used. A fit with `initialEpoch` above 0 skips this. If the loss
 * of the head ends below `headFirst.enough`, the fit itself does not run.
 *
 * `onProgress` reports the batches whose features are computed, and the epochs of the head. An aborted `signal` ends
 * the call, also while it trains: the adapter then keeps the steps that are complete. To end a fit without an error,
 * use `progress({signal})`.
 *
 * @param model an adapted model that has been compiled.
 * @param x inputs, `[examples, …]`; several in a list.
 * @param y targets, `[examples, …]`; for several outputs in a list.
 * @param args options of `fit`, except those about weights of examples and numbers of steps; `headFirst`, `maxBytes`,
 *     `signal` and `onProgress`.
 * @returns a promise of the history, as `fit` gives it. With `headFirst`, its `head` is the history of the head: the
 *     same object if the head was enough.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_NOT_READY` if it is not compiled,
 *     `ERR_TOO_LARGE` if the features take more than `maxBytes`, `ERR_MISFIT` if the first layer is adapted, there are
 *     not equally many inputs and targets, a dataset gives fewer batches than it says, there is no new head to train
 *     first, or the optimizer has moments of another model, `ERR_OPTION` if an argument does not apply, `ERR_BUSY` if
 *     the model is training, `ERR_ABORTED` if the signal is aborted.
 * @example
 *     await fitOnFeatures(model, xs, ys, {epochs: 10, batchSize: 8, headFirst: true});
 */
export function fitOnFeatures(
  model: tf.LayersModel,
  x: tf.Tensor | tf.Tensor[],
  y: tf.Tensor | tf.Tensor[],
  args?: FeatureFitArgs,
): Promise<tf.History & {head?: tf.History}>;
/** @param dataset batches `{xs, ys}`, as `fitDataset` takes them. */
export function fitOnFeatures(
  model: tf.LayersModel,
  dataset: Batches,
  args?: FeatureFitArgs,
): Promise<tf.History & {head?: tf.History}>;
export async function fitOnFeatures(
  model: tf.LayersModel,
  x: unknown,
  ...laterArgs: unknown[]
): Promise<tf.History & {head?: tf.History}> {
  checkModel(model);
  const [y, fitOptions = {}, ...excess] = isDataset(x) ? [undefined, ...laterArgs] : laterArgs;
  if (excess.length > 0) {
    throw new LoRAError('The batches of a dataset hold the targets: call fitOnFeatures(model, dataset, args).');
  }
  const args = fitOptions as FeatureFitArgs;
  checkOptions(args);
  checkCallOptions(args);
  const {signal, onProgress, maxBytes = GIBIBYTE, validationData, headFirst = false, ...fitArgs} = args;
  const refused = REFUSED.filter(name => (args as Record<string, unknown>)[name] != null);
  if (refused.length > 0) {
    throw new LoRAError(`fitOnFeatures takes no ${listed(refused)}. Leave it out, or train with fit or fitDataset.`);
  }
  const {batchSize = 32} = fitArgs;
  checkCount('batchSize', batchSize);
  const settings = headSettingsOf(headFirst);
  const examples = examplesOf(x, y, ['x', 'y']);
  const heldOut = heldOutOf(validationData);
  const optimizer = model.optimizer as tf.Optimizer | undefined;
  if (optimizer === undefined) {
    throw notReadyError('The model is not compiled. Call model.compile({optimizer, loss}) first.');
  }
  checkMoments(trainedIn(model));
  const {prefix, suffix} = splitAtFirstAdapter(model);
  // A run that is resumed has trained its head.
  const head = settings && !fitArgs.initialEpoch ? {...settings, pieces: splitAtHead(model)} : undefined;
  return asFitOf(model, suffix, async () => {
    const counts = [examples, ...(heldOut ? [heldOut] : [])].map(data => batchesIn(data, batchSize));
    const total = counts.reduce((sum, count) => sum + count, 0);
    const step = stepsOf({signal, onProgress});
    const store = new FeatureStore(prefix, model, {
      maxBytes,
      batchSize,
      onBatch: done => step({done, total, what: 'computing features'}),
    });
    try {
      throwIfAborted(signal);
      const training = await store.pass(examples);
      const validation = heldOut && (await store.pass(heldOut));
      const fitPiece: FitPiece = async (piece, pieceOptimizer, [features, targets], pieceArgs) => {
        piece.compile({optimizer: pieceOptimizer, loss: model.loss, metrics: model.metrics});
        takeTargetsOf(piece, model); // their shapes may be others than those of the outputs
        stopWith(piece, model, signal);
        const history = await piece.fit(features, targets, pieceArgs);
        throwIfAborted(signal);
        return history;
      };
      const fitArgsOfModel = {...fitArgs, ...(validation && {validationData: validation})};
      const fitModel = () => fitPiece(suffix, optimizer, training, fitArgsOfModel);
      if (head) {
        const options = {maxBytes, batchSize, onBatch: () => unlessAborted(Promise.resolve(), signal)};
        const between = head.pieces.prefix && new FeatureStore(head.pieces.prefix, model, options);
        const ofHead = await fitHead(head.pieces.suffix, training, {...head, fitArgs, between, fitPiece, step});
        const isEnough = Number(ofHead.history.loss?.at(-1)) < head.enough;
        return Object.assign(isEnough ? ofHead : await fitModel(), {head: ofHead});
      }
      return await fitModel();
    } finally {
      releaseOptimizer(suffix); // the model may have been compiled anew meanwhile
      store.dispose();
    }
  });
}

/** Features and their targets, as `fit` takes them. */
type Training = [features: tf.Tensor | tf.Tensor[], targets: tf.Tensor | tf.Tensor[]];

type FitPiece = (
  piece: tf.LayersModel,
  optimizer: tf.Optimizer,
  training: Training,
  args: FitArgs,
) => Promise<tf.History>;

interface HeadFit extends Required<HeadFirst> {
  fitArgs: FitArgs;
  /** Computes the head's input from the features, if there are layers between. */
  between: FeatureStore | undefined;
  fitPiece: FitPiece;
  step: Step;
}

/** Trains the head of a model alone, on features that are computed once. */
async function fitHead(
  head: tf.LayersModel,
  training: Training,
  {epochs, learningRate, fitArgs, between, fitPiece, step}: HeadFit,
): Promise<tf.History> {
  const optimizer = tf.train.adam(learningRate);
  try {
    const [x, y] = training.map(tensors => [tensors].flat()) as [tf.Tensor[], tf.Tensor[]];
    return await fitPiece(head, optimizer, between ? await between.pass({x, y}) : training, {
      ...fitArgs,
      epochs,
      verbose: 0,
      callbacks: {onEpochEnd: epoch => step({done: epoch + 1, total: epochs, what: 'training the head'})},
    });
  } finally {
    optimizer.dispose();
    between?.dispose();
  }
}

/** Inputs and targets: tensors, or a dataset that gives both. */
type Examples = {x: tf.Tensor[]; y: tf.Tensor[]} | Batches;

/** @throws LoRAError if they are neither tensors of equally many examples nor a dataset. */
function examplesOf(x: unknown, y: unknown, [nameOfX, nameOfY]: readonly [string, string]): Examples {
  if (isDataset(x)) {
    if (y !== undefined) {
      throw new LoRAError(`${nameOfX} is a dataset, whose batches hold the targets. Leave out ${nameOfY}.`);
    }
    return x as Batches;
  }
  const examples = {x: tensorsOf(nameOfX, x), y: tensorsOf(nameOfY, y)};
  const counts = [...examples.x, ...examples.y].map(({shape}) => shape[0]);
  if (new Set(counts).size > 1) {
    throw misfitError(
      `${nameOfX} and ${nameOfY} must have the same number of examples, got ` +
        `${[...examples.x, ...examples.y].map(({shape}) => showShape(shape)).join(', ')}.`,
    );
  }
  return examples;
}

function heldOutOf(data: unknown): Examples | undefined {
  if (data == null || (Array.isArray(data) && data.length === 0)) {
    return undefined; // as in fit
  }
  if (isDataset(data)) {
    return data as Batches;
  }
  if (!Array.isArray(data) || data.length !== 2) {
    const rows = Array.isArray(data) ? `a list of ${data.length}; tfjs supports no sample weights there` : kindOf(data);
    throw new LoRAError(`validationData must be [x, y], or a dataset of batches, got ${rows}.`);
  }
  return examplesOf(data[0], data[1], ['validationData[0]', 'validationData[1]']);
}

function tensorsOf(name: string, value: unknown): tf.Tensor[] {
  const tensors: unknown[] = [value].flat();
  if (tensors.some(isTensorOfOtherCopy)) {
    throw misfitError(`${name} is ${OTHER_COPY}`);
  }
  const stranger = tensors.findIndex(tensor => !(tensor instanceof tf.Tensor));
  if (stranger >= 0) {
    throw new LoRAError(
      `${name} must be a tensor, or a list of tensors for several, got ${kindOf(tensors[stranger])}.`,
    );
  }
  return tensors as tf.Tensor[];
}

/** `Infinity` for a dataset that does not say. */
function batchesIn(examples: Examples, batchSize: number): number {
  if ('x' in examples) {
    return Math.ceil((examples.x[0]?.shape[0] ?? 0) / batchSize);
  }
  return Number.isFinite(examples.size) ? examples.size : Infinity;
}

/** Passes examples through the prefix of a model, and holds what comes out until it is disposed. */
class FeatureStore {
  private readonly tensors = new Set<tf.Tensor>();
  private batches = 0;
  private bytes = 0;

  constructor(
    private readonly prefix: tf.LayersModel,
    private readonly model: tf.LayersModel,
    private readonly options: {maxBytes: number; batchSize: number; onBatch: (batches: number) => Promise<void>},
  ) {}

  /** The features of examples, and their targets, as `fit` takes them. */
  async pass(examples: Examples): Promise<Training> {
    const features: tf.Tensor[][] = [];
    if ('x' in examples) {
      const {batchSize} = this.options;
      const count = examples.x[0]?.shape[0] ?? 0;
      for (let start = 0; start < count; start += batchSize) {
        const size = Math.min(batchSize, count - start);
        const inputs = () => examples.x.map(input => tf.slice(input, start, size));
        features.push(this.features(inputs));
        await this.options.onBatch(this.batches);
        await tf.nextFrame();
      }
      return [oneOrMany(this.join(features)), oneOrMany(examples.y)];
    }
    const targets: tf.Tensor[][] = [];
    const iterator = await examples.iterator();
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      const {xs, ys} = next.value;
      try {
        targets.push(tensorsIn(ys, this.model.outputNames).map(tensor => this.hold(tf.clone(tensor))));
        features.push(this.features(() => tensorsIn(xs, this.model.inputNames)));
      } finally {
        tf.dispose([xs, ys]);
      }
      await this.options.onBatch(this.batches);
    }
    // Batches that `resume` moved to the middle of an epoch end early too.
    if (features.length < Math.floor(examples.size) && Number.isFinite(examples.size)) {
      throw misfitError(
        `The dataset says that it has ${examples.size} batches, and gave ${features.length}. fitOnFeatures goes ` +
          'through it once, for all epochs: pass all of it, or train with fitDataset.',
      );
    }
    return [oneOrMany(this.join(features)), oneOrMany(this.join(targets))];
  }

  dispose(): void {
    this.tensors.forEach(tensor => tensor.dispose());
    this.tensors.clear();
  }

  /** The features of a batch. */
  private features(inputs: () => tf.Tensor[]): tf.Tensor[] {
    const outputs = tf.tidy(() => [this.prefix.predictOnBatch(oneOrMany(inputs()))].flat());
    outputs.forEach(output => this.hold(output));
    this.batches++;
    this.bytes += outputs.reduce((sum, {size}) => sum + 4 * size, 0);
    const {maxBytes} = this.options;
    if (this.bytes > maxBytes) {
      throw tooLargeError(
        `The features of ${this.batches} batches take ${mebibytes(this.bytes)}, more than the ` +
          `${mebibytes(maxBytes)} allowed. Allow more with maxBytes, take fewer examples, or train with fit.`,
      );
    }
    return outputs;
  }

  private join(batches: readonly tf.Tensor[][]): tf.Tensor[] {
    const [first] = batches;
    if (first === undefined) {
      throw new LoRAError('There is nothing to train or to validate on: no examples, or a dataset without batches.');
    }
    return first.map((_, i) => {
      const tensors = batches.map(batch => batch[i]).filter(tensor => tensor !== undefined);
      const joined = this.hold(tf.concat(tensors));
      tensors.forEach(tensor => {
        tensor.dispose();
        this.tensors.delete(tensor);
      });
      return joined;
    });
  }

  private hold(tensor: tf.Tensor): tf.Tensor {
    this.tensors.add(tf.keep(tensor));
    return tensor;
  }
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
