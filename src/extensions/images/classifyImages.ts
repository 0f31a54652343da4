import type * as tf from '@tensorflow/tfjs';
import {checkOptions} from '../../platform/errors';
import {type ClassScore, classScores, type ClassScoreOptions} from '../transformers/load/classes';
import {inputsIn} from '../transformers/net/preprocessorKey';
import {encodeImages, type EncodeImagesOptions, settingsFor} from './encodeImages';
import {encodePatches, type EncodePatchesOptions} from './encodePatches';
import type {ImageInput} from './imagePixels';

/** Options of `classifyImages`. */
export interface ClassifyImagesOptions
  extends ClassScoreOptions, EncodeImagesOptions, Pick<EncodePatchesOptions, 'maxPatches'> {
  /** How many images are computed at a time. Default: 8. */
  batchSize?: number;
}

/**
 * Classifies images: for each, the most likely classes and their scores, by the names of the model's config.
 *
 * Images are encoded as by {@link encodeImages}, or by {@link encodePatches} if the model takes patches. Scores are the
 * softmax of the logits or, if the config's `problem_type` is `"multi_label_classification"` or there is one class,
 * their sigmoid. A head that ends in a softmax or sigmoid is taken as it is.
 *
 * @param model of `loadTransformer`, adapted or not; with `range` and `labels` any layers model for color images.
 * @param images an image, or a list of them.
 * @param options the names of the classes, how many to return, how images are encoded, the batch size, and progress.
 * @returns a list for each image, the best class first.
 * @throws LoRAError `ERR_MISFIT` if the output of the model is not of classes, or it does not take the images;
 *     `ERR_OPTION` if an image is none, an option is out of range, or the names of the classes are not known;
 *     `ERR_UNSUPPORTED` if a setting of the preprocessor is not supported; `ERR_ABORTED`.
 * @example
 *     const [best] = await classifyImages(model, photo, {topK: 1}); // [{label: 'cat', score: 0.98}]
 * @experimental
 */
export async function classifyImages(
  model: tf.LayersModel,
  images: ImageInput | readonly ImageInput[],
  options: ClassifyImagesOptions = {},
): Promise<ClassScore[][]> {
  checkOptions(options, {
    ...{labels: true, topK: true, batchSize: true, preprocessor: true, range: true, maxPatches: true},
    ...{signal: true, onProgress: true},
  });
  const {labels: _, topK: _topK, onProgress: _onProgress, batchSize = 8, maxPatches, ...encoding} = options;
  const list = inputsIn<ImageInput>('image', images);
  const {patches} = await settingsFor(model, encoding);
  return classScores(
    model,
    list,
    {...options, batchSize},
    {
      encode: async batch =>
        patches === undefined
          ? {inputs: [await encodeImages(model, batch, encoding)]}
          : encodePatches(model, batch, {...encoding, ...(maxPatches !== undefined && {maxPatches})}),
      what: 'classifying images',
    },
  );
}
