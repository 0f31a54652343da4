import * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, LoRAError, showShape} from '../../errors';
import {checkModel} from '../../rewire/walk';
import {type Preprocessing, readPreprocessor} from './preprocessor';
import {type Picture, pixelsOf} from './picturePixels';
import {type Pixels, resized} from './resampling';

/** How pictures are encoded. */
export interface EncodeImagesOptions {
  /**
   * The `preprocessor_config.json` of the model, its text or the object that it holds. Default: that which lay beside
   * the files of the model, or was given to `loadTransformer`.
   */
  preprocessor?: string | object;
}

/** The key of a model's metadata under which it has its preprocessor's config. */
export const PREPROCESSOR = 'preprocessor';

/**
 * Pictures as a model takes them, `[pictures, height, width, 3]`: resized, cropped and normalized as the model's
 * `preprocessor_config.json` says.
 *
 *     const pixels = await encodeImages(model, [document.querySelector('img'), canvas]);
 *     model.predict(pixels)
 *
 * A picture is an element (`img`, `canvas`, `video`), an `ImageBitmap`, an `ImageData` or anything with `data`, `width`
 * and `height`, of 1, 3 or 4 colors from 0 to 255; a tensor `[height, width, colors]`, as tfjs has pictures: whole
 * numbers from 0 to 255 of type int32, or 0 to 1 of type float32; or a `Blob` that the browser can decode. What is
 * transparent becomes white.
 *
 * Numbers are those that the processors of transformers compute with Pillow (`backend="pil"`, `use_fast=False`).
 *
 * @throws LoRAError if there is no config, something in it has no code here, such as a resampling, or a picture is
 *     none. Pictures of several sizes are refused where the config does not bring them to one.
 */
export async function encodeImages(
  model: tf.LayersModel,
  pictures: Picture | readonly Picture[],
  options: EncodeImagesOptions = {},
): Promise<tf.Tensor4D> {
  checkOptions(options, {preprocessor: true});
  checkModel(model);
  const settings = readPreprocessor(options.preprocessor ?? preprocessorOf(model));
  const list: readonly Picture[] = Array.isArray(pictures) ? (pictures as readonly Picture[]) : [pictures as Picture];
  if (list.length === 0) {
    throw new LoRAError('A picture is needed, or a list of them; got an empty one.');
  }
  const made: Pixels[] = [];
  for (const [i, picture] of list.entries()) {
    made.push(prepared(await pixelsOf(picture, list.length === 1 ? 'The picture' : `Picture ${i}`), settings));
  }
  const [{height, width}] = made as [Pixels];
  const other = made.find(each => each.height !== height || each.width !== width);
  if (other !== undefined) {
    throw new LoRAError(
      `Pictures of one size are needed, since the config has no size and no crop that brings them to one; got ` +
        `${showShape([height, width])} and ${showShape([other.height, other.width])}.`,
    );
  }
  const values = new Float32Array(list.length * height * width * 3);
  const tables = tablesOf(settings);
  made.forEach(({data}, i) => {
    const from = i * height * width * 3;
    for (let j = 0; j < data.length; j++) {
      values[from + j] = (tables[j % 3] as Float32Array)[data[j] as number] as number;
    }
  });
  return tf.tensor4d(values, [list.length, height, width, 3]);
}

function preprocessorOf(model: tf.LayersModel): string | object {
  const metadata = model.getUserDefinedMetadata() as Record<string, unknown> | undefined;
  const found = metadata?.[PREPROCESSOR];
  if (typeof found !== 'object' || found === null) {
    throw new LoRAError(
      'The model came without a preprocessor_config.json, which says what is done to its pictures. Give it with ' +
        `{preprocessor}, here or to loadTransformer; got ${kindOf(found)}.`,
    );
  }
  return found;
}

/** A picture of whole colors, in the size that the model takes. */
function prepared(picture: Pixels, {size, resampling, crop}: Preprocessing): Pixels {
  const large = size === undefined ? picture : resized(picture, edgesOf(picture, size), resampling);
  return crop === undefined ? large : cropped(large, crop);
}

/** The size of a picture whose shorter edge is given: the longer one is cut to a whole number. */
function edgesOf({width, height}: Pixels, size: NonNullable<Preprocessing['size']>): {width: number; height: number} {
  if (!('shortest' in size)) {
    return size;
  }
  const {shortest} = size;
  const long = Math.trunc((shortest * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? {width: shortest, height: long} : {width: long, height: shortest};
}

/** The middle of a picture; around one that is smaller stands black. */
function cropped(picture: Pixels, {width, height}: {width: number; height: number}): Pixels {
  const start = (own: number, wanted: number) =>
    own >= wanted ? Math.floor((own - wanted) / 2) : -Math.ceil((wanted - own) / 2);
  const [left, top] = [start(picture.width, width), start(picture.height, height)];
  const data = new Uint8Array(width * height * 3);
  const from = Math.max(left, 0);
  const count = Math.min(left + width, picture.width) - from;
  for (let row = Math.max(-top, 0); row < height && row + top < picture.height; row++) {
    const begin = ((row + top) * picture.width + from) * 3;
    data.set(picture.data.subarray(begin, begin + count * 3), (row * width + from - left) * 3);
  }
  return {data, width, height, channels: 3};
}

/** What each color from 0 to 255 becomes, in 32-bit floats as NumPy has them. */
function tablesOf({factor, mean, deviation}: Preprocessing): Float32Array[] {
  return mean.map((middle, i) =>
    Float32Array.from({length: 256}, (_, color) => {
      const value = Math.fround(color * factor);
      return Math.fround(value - Math.fround(middle)) / Math.fround(deviation[i] as number);
    }),
  );
}
