import * as tf from '@tensorflow/tfjs';
import {applyLoRA, planLoRA, removeLoRA, replaceHead} from 'tfjs-lora';

const {layers} = tf;

const classes = (units = 3) => layers.dense({units, name: 'classes'});
const dense = (name: string, units: number) => layers.dense({units, name, activation: 'relu'});
const pixels = (filters: number) => layers.conv2d({filters, kernelSize: 3, name: 'conv', inputShape: [6, 6, 1]});

function model(...parts: tf.layers.Layer[]): tf.LayersModel {
  return tf.sequential({layers: parts});
}

/** Networks, where a head goes of itself, and what a plan says of it. */
const PLACES: [what: string, make: () => tf.LayersModel, at: string, reason: string][] = [
  [
    // The classifier that nsfwjs has: 1280 channels, then 256, 128 and 5.
    'the Dense layers behind a pooled map that are narrower than it',
    () =>
      model(
        pixels(16),
        layers.averagePooling2d({poolSize: 4, name: 'pool'}),
        layers.flatten({name: 'flat'}),
        dense('hidden_1', 8),
        layers.dropout({rate: 0.5, name: 'drop_1'}),
        layers.batchNormalization({name: 'norm'}),
        dense('hidden_2', 4),
        layers.dropout({rate: 0.5, name: 'drop_2'}),
        dense('head', 5),
      ),
    'flat',
    'The new head goes after "flat", which gives 16 features. The layers after it are narrower: hidden_1 (8), hidden_2 (4).',
  ],
  [
    'the layer behind a wide one that narrows it',
    () => model(layers.dense({units: 12, inputShape: [20], name: 'wide'}), dense('narrow', 4), dense('head', 5)),
    'wide',
    'The new head goes after "wide", which gives 12 features. The layers after it are narrower: narrow (4).',
  ],
  [
    'no layer that is as wide as its input',
    () => model(pixels(4), layers.globalAveragePooling2d({name: 'pool'}), dense('same', 4), dense('head', 5)),
    'same',
    'The new head goes after "same", which comes before "head", the last layer with weights.',
  ],
  [
    'no layer that is narrower than a flattened map, and wider than its channels',
    () => model(pixels(4), layers.flatten({name: 'flat'}), dense('hidden', 8), dense('head', 5)),
    'hidden',
    'The new head goes after "hidden", which comes before "head", the last layer with weights.',
  ],
  [
    'no layer that is the first with a kernel',
    () => model(layers.dense({units: 4, inputShape: [20], name: 'only'}), dense('head', 5)),
    'only',
    'The new head goes after "only", which comes before "head", the last layer with weights.',
  ],
  [
    'nothing across a sum of two branches',
    () => {
      const input = tf.input({shape: [6], name: 'in'});
      const sides = ['left', 'right'].map(name => dense(name, 6).apply(input) as tf.SymbolicTensor);
      const sum = layers.add({name: 'sum'}).apply(sides);
      const narrow = dense('narrow', 3).apply(sum);
      return tf.model({inputs: input, outputs: dense('head', 5).apply(narrow) as tf.SymbolicTensor});
    },
    'sum',
    'The new head goes after "sum", which gives 6 features. The layers after it are narrower: narrow (3).',
  ],
];

test.each(PLACES)('the old head has %s', (_, make, after, reason) => {
  const headed = replaceHead(make(), [classes()]);
  expect(planLoRA(headed).head).toEqual({after, reason});
  expect(headed.layers.at(-2)!.name).toBe(after);
  expect(String(planLoRA(headed))).toContain(`\n${reason}\n`);
});

test('a model without layers gets no head', () => {
  const add = () => replaceHead(tf.sequential(), 3);
  expect(add).toThrow('The model is not built: give its first layer an inputShape');
});

test('a head goes after the layer that `after` names', () => {
  const base = model(layers.dense({units: 12, inputShape: [20], name: 'wide'}), dense('narrow', 4), dense('head', 5));
  expect(planLoRA(replaceHead(base, [classes()], {after: 'narrow'})).head).toEqual({
    after: 'narrow',
    reason: 'The new head goes after "narrow", which was named.',
  });
});

test('a plan has no place of a head if there is no new head, or if its reason was not recorded', () => {
  const base = model(layers.dense({units: 4, inputShape: [20], name: 'only'}), dense('head', 5));
  expect(planLoRA(base).head).toBeUndefined();
  const restored = removeLoRA(applyLoRA(replaceHead(base, [classes()]), {rank: 1}));
  expect(planLoRA(restored).head).toBeUndefined();
  expect(String(planLoRA(restored))).toContain('new head');
});
