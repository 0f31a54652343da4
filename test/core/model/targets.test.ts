import * as tf from '@tensorflow/tfjs';
import {inventory, lineOf, showMatcher} from '../../../src/core/model/targets';
import {applyLoRA, getAdapter, type LoRAConfig, planLoRA, replaceHead} from '../../../src/index';
import {sitesOf} from '../../../src/core/rewire/walk';

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
  expect(entry('q.proj', ['h0_q.proj'])).toBe(
    'No layer matches target "q.proj". Closest: h0_q.proj. To match names that end so: /q\\.proj$/.',
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

describe('The end of a name', () => {
  /** Layers with the names of a transformer, the last of which is named as their ends. */
  const network = (last = 'out') =>
    tf.sequential({
      layers: ['a/self/query', 'a/self/key', 'b/self/query', last].map((name, i) =>
        tf.layers.dense({units: 2, name, ...(i === 0 && {inputShape: [2]})}),
      ),
    });
  const rolesOf = (model: tf.LayersModel, config: LoRAConfig) => {
    const plan = planLoRA(model, config);
    expect(plan.faults).toEqual([]);
    return plan.layers.map(({role, rank}) => (role === 'adapted' ? rank : role));
  };

  test('after a slash names layers in each option, as in PEFT', () => {
    const model = network();
    expect(rolesOf(model, {rank: 1, targets: ['query']})).toEqual([1, 'skipped', 1, 'skipped']);
    expect(rolesOf(model, {rank: 1, targets: ['self/query', 'out']})).toEqual([1, 'skipped', 1, 1]);
    expect(rolesOf(model, {rank: 1, targets: 'all', exclude: ['query']})).toEqual(['skipped', 1, 'skipped', 1]);
    expect(rolesOf(model, {rank: 1, targets: ['out'], trainInFull: ['key']})).toEqual([
      'skipped',
      'trained',
      'skipped',
      1,
    ]);
    expect(rolesOf(model, {rank: 1, targets: 'all', overrides: [{targets: ['query'], rank: 2}]})).toEqual([2, 1, 2, 1]);
  });

  test('names none where a layer has the whole name or class, nor without a slash', () => {
    expect(rolesOf(network('query'), {rank: 1, targets: ['query']})).toEqual(['skipped', 'skipped', 'skipped', 1]);
    expect(rolesOf(network('x/Dense'), {rank: 1, targets: ['Dense']})).toEqual([1, 1, 1, 1]);
    expect(planLoRA(network(), {targets: ['uery']}).faults).toEqual([
      'No layer matches target "uery". Closest: a/self/query, b/self/query. To match names that end so: /uery$/.',
    ]);
  });

  test('names a layer of an inner model', () => {
    const inner = network();
    const model = tf.sequential({layers: [inner, tf.layers.dense({units: 1, name: 'head'})]});
    expect(rolesOf(model, {rank: 1, targets: ['key']})).toEqual(['skipped', 1, 'skipped', 'skipped', 'skipped']);
  });
});

test("targets: 'head' adapts nothing, and trains a new head and trainInFull", () => {
  const base = tf.sequential({
    layers: [
      tf.layers.dense({units: 4, name: 'body', inputShape: [3]}),
      tf.layers.dense({units: 4, name: 'late'}),
      tf.layers.dense({units: 2, name: 'out'}),
    ],
  });
  const headed = replaceHead(base, [tf.layers.dense({units: 5, name: 'new'})], {after: 'late'});
  const model = applyLoRA(headed, {targets: 'head'});
  const adapter = getAdapter(model);
  expect(adapter.config).toMatchObject({layers: {}, trainable: ['new']});
  expect(model.trainableWeights.map(({shape}) => shape)).toEqual([[4, 5], [5]]);
  expect(planLoRA(base, {targets: 'head', trainInFull: ['out']}).layers.map(({role}) => role)).toEqual([
    'skipped',
    'skipped',
    'trained',
  ]);
  expect(() => applyLoRA(base, {targets: 'head'})).toThrow(
    "targets: 'head' trains a new head alone, but the model has none. Give it one with replaceHead, or name the",
  );
  expect(() => applyLoRA(base, {targets: []})).toThrow("got []. To train a new head alone: targets: 'head'.");
});
