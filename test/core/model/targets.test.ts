import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter, type LoRAConfig, planLoRA} from '../../../src';
import {closestTo} from '../../../src/platform/closest';
import {inventory, lineOf, showMatcher} from '../../../src/core/model/targets';
import {sitesOf} from '../../../src/core/rewire/walk';
import {replaceHead} from '../../../src/index';
import {cnn, mlp, reloaded} from '../../models';
import {countingCalls} from '../../work';

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

const callsOf = countingCalls();

test.each<[text: string, names: string[], closest: string[]]>([
  ['dense', ['conv', 'Dense', 'dense_1', 'dens'], ['Dense', 'dens']],
  ['kernel', ['colonel', 'x', 'kernle'], ['kernle']],
  ['block', ['block_1_expand', 'block_2_expand', 'act'], ['block_1_expand', 'block_2_expand']],
  ['a', ['a_long_name', 'b'], []],
  ['', ['a', 'b'], []],
  ['head', ['head', 'head'], ['head']],
  ['layer', ['layer_1', 'layer_2', 'layer_3', 'layer_4'], ['layer_1', 'layer_2', 'layer_3']],
  ['nothing', [], []],
])('to "%s" of %j are %j', (text, names, closest) => {
  expect(closestTo(text, names)).toEqual(closest);
});

test('very long names take no more work than short ones', async () => {
  const work = (length: number) => () => {
    const names = Array.from({length: 300}, (_, i) => `${'x'.repeat(length)}${i}`);
    expect(closestTo('x'.repeat(length), names)).toHaveLength(3);
  };
  const [short, long] = await callsOf(work(100), work(10_000));
  expect(long).toBe(short);
});

/** A layer of a user's, of models that are adapted in their linear layers. */
class Mixing extends tf.layers.Layer {
  static readonly className = 'LinearTargetsMixing';
  static readonly usualTargets = 'linear';
  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor | tf.Tensor[] {
    return inputs;
  }
  override computeOutputShape(shape: tf.Shape): tf.Shape {
    return shape;
  }
}
tf.serialization.registerClass(Mixing);

const {dense, embedding, flatten, activation, timeDistributed} = tf.layers;

/** An embedding, a Dense that is shared out over time, one in a nested model, and two heads. */
function network(...more: tf.layers.Layer[]): tf.LayersModel {
  const input = tf.input({shape: [3], dtype: 'int32'});
  const inner = tf.sequential({
    name: 'inner',
    layers: [dense({units: 4, inputShape: [12], name: 'up'}), dense({units: 4, name: 'down'})],
  });
  const layers = [
    embedding({inputDim: 5, outputDim: 4, name: 'tokens'}),
    timeDistributed({layer: dense({units: 4, name: 'each'}), name: 'steps'}),
    ...more,
    flatten(),
    inner,
  ];
  const body = layers.reduce<tf.SymbolicTensor>((x, layer) => layer.apply(x) as tf.SymbolicTensor, input);
  const one = activation({activation: 'softmax'}).apply(dense({units: 2, name: 'one'}).apply(body));
  const two = dense({units: 2, name: 'two'}).apply(body);
  return tf.model({inputs: input, outputs: [one, two] as tf.SymbolicTensor[]});
}

function adaptedBy(model: tf.LayersModel, config: LoRAConfig): string[] {
  return Object.keys(getAdapter(applyLoRA(model, {rank: 1, ...config} as LoRAConfig)).config.layers).sort();
}

const LINEAR = ['inner/down', 'inner/up', 'steps/each'];

test("'linear' names the Dense layers, but for those that give the outputs", () => {
  expect(adaptedBy(network(), {targets: 'linear'})).toEqual(LINEAR);
  expect(adaptedBy(network(), {targets: 'linear', exclude: ['inner'], trainInFull: ['one']})).toEqual(['steps/each']);
  expect(adaptedBy(mlp().model, {targets: 'linear'})).not.toContain('head');
  expect(() => applyLoRA(cnn().model, {targets: 'linear'})).toThrow('There is nothing to adapt.');
});

test('a model ends in what it nests: the last layer of that is a head too', () => {
  const model = tf.sequential({layers: [dense({units: 2, inputShape: [3], name: 'first'}), tail()]});
  expect(adaptedBy(model, {targets: 'linear'})).toEqual(['first', 'tail/before']);
});

function tail(): tf.LayersModel {
  const layers = [dense({units: 2, inputShape: [2], name: 'before'}), dense({units: 2, name: 'last'})];
  return tf.sequential({name: 'tail', layers});
}

test("it is the default where a layer's class says so, in a model that was saved too", async () => {
  expect(adaptedBy(network(), {})).toEqual(['inner/down', 'inner/up', 'one', 'steps/each', 'tokens', 'two']);
  const model = network(new Mixing());
  expect(adaptedBy(model, {})).toEqual(LINEAR);
  expect(adaptedBy(model, {targets: 'all'})).toContain('tokens');
  const loaded = await reloaded(model);
  expect(adaptedBy(loaded, {})).toEqual(LINEAR);
});

test('a plan says that a layer is adapted by this, or is not among the targets', () => {
  const reasons = planLoRA(network(new Mixing())).layers.map(({path, reason}) => [path, reason]);
  expect(Object.fromEntries(reasons)).toMatchObject({
    'inner/up': "targets: 'linear'",
    one: 'It is not among the targets.',
    tokens: 'It is not among the targets.',
  });
});

test('branches without weights that meet again and again are followed once', () => {
  const input = tf.input({shape: [4]});
  const inner = tf.layers.dense({units: 4, name: 'inner'}).apply(input) as tf.SymbolicTensor;
  let end = tf.layers.dense({units: 4, name: 'last'}).apply(inner) as tf.SymbolicTensor;
  for (let depth = 0; depth < 40; depth++) {
    end = tf.layers.add().apply([end, end]) as tf.SymbolicTensor;
  }
  expect(adaptedBy(tf.model({inputs: input, outputs: end}), {targets: 'linear'})).toEqual(['inner']);
});
