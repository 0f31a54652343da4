import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, misfitError} from '../../platform/errors';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {EmbeddingLayer} from '../../platform/tfjs/layerFields';
import {baseOf} from '../layers/layerMarks';
import {innermostLayers} from '../rewire/walk';
import {TrainingCallback} from './callback';
import type {CallbackState} from './resumed';

/** Options of `neftune`. */
export interface NeftuneOptions {
  /** The strength of the noise, above 0. Default: 5. The paper uses 5 to 15. */
  alpha?: number;
  /** Decides the noise: a whole number. Default: a random one. */
  seed?: number;
}

class Neftune extends TrainingCallback {
  override readonly stateName = 'neftune';
  private readonly alpha: number;
  /** The seed of the next noise. */
  private seed: number;
  private embeddings: tf.layers.Layer[] = [];

  constructor(options: NeftuneOptions) {
    super();
    const {alpha = 5, seed = Math.floor(Math.random() * 2 ** 31)} = options;
    checkNumber('alpha', alpha, alpha > 0, 'a number above 0');
    checkNumber('seed', seed, Number.isSafeInteger(seed), 'a whole number');
    this.alpha = alpha;
    this.seed = seed;
  }

  protected override begin(): void {
    this.embeddings = [...innermostLayers(this.model)].filter(layer =>
      // A layer that looks up rows of a table, with or without an update and in any format.
      Number.isInteger(fieldsOf<Partial<EmbeddingLayer>>(baseOf(layer)).inputDim),
    );
    if (this.embeddings.length === 0) {
      throw misfitError(
        'neftune() adds noise to an Embedding layer, but the trained part has none. fitOnFeatures computes ' +
          'frozen layers only once: train with fit instead.',
      );
    }
  }

  override onBatchBegin(): Promise<void> {
    this.embeddings.forEach(layer => this.addOnce(layer));
    return Promise.resolve();
  }

  protected override endBatch(): Promise<void> {
    this.release();
    return Promise.resolve();
  }

  override abandon(): void {
    this.release();
  }

  /** Removes the noise from layers that were not called. */
  override release(): void {
    this.embeddings.forEach(layer => Reflect.deleteProperty(layer, 'call'));
  }

  override state(): CallbackState {
    return {values: {seed: this.seed}, tensors: {}};
  }

  protected override resume({values: {seed}}: CallbackState): void {
    this.seed = Number(seed);
  }

  /** Adds noise to the results of a layer in the next step, and no longer: a step that fails ends without callbacks. */
  private addOnce(layer: tf.layers.Layer): void {
    let left = layer.inboundNodes.length;
    layer.call = (inputs, kwargs) => {
      if (--left === 0) {
        Reflect.deleteProperty(layer, 'call');
      }
      const embed = (Object.getPrototypeOf(layer) as tf.layers.Layer).call.bind(layer);
      const embedded = embed(inputs, kwargs) as tf.Tensor;
      return kwargs.training === true ? tf.add(embedded, this.noiseFor(embedded)) : embedded;
    };
  }

  private noiseFor({shape}: tf.Tensor): tf.Tensor {
    const most = this.alpha / Math.sqrt(tf.util.sizeFromShape(shape.slice(1)));
    return tf.randomUniform(shape, -most, most, 'float32', this.seed++);
  }
}

/**
 * Adds noise to embeddings in each training step (NEFTune, https://arxiv.org/abs/2310.05914), which helps instruction
 * tuning on few examples:
 *
 *     x = embedding(tokens) + uniform(−1, 1) · alpha / √(positions · width)
 *
 * as `neftune_noise_alpha` of TRL does. Predictions and validation have no noise, and the noise is not saved with the
 * model. With `checkpoint`, the noise of a resumed run is the same.
 *
 * @param options the strength of the noise, and its seed.
 * @returns a callback for `fit` and `fitDataset`.
 * @throws LoRAError `ERR_OPTION` if an option is not in its range. `fit` rejects with `ERR_MISFIT` if the model has no
 *     Embedding layer.
 * @example
 *     await model.fitDataset(batches, {epochs: 3, callbacks: [neftune({alpha: 5})]});
 * @experimental
 */
export function neftune(options: NeftuneOptions = {}): tf.Callback {
  checkOptions(options, {alpha: true, seed: true});
  return new Neftune(options);
}
