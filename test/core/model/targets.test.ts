import * as tf from '@tensorflow/tfjs';
import {inventory, lineOf, showMatcher} from '../../../src/core/model/targets';
import {sitesOf} from '../../../src/core/rewire/walk';
import {useBackend} from '../../helpers';

beforeAll(() => useBackend('cpu'));

test('a message shows 80 characters of an entry, and quotes names', () => {
  const name = 'x'.repeat(80);
  expect(showMatcher(name)).toBe(`"${name}"`);
  expect(showMatcher(`${name}y`)).toBe(`"${name}…"`);
  expect(showMatcher(/a\d+$/)).toBe('/a\\d+$/');
  expect(showMatcher(new RegExp(name))).toBe(`/${'x'.repeat(79)}…`);
  expect(showMatcher('a\n  b')).toBe('"a b"');
});

test('an entry that names no layer is shown with the names most like it, and a pattern for those that end so', () => {
  const entry = (text: string | RegExp, closest: string[]) => lineOf({option: 'targets', entry: text, closest});
  expect(entry('dens', [])).toBe('No layer matches target "dens".');
  expect(entry('dens', ['dense', 'dense_1'])).toBe('No layer matches target "dens". Closest: dense, dense_1.');
  expect(entry('q.proj', ['h0/q.proj'])).toBe(
    'No layer matches target "q.proj". Closest: h0/q.proj. To match names that end so: /q\\.proj$/.',
  );
  expect(entry('proj', ['proj'])).toBe('No layer matches target "proj". Closest: proj.');
  expect(entry(/x/, ['ax'])).toBe('No layer matches target /x/. Closest: ax.');
});

test('a message lists five layers, all that there are or those most like the names', () => {
  const sites = (count: number) => {
    const layers = Array.from({length: count}, (_, i) =>
      tf.layers.dense({units: 1, inputShape: [1], name: `layer${i}`}),
    );
    return sitesOf(tf.sequential({layers}));
  };
  const names = (text: string) => [...text.matchAll(/(\w+) \(Dense\)/g)].map(([, name]) => name);
  const five = inventory(sites(5));
  expect(five).toMatch(/^The model has: layer0 \(Dense\), layer1/);
  expect(names(five)).toHaveLength(5);
  const many = inventory(sites(7), ['layer6', 'layer3']);
  expect(many).toMatch(/^The model has 7 layers, such as:\n {2}layer6 \(Dense\)\n {2}layer3 \(Dense\)\n {2}layer0/);
  expect(names(many)).toEqual(['layer6', 'layer3', 'layer0', 'layer1', 'layer2']);
});
