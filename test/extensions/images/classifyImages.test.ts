import * as tf from '@tensorflow/tfjs';
import {loadTransformer} from 'tfjs-lora/transformers';
import {classifyImages, type ClassifyImagesOptions, encodeImages, encodePatches} from 'tfjs-lora/images';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {fixture} from '../transformers/fixtures';

beforeAll(() => useBackend('cpu'));

const IMAGES = [10, 90, 200].map((value, i) => ({
  data: Uint8Array.from({length: 12 * 9 * 3}, (_, j) => (value + i * j) % 256),
  width: 12,
  height: 9,
}));

/** The classes of each image from logits, as plain tfjs computes them. */
function classesOf(logits: tf.Tensor): [label: string, score: number][][] {
  const [rows, count] = logits.shape as [number, number];
  const scores = numbers(tf.softmax(logits));
  return Array.from({length: rows}, (_, row) =>
    Array.from({length: count}, (__, i): [string, number] => [`LABEL_${i}`, scores[row * count + i]!]).sort(
      ([, one], [, other]) => other - one,
    ),
  );
}

async function load(name: string, preprocessor: object): Promise<tf.LayersModel> {
  const {config, weights} = fixture(name);
  return (await loadTransformer({config, weights, preprocessor: {...preprocessor}})).model;
}

async function expectClasses(model: tf.LayersModel, inputs: tf.Tensor[], options: ClassifyImagesOptions) {
  const expected = classesOf(model.predict(inputs) as tf.Tensor);
  await withoutLeaks(async () => {
    const results = await classifyImages(model, IMAGES, {batchSize: 2, ...options});
    expect(results.map(result => result.map(({label}) => label))).toEqual(
      expected.map(result => result.map(([label]) => label)),
    );
    expect(results.flat().map(({score}) => score)).toBeAllClose(expected.flat().map(([, score]) => score)); // prettier-ignore
  });
}

test('images of the hub have the classes of the config', async () => {
  const vit = await load('vitClasses', {image_processor_type: 'ViTImageProcessor', size: {height: 9, width: 9}});
  await expectClasses(vit, [await encodeImages(vit, IMAGES)], {});
  const [result] = await classifyImages(vit, IMAGES[1]!, {topK: 1});
  expect(result).toHaveLength(1);
});

test('patches have the classes of the config', async () => {
  const naflex = await load('siglip2Classes', {image_processor_type: 'Siglip2ImageProcessor', patch_size: 3});
  const {inputs} = await encodePatches(naflex, IMAGES, {maxPatches: 13});
  await expectClasses(naflex, inputs, {maxPatches: 13});
});

test('any model of images has the classes that the caller names, without a second softmax', async () => {
  const layers = [
    tf.layers.flatten({inputShape: [4, 4, 3]}),
    tf.layers.dense({units: 2, activation: 'softmax', name: 'classes'}),
  ];
  const model = tf.sequential({layers});
  const scores = numbers(model.predict(await encodeImages(model, [IMAGES[0]!], {range: [0, 1]})) as tf.Tensor);
  const [result] = await classifyImages(model, IMAGES[0]!, {range: [0, 1], labels: ['cat', 'dog']});
  expect(Object.fromEntries(result!.map(({label, score}) => [label, score]))).toEqual({cat: scores[0], dog: scores[1]});
  await expect(classifyImages(model, IMAGES, {range: [0, 1]})).rejects.toThrow('classes are not known');
  const broken = [...IMAGES, {...IMAGES[0]!, width: 5}];
  await expect(classifyImages(model, broken, {range: [0, 1], labels: ['cat', 'dog'], batchSize: 2})).rejects.toThrow(
    'Counted from entry 2: Image 1',
  );
  await expect(classifyImages(model, [], {range: [0, 1], labels: ['cat', 'dog']})).rejects.toThrow('an empty list');
});
