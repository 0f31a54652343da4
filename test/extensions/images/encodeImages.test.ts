import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel} from 'tfjs-lora';
import {encodeImages, encodePatches, type ImagePixels} from 'tfjs-lora/images';
import {loadTransformer} from 'tfjs-lora/transformers';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {temporaryFolder} from '../../temporaryFolder';
import {fixture} from '../transformers/fixtures';

interface PixelCase {
  config: Record<string, unknown>;
  image: [height: number, width: number, colors: number];
  shape: number[];
  step: number;
  values: number[];
}

interface PatchCase extends Omit<PixelCase, 'image'> {
  images: PixelCase['image'][];
  grids: number[][];
  counts: number[];
}

/** What the processors of transformers made, with Pillow where they can. */
const {cases, patches} = JSON.parse(readFileSync(join(__dirname, '../../fixtures/pixels.json'), 'utf8')) as {
  cases: PixelCase[];
  patches: PatchCase[];
};
const {config, weights} = fixture('vit');
const small = {image_processor_type: 'ViTImageProcessor', size: {height: 9, width: 9}};
let model: tf.LayersModel;

beforeAll(async () => {
  await useBackend('cpu');
  model = (await loadTransformer({config, weights, preprocessor: small})).model;
});

/** The images of `make_pixels.py`. */
function image([height, width, colors]: readonly [number, number, number]): ImagePixels {
  const data = new Uint8Array(height * width * colors);
  for (let i = 0; i < data.length; i++) {
    const [y, x, k] = [Math.floor(i / colors / width), Math.floor(i / colors) % width, i % colors];
    data[i] = (x * 37 + y * 59 + k * 101 + x * y * 7 + x * x * 3) % 256;
  }
  return {data, width, height};
}

async function encoded(...args: Parameters<typeof encodeImages>): Promise<{shape: number[]; values: number[]}> {
  const pixels = await encodeImages(...args);
  const result = {shape: pixels.shape, values: numbers(pixels)};
  pixels.dispose();
  return result;
}

describe('encodeImages', () => {
  test.each(cases.map((each, i) => [i, JSON.stringify(each.config), each.image.join(' × '), each] as const))(
    'makes in case %i, %s of %s, what transformers makes',
    async (_i, _config, _size, {config: preprocessor, image: size, shape, step, values}) => {
      const given = await encoded(model, image(size), {preprocessor});
      expect(given.shape).toEqual(shape);
      const largest = Math.max(...values.map(Math.abs));
      expect(given.values.filter((__, i) => i % step === 0)).toBeAllClose(values, {rtol: 0, atol: 1e-6 * largest});
    },
  );

  test('has a case for each resampling', () => {
    const filters = cases.map(({config: {resample}}) => resample).filter(resample => resample !== undefined);
    expect([...new Set(filters)].sort()).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('makes of a long image only the middle that the config leaves', async () => {
    const long = {data: new Uint8Array(30_000).fill(90), width: 30_000, height: 1};
    const preprocessor = {image_processor_type: 'CLIPImageProcessor', image_mean: 0.5, image_std: 0.5};
    const {shape, values} = await encoded(model, long, {preprocessor});
    expect(shape).toEqual([1, 224, 224, 3]);
    expect([...new Set(values)]).toBeAllClose([(90 / 255 - 0.5) / 0.5], {rtol: 1e-6});
  });

  test('refuses an image that would be too large, before it is made', async () => {
    const long = {data: new Uint8Array(30_000), width: 1, height: 30_000};
    const preprocessor = {image_processor_type: 'CLIPImageProcessor', do_center_crop: false};
    await expect(encodeImages(model, [image([4, 4, 3]), long], {preprocessor})).rejects.toThrow(
      'Image 1 of 1 × 30000 pixels would be resized to 224 × 6720000; an edge may have at most 8192.',
    );
  });

  test('treats image data and tensors of integers or floats in the same way', async () => {
    const given = image([6, 5, 3]);
    const whole = tf.tensor3d(Array.from(given.data), [6, 5, 3], 'int32');
    const floats = tf.div<tf.Tensor3D>(whole, 255);
    const clamped = {...given, data: new Uint8ClampedArray(given.data)};
    await withoutLeaks(async () => {
      const {values} = await encoded(model, given);
      expect(await encoded(model, [given, whole, floats, clamped])).toEqual({
        shape: [4, 9, 9, 3],
        values: [...values, ...values, ...values, ...values],
      });
    });
  });

  test('lays what is transparent over white', async () => {
    const white = await encoded(model, {data: new Uint8Array(4 * 3 * 3).fill(255), width: 4, height: 3});
    const data = Uint8Array.from({length: 4 * 3 * 4}, (_, i) => (i % 4 === 3 ? 0 : 77));
    expect(await encoded(model, {data, width: 4, height: 3})).toEqual(white);
  });

  test('asks the model, adapted and loaded again too', async () => {
    const wanted = await encoded(model, image([6, 5, 3]));
    const adapted = applyLoRA(model, {rank: 2, targets: [/q_proj$/]});
    const loaded = await reloaded(adapted);
    expect(await encoded(adapted, image([6, 5, 3]))).toEqual(wanted);
    expect(await encoded(loaded, image([6, 5, 3]))).toEqual(wanted);
    const input = tf.tensor4d(wanted.values, [1, 9, 9, 3]);
    const output = loaded.predict(input) as tf.Tensor;
    expect(output.shape).toEqual([1, 10, 8]);
  });

  test('resizes for layers and graph models, whose values have a range', async () => {
    const layers = tf.sequential({layers: [tf.layers.conv2d({filters: 1, kernelSize: 2, inputShape: [2, 3, 3]})]});
    const white = {data: new Uint8Array(4 * 5 * 3).fill(255), width: 5, height: 4};
    const black = {data: new Uint8Array(6 * 3 * 3), width: 3, height: 6};
    const values = async (range: readonly [number, number]) => {
      const pixels = await encodeImages(layers, [white, black], {range});
      expect(pixels.shape).toEqual([2, 2, 3, 3]);
      const found = numbers(pixels);
      pixels.dispose();
      return [new Set(found.slice(0, 18)), new Set(found.slice(18))];
    };
    expect(await values([0, 1])).toEqual([new Set([1]), new Set([0])]);
    expect(await values([-1, 1])).toEqual([new Set([1]), new Set([-1])]);
    expect(await values([0, 255])).toEqual([new Set([255]), new Set([0])]);
    // In the size of the model nothing is resized: numbers are black + color / 255 · (white − black).
    const own = {data: Uint8Array.from({length: 18}, (_, i) => 15 * i), width: 3, height: 2};
    const pixels = await encodeImages(layers, own, {range: [-1, 1]});
    expect(numbers(pixels)).toBeAllClose([...own.data].map(color => -1 + (2 * color) / 255));
    pixels.dispose();
    await expect(encodeImages(layers, own)).rejects.toThrow('such as {range: [0, 1]}');
    for (const range of [[1, 1], [0], 'unit', [0, NaN]]) {
      await expect(encodeImages(layers, own, {range: range as unknown as [number, number]})).rejects.toThrow(
        'range must be the values of black and white',
      );
    }
    const gray = tf.sequential({layers: [tf.layers.flatten({inputShape: [28, 28, 1]})]});
    await expect(encodeImages(gray, own, {range: [0, 1]})).rejects.toThrow('got [null, 28, 28, 1].');
    await expect(encodeImages(model, own, {range: [0, 1], preprocessor: small})).rejects.toThrow('not both');
  });

  test('finds the config in the folder of the model', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'config.json'), config);
    writeFileSync(join(folder, 'model.safetensors'), weights);
    const {model: without} = await loadTransformer(folder);
    await expect(encodeImages(without, image([6, 5, 3]))).rejects.toThrow(
      'was loaded without a preprocessor_config.json',
    );
    writeFileSync(join(folder, 'preprocessor_config.json'), JSON.stringify(small));
    const {model: found} = await loadTransformer(folder);
    expect(await encoded(found, image([6, 5, 3]))).toEqual(await encoded(model, image([6, 5, 3])));
  });

  test('refuses unsupported settings by name', async () => {
    const refused = (changes: object) => encodeImages(model, image([4, 4, 3]), {preprocessor: {...small, ...changes}});
    await expect(refused({resample: 7})).rejects.toThrow('resample is 7, which is not supported. Supported: 0 (');
    await expect(refused({resample: 'bicubic'})).rejects.toThrow('resample is "bicubic"');
    await expect(refused({image_processor_type: 'MaskFormerImageProcessor'})).rejects.toThrow(
      '"MaskFormerImageProcessor"',
    );
    const exact = {image_processor_type: 'DINOv3ViTImageProcessorFast'};
    await expect(refused({...exact, do_rescale: false})).rejects.toThrow('do_rescale is false');
    await expect(refused({...exact, do_center_crop: true})).rejects.toThrow('do_center_crop is true');
    await expect(refused({...exact, resample: 1})).rejects.toThrow(
      'resample is 1, which is not supported. Supported: 2',
    );
    const share = {image_processor_type: 'ConvNextImageProcessor'};
    await expect(refused({...share, size: {height: 9, width: 9}})).rejects.toThrow('size must be {shortest_edge}');
    await expect(refused({...share, size: 9, crop_pct: 1e-4})).rejects.toThrow('crop_pct resizes images of 9 pixels');
    await expect(refused({...share, size: 9, do_center_crop: true})).rejects.toThrow('do_center_crop is true');
    await expect(refused({size: {longest_edge: 4}})).rejects.toThrow('size is {"longest_edge":4}');
    await expect(refused({size: {shortest_edge: 4, longest_edge: 9}})).rejects.toThrow('size is');
    await expect(refused({size: 1e9})).rejects.toThrow('size is 1000000000');
    await expect(refused({image_std: [0, 1, 1]})).rejects.toThrow('image_std must be three numbers');
    await expect(refused({do_pad: true})).rejects.toThrow('do_pad is true');
    await expect(encodeImages(model, image([4, 4, 3]), {preprocessor: '{'})).rejects.toThrow("preprocessor's config");
  });

  test('refuses what is no image, by its position in the list', async () => {
    const one = image([4, 4, 3]);
    const strange = (value: unknown) => encodeImages(model, [one, value as ImagePixels]);
    await expect(strange('cat.jpg')).rejects.toThrow('Image 1 must be an element');
    await expect(strange(null)).rejects.toThrow('Image 1 must be');
    await expect(strange({width: 4, height: 4})).rejects.toThrow('Image 1 must be');
    await expect(strange({...one, data: new Float32Array(48)})).rejects.toThrow('must have data in a Uint8Array');
    await expect(strange({...one, width: 5})).rejects.toThrow('1, 3 or 4 colors for each of 5 × 4 pixels, got 48');
    await expect(strange(tf.zeros([1, 4, 4, 3]))).rejects.toThrow('must be a tensor [height, width, colors]');
    await expect(strange(tf.fill([4, 4, 3], 1.5))).rejects.toThrow('must be from 0 to 1, got 1.5');
    await expect(encodeImages(model, [])).rejects.toThrow('got an empty list');
    const free = {preprocessor: {...small, do_resize: false}};
    await expect(encodeImages(model, [one, image([4, 5, 3])], free)).rejects.toThrow('[4, 4] and [4, 5]');
  });
});

describe('encodePatches', () => {
  const settings = {image_processor_type: 'Siglip2ImageProcessorFast', patch_size: 3, max_num_patches: 13};
  const {config: ofPatches, weights: patchWeights} = fixture('siglip2Classes');
  let naflex: tf.LayersModel;

  beforeAll(async () => {
    naflex = (await loadTransformer({config: ofPatches, weights: patchWeights, preprocessor: settings})).model;
  });

  test.each(patches.map(each => [JSON.stringify(each.config), each] as const))(
    'makes, with %s, what transformers makes',
    async (_config, {config: preprocessor, images, shape, step, values, grids, counts}) => {
      const taker = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [null, shape[2]!]})]});
      const made = await encodePatches(taker, images.map(image), {preprocessor});
      expect(made.pixelValues.shape).toEqual(shape);
      const largest = Math.max(...values.map(Math.abs));
      const found = numbers(made.pixelValues).filter((__, i) => i % step === 0);
      expect(found).toBeAllClose(values, {rtol: 0, atol: 1e-6 * largest});
      expect(made.spatialShapes.arraySync()).toEqual(grids);
      expect(made.pixelAttentionMask.arraySync()).toEqual(
        counts.map(count => Array.from({length: shape[1]!}, (__, i) => Number(i < count))),
      );
    },
  );

  test('makes the inputs of a model, adapted too, of any number of patches', async () => {
    await withoutLeaks(async () => {
      const adapted = applyLoRA(naflex, {rank: 2});
      for (const [options, most] of [[{}, 13] as const, [{maxPatches: 40}, 40] as const]) {
        const made = await encodePatches(adapted, [image([9, 30, 3]), image([20, 7, 1])], options);
        const [wanted, actual] = [naflex, adapted].map(each => each.predict(made.inputs) as tf.Tensor);
        expect(made.pixelValues.shape).toEqual([2, most, 27]);
        expect(numbers(actual!)).toEqual(numbers(wanted!));
        tf.dispose([wanted!, actual!, made.inputs]);
      }
      disposeModel(adapted);
    });
  });

  test('refuses what does not fit by name, before tensors are made', async () => {
    await withoutLeaks(async () => {
      const one = image([9, 9, 3]);
      const refused = (changes: object) => encodePatches(naflex, one, {preprocessor: {...settings, ...changes}});
      await expect(refused({patch_size: 2})).rejects.toThrow('patches of 2 × 2 pixels, [batch, patches, 12], got');
      await expect(refused({max_num_patches: 0})).rejects.toThrow('max_num_patches must be a positive integer, got 0.');
      await expect(refused({do_resize: false, max_num_patches: 8})).rejects.toThrow(
        'The image must consist of at most 8 patches of 3 × 3 pixels, since the preprocessor does not resize it',
      );
      await expect(encodePatches(naflex, [one, one], {maxPatches: 1e8})).rejects.toThrow('lower maxPatches');
      await expect(encodePatches(naflex, one, {maxPatches: 0})).rejects.toThrow(
        'maxPatches must be a whole number, 1 or more',
      );
      await expect(encodePatches(model, one)).rejects.toThrow('Use encodeImages(model, images)');
      await expect(encodeImages(naflex, one)).rejects.toThrow('Use encodePatches(model, images)');
    });
  });
});
