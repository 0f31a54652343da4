import * as tf from '@tensorflow/tfjs';
import 'tfjs-lora';
import 'tfjs-lora/transformers';
import {type AdapterConfig, isAdapter, layerConfigAt, makeAdapter} from '../../../src/core/adapter/adapter';
import {checkAdapterConfig} from '../../../src/core/adapter/checkAdapter';
import {checkHeadConfig, describeHead, sameHead} from '../../../src/core/adapter/headConfig';
import {ownerOf, tensorsByLayer} from '../../../src/core/adapter/layerTensors';
import {LoRAError} from '../../../src/platform/errors';
import {written} from './adapters';

const LAYER = {className: 'Dense', rank: 1, alpha: 1, rankStabilized: false, freezeBaseLayer: true};
const dense = (name: string, more: object = {}) => ({className: 'Dense', config: {name, ...more}});

test('an adapter says its layers and ranks, what it holds in full, its head, and how large it is', () => {
  const text = (config: Partial<AdapterConfig>, ...sizes: number[]) =>
    makeAdapter(
      {layers: {}, trainable: [], ...config},
      Object.fromEntries(sizes.map((size, i) => [`${i}`, tf.zeros([size])])),
    ).toString();
  expect(text({})).toBe('LoRA adapter: 0 layers, 0 parameters');
  expect(text({layers: {a: LAYER, b: {...LAYER, rank: 4}, c: LAYER}}, 1000, 234)).toBe(
    'LoRA adapter: 3 layers of rank 1, 4, 1,234 parameters',
  );
  expect(text({layers: {a: LAYER}, trainable: ['b'], head: {at: 'pool', layers: [dense('b')]}}, 3, 4)).toBe(
    'LoRA adapter: 1 layers of rank 1, 1 trained in full, a new head after pool, 7 parameters',
  );
});

test('an adapter has tensors and a config, and configs of its own layers alone', () => {
  expect([{tensors: {}, config: {}}, {tensors: {}}, {config: {}}, null, 'x'].map(isAdapter)).toEqual([
    true,
    false,
    false,
    false,
    false,
  ]);
  const config = {layers: {a: LAYER}, trainable: []};
  expect(layerConfigAt(config, 'a')).toBe(LAYER);
  expect(layerConfigAt(config, 'constructor')).toBeUndefined();
});

test('a tensor belongs to the longest path that begins its name, of at most 16 parts less', () => {
  const paths = new Set(['a', 'a/b', '']);
  expect(ownerOf('a/b/kernel', paths)).toBe('a/b');
  expect(ownerOf('a/c/kernel', paths)).toBe('a');
  expect(ownerOf('/kernel', paths)).toBe('');
  expect(ownerOf('kernel', paths)).toBeUndefined();
  expect(ownerOf(`a${'/p'.repeat(16)}`, new Set(['a']))).toBe('a');
  expect(ownerOf(`a${'/p'.repeat(17)}`, new Set(['a']))).toBeUndefined();
});

test('factors are those of the method, in the order of their names, and a layer without any is a fault', () => {
  const config = {layers: {x: {...LAYER, className: 'LSTM'}, y: LAYER}, trainable: [], biases: ['z']};
  const tensors = {
    'x/recurrent_kernel/lora_B': tf.ones([1, 4]),
    'x/recurrent_kernel/lora_A': tf.ones([2, 1]),
    'x/kernel/lora_A': tf.ones([3, 1]),
    'x/kernel/lora_B': tf.ones([1, 4]),
    'x/bias': tf.ones([4]),
    'z/bias': tf.ones([1]),
  };
  const {layers, faults} = tensorsByLayer(makeAdapter(config, tensors));
  expect(layers.get('x')!.factors.map(({prefix, a}) => [prefix, a.shape])).toEqual([
    ['kernel/', [3, 1]],
    ['recurrent_kernel/', [2, 1]],
  ]);
  expect([...layers].map(([path, {full}]) => [path, Object.keys(full)])).toEqual([
    ['x', ['bias']],
    ['y', []],
    ['z', ['bias']],
  ]);
  expect(faults).toEqual(['y: no factors in the adapter']);
});

test('factors of different ranks, half an update, and a method that adds nothing are faults', () => {
  const {config, tensors} = written({x: {a: [[1], [2]], b: [[1]]}, y: {a: [[1]], b: [[1]]}});
  const layers = {...config.layers, z: {...LAYER, method: 'ia3' as const}};
  const {faults} = tensorsByLayer(
    makeAdapter(
      {...config, layers},
      {
        'x/lora_A': tensors['x/lora_A']!,
        'x/lora_B': tf.ones([2, 1]),
        'y/lora_B': tf.ones([1, 1]),
        'z/ia3_l': tf.ones([1]),
      },
    ),
  );
  expect(faults).toEqual([
    'x/: factors of different ranks, [2, 1] and [2, 1]',
    'y/lora_B: without a lora_A',
    'z: method ia3, whose updates cannot be added',
  ]);
});

describe('the config of a head', () => {
  const head = (...layers: unknown[]) => ({at: 'pool', layers});
  const check = (value: unknown) => () => checkHeadConfig(value);

  test('may be missing, and says where it attaches and its layers otherwise', () => {
    check(undefined)();
    check(head(dense('a')))();
    for (const value of [
      null,
      {layers: [dense('a')]},
      {at: 'pool', layers: {}},
      head(),
      head(null),
      head({className: 'Dense'}),
      head({className: 'Dense', config: null}),
      head({className: 'Dense', config: {name: 1}}),
      head({className: 1, config: {name: 'a'}}),
      head(dense('a'), 'b'),
    ]) {
      expect(check(value)).toThrow("The adapter's head must say where it attaches, and list its layers");
    }
  });

  test('has up to 200 layers', () => {
    check(head(...Array.from({length: 200}, () => dense('a'))))();
    expect(check(head(...Array.from({length: 201}, () => dense('a'))))).toThrow(
      "The adapter's head has 201 layers, more than the 200 that are allowed.",
    );
  });

  test('is nested up to 200 levels deep', () => {
    // The list, the layer and its config are three of them.
    const nested = (levels: number): object => (levels === 1 ? {} : {x: nested(levels - 1)});
    check(head(dense('a', {x: nested(197)})))();
    expect(check(head(dense('a', {x: nested(198)})))).toThrow('nested more deeply than 200 levels');
  });

  test('holds up to 20,000 values', () => {
    // The list of layers, the layer, its class, its config, its name and the list are six of them.
    check(head(dense('a', {x: Array(19_994).fill(0)})))();
    expect(check(head(dense('a', {x: Array(19_995).fill(0)})))).toThrow('hold more than 20000 values');
    expect(check(head(dense('a', {x: Array(10_000).fill([0])})))).toThrow('hold more than 20000 values');
  });

  test('has no part of a graph, not even inside a layer', () => {
    const inside = (className: string) => head(dense('a'), dense('b', {layer: {className, config: {}}, last: 1}));
    check(inside('ReLU'))();
    for (const value of [inside('GraphOp'), inside('tfjs-lora>GraphOp'), head({...dense('a'), className: 'GraphOp'})]) {
      expect(check(value)).toThrow("The adapter's head has a GraphOp");
    }
  });

  test('is the same in any order of its keys, and whatever matters in training alone', () => {
    const one = {at: 'pool', layers: [dense('a', {units: 2, useBias: true})]};
    const same = (more: object) => sameHead(one, {at: 'pool', layers: [dense('a', more)]});
    expect(same({useBias: true, units: 2})).toBe(true);
    expect(same({units: 2, useBias: true, trainable: false})).toBe(true);
    expect(same({units: 2, useBias: true, kernelInitializer: {}, biasRegularizer: 1, kernelConstraint: 2})).toBe(true);
    expect(same({units: 3, useBias: true})).toBe(false);
    expect(same({units: 2, useBias: true, activation: 'relu'})).toBe(false);
    expect(sameHead(one, {layers: [{config: one.layers[0]!.config, className: 'tfjs-lora>Dense'}], at: 'pool'})).toBe(
      true,
    );
    expect(sameHead(one, {...one, at: 'flat'})).toBe(false);
    expect([sameHead(undefined, undefined), sameHead(undefined, one)]).toEqual([true, false]);
  });

  test('is described by where it attaches and its layers', () => {
    expect(describeHead(undefined)).toBe('no new head');
    expect(describeHead({at: 'pool', layers: [dense('a'), dense('b')]})).toBe(
      'a new head after "pool": a (Dense), b (Dense)',
    );
  });
});

describe('the config of an adapter', () => {
  const check = (value: unknown) => () => checkAdapterConfig(value);
  const layer = (more: object) => check({layers: {x: {...LAYER, ...more}}, trainable: []});

  test('lists its layers, and those that train in full', () => {
    check({layers: {x: LAYER}, trainable: ['y'], biases: ['z']})();
    for (const value of [
      undefined,
      null,
      {trainable: []},
      {layers: null, trainable: []},
      {layers: [], trainable: []},
      {layers: {}},
      {layers: {}, trainable: [1]},
      {layers: {}, trainable: [], biases: 'x'},
    ]) {
      expect(check(value)).toThrow('This is not the config of an adapter');
    }
  });

  test('has all that a layer needs', () => {
    layer({trainBias: true, tokens: undefined})();
    for (const more of [
      {className: undefined},
      {freezeBaseLayer: undefined},
      {rank: undefined},
      {alpha: undefined},
      {trainBias: 1},
      {tokens: 3},
    ]) {
      expect(layer(more)).toThrow('The adapter\'s config of layer "x" must hold its className');
    }
    for (const value of [null, 'x']) {
      expect(check({layers: {x: value}, trainable: []})).toThrow('config of layer "x" must hold its className');
    }
  });

  test('has nothing else, and values in range', () => {
    expect(layer({beta: 1})).toThrow('config of layer "x" holds beta, which this library does not know.');
    expect(layer({rank: 0})).toThrow(LoRAError);
    expect(layer({dropout: 2})).toThrow('config of layer "x": dropout');
    expect(layer({weights: [{name: 1}]})).toThrow('config of layer "x": ');
    expect(layer({tokens: [1]})).toThrow('takes no tokens.');
    expect(layer({method: 'tokens'})).toThrow('takes the tokens that train.');
    expect(check({layers: {}, trainable: [], head: {}})).toThrow("The adapter's head must say where it attaches");
  });
});
