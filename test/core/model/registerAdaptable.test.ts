import * as tf from '@tensorflow/tfjs';
import {makeAdapter} from '../../../src/core/adapter/adapter';
import {getAdapter, setAdapter, withAdapter} from '../../../src/core/model/currentAdapter';
import {saveAdapter} from '../../../src/core/peft/saveAdapter';
import {loadAdapter} from '../../../src/core/peft/loadAdapter';
import type * as Library from '../../../src/index';
import {LoRAWeights} from '../../../src/core/layers/loraWeights';
import {loraClassOf, registerAdaptable} from '../../../src/core/layers/registry';
import {applyLoRA} from '../../../src/core/model/apply';
import {mergeLoRA, removeLoRA} from '../../../src/core/model/restore';
import {summarizeLoRA} from '../../../src/core/model/summary';
import {Centred, Mix, Pair} from '../../customLayers';
import {BACKENDS, numbers, random, useBackend} from '../../helpers';
import {
  baseWeights,
  factorsOf,
  MemoryHandler,
  predictions,
  reloaded,
  type Specimen,
  stirFactors,
  train,
} from '../../models';

/** A model with layers of a user's own: one that is registered, and in some tests not. */
function model(): Specimen {
  const inputs = [tf.input({shape: [5, 3], name: 'one'}), tf.input({shape: [5, 3], name: 'other'})];
  const [first, second] = new Pair({heads: 2, size: 4, name: 'pair'}).apply(inputs) as tf.SymbolicTensor[];
  const joined = tf.layers.add({name: 'sum'}).apply([first!, second!]) as tf.SymbolicTensor;
  const flat = tf.layers.flatten({name: 'flat'}).apply(joined);
  const mixed = new Mix({units: 4, name: 'mix'}).apply(flat);
  const outputs = tf.layers.dense({units: 2, name: 'head'}).apply(mixed) as tf.SymbolicTensor;
  return {model: tf.model({inputs, outputs}), inputs: [random([6, 5, 3], 1), random([6, 5, 3], 2)]};
}

/** Another copy of the library on the same tfjs: what a process has that has only imported it. */
function freshLibrary(): typeof Library {
  let fresh: unknown;
  jest.isolateModules(() => {
    jest.doMock('@tensorflow/tfjs', () => tf);
    fresh = jest.requireActual('../../../src/index');
  });
  return fresh as typeof Library;
}

function warnings(): jest.SpyInstance {
  return jest.spyOn(console, 'warn').mockImplementation(() => undefined);
}

describe('a class of the user that is not registered', () => {
  const SKIPPED =
    'LoRA does not know the class Mix. It has mix_Kernel [15, 4]. To adapt these or some of them, register it: ' +
    "registerAdaptable('Mix', {weights: ['mix_Kernel']}).";

  test("is skipped by 'all', which says why and how to register it, with the weights that it has", () => {
    expect(loraClassOf('Mix')).toBeUndefined();
    const warn = warnings();
    const lora = applyLoRA(model().model, {targets: 'all', rank: 2});
    expect(warn).toHaveBeenCalledTimes(1);
    const [text] = warn.mock.calls[0] as [string];
    expect(text).toContain(`Layer "mix": ${SKIPPED}`);
    expect(text).toMatch(/Layer "pair": .* the class Pair\. .*spread \[3, 2, 4\], gather \[2, 4, 3\], ids \[2, 2\]\. /);
    const {skipped} = summarizeLoRA(lora);
    expect(skipped.find(({path}) => path === 'mix')).toEqual({path: 'mix', className: 'Mix', reason: SKIPPED});
  });

  test('cannot be a target', () => {
    expect(() => applyLoRA(model().model, {targets: ['mix'], rank: 2})).toThrow(`Layer "mix": ${SKIPPED}`);
  });

  test('is adapted by hand, and its adapter and file need no registration', async () => {
    const input = tf.input({shape: [5]});
    const base = new Mix({units: 4, name: 'mix'});
    const layer = new LoRAWeights({layer: base, weights: ['mix_Kernel'], rank: 2});
    const lora = tf.model({inputs: input, outputs: layer.apply(input) as tf.SymbolicTensor});
    stirFactors(lora);
    const x = random([3, 5], 1);
    expect(predictions(await reloaded(lora), [x])).toEqual(predictions(lora, [x]));
    const again = applyLoRA(removeLoRA(lora), getAdapter(lora));
    expect(predictions(again, [x])).toEqual(predictions(lora, [x]));
  });
});

describe('a class of the user that writes to its own weights when it is called', () => {
  const centred = () =>
    tf.sequential({
      layers: [
        tf.layers.dense({units: 3, name: 'first', inputShape: [4]}),
        new Centred({name: 'centred'}),
        tf.layers.dense({units: 2, name: 'head'}),
      ],
    });

  test.each([
    ['frozen', {targets: ['Dense'], rank: 1}],
    ['with a bias that trains elsewhere', {targets: ['Dense'], rank: 1, bias: 'all'} as const],
    ['adapted', {rank: 1}],
  ])('keeps them as they are, %s, and the adapter makes the same model again', async (form, config) => {
    if (form === 'adapted') {
      registerAdaptable('Centred', {weights: ['kernel']});
    }
    const base = centred();
    const lora = applyLoRA(base, config);
    const x = random([6, 4], 1);
    const weights = () => lora.getLayer('centred').getWeights().map(numbers);
    const {length} = base.getLayer('centred').weights;
    const before = weights().slice(-length);
    await train(lora, [x]);
    expect(weights().slice(-length)).toEqual(before);
    expect(predictions(applyLoRA(base, getAdapter(lora)), [x])).toEqual(predictions(lora, [x]));
    expect(predictions(await reloaded(lora), [x])).toEqual(predictions(lora, [x]));
  });

  test('writes its state to them where it says that it has one', async () => {
    class Remembering extends Centred {
      static override readonly className = 'Remembering' as 'Centred';
      override get stateful(): boolean {
        return true;
      }
    }
    tf.serialization.registerClass(Remembering);
    const head = tf.layers.dense({units: 2, name: 'head'});
    const base = tf.sequential({layers: [new Remembering({name: 'memory', inputShape: [3]}), head]});
    const lora = applyLoRA(base, {rank: 1});
    const mean = () => numbers(lora.getLayer('memory').getWeights()[1]!);
    const before = mean();
    await train(lora, [random([6, 3], 1)], {batchSize: 6});
    expect(mean()).not.toEqual(before);
  });

  test('writes to them where it trains in full', async () => {
    const base = centred();
    const lora = applyLoRA(base, {targets: ['Dense'], trainInFull: ['centred'], rank: 1});
    const x = random([6, 4], 1);
    const mean = () => numbers(getAdapter(lora).tensors['centred/running_mean']!);
    const before = mean();
    await train(lora, [x]);
    expect(mean()).not.toEqual(before);
    expect(predictions(applyLoRA(base, getAdapter(lora)), [x])).toEqual(predictions(lora, [x]));
  });
});

describe('a class of the user that is registered', () => {
  beforeAll(() => {
    registerAdaptable('Mix', {weights: ['mix_Kernel']});
    registerAdaptable('Pair', {weights: [{name: 'spread', outAxes: 2}, 'gather']});
  });

  test.each(BACKENDS)(
    "is found by 'all', trains, is saved, set, removed, and merged to the user's own on %s",
    async backend => {
      await useBackend(backend);
      const warn = warnings();
      const {model: base, inputs} = model();
      const before = baseWeights(base);
      const lora = applyLoRA(base, {targets: 'all', rank: 2, seed: 3});
      expect(warn).not.toHaveBeenCalled();
      expect(predictions(lora, inputs)).toEqual(predictions(base, inputs));
      expect(summarizeLoRA(lora).skipped).toEqual([]);
      expect(summarizeLoRA(lora).layers.map(({path, weight, kernelShape}) => [path, weight, kernelShape])).toEqual([
        ['pair', 'spread', [3, 2, 4]],
        ['pair', 'gather', [2, 4, 3]],
        ['mix', undefined, [15, 4]],
        ['head', undefined, [4, 2]],
      ]);
      const names = factorsOf(lora).map(({originalName}) => originalName);
      expect(names).toEqual(expect.arrayContaining(['pair/spread/lora_A', 'pair/gather/lora_B', 'mix/lora_A']));

      await train(lora, inputs);
      expect(baseWeights(lora)).toEqual(before);
      expect(baseWeights(base)).toEqual(before);
      const trained = predictions(lora, inputs);
      expect(trained).not.toEqual(predictions(base, inputs));
      expect(predictions(await reloaded(lora), inputs)).toEqual(trained);
      expect(predictions(applyLoRA(base, getAdapter(lora)), inputs)).toEqual(trained);

      expect(withAdapter(lora, null, () => predictions(lora, inputs))).toEqual(predictions(base, inputs));
      const wider = applyLoRA(base, {rank: 3, alpha: 2});
      stirFactors(wider);
      setAdapter(lora, getAdapter(wider));
      expect(predictions(lora, inputs)).toEqual(predictions(wider, inputs));

      const merged = mergeLoRA(lora);
      expect(merged.layers.map(layer => layer.getClassName())).toEqual(base.layers.map(layer => layer.getClassName()));
      expect(predictions(merged, inputs)[0]).toBeAllClose(predictions(wider, inputs)[0]!);
      expect(predictions(await reloaded(merged), inputs)).toEqual(predictions(merged, inputs));
      expect(predictions(removeLoRA(lora), inputs)).toEqual(predictions(base, inputs));
    },
  );

  test('is adapted inside nested models and TimeDistributed', async () => {
    const steps = tf.layers.timeDistributed({
      layer: new Mix({units: 4, name: 'step'}),
      name: 'steps',
      inputShape: [5, 3],
    });
    const inner = tf.sequential({layers: [steps, tf.layers.flatten({name: 'flat'})], name: 'inner'});
    const base = tf.sequential({layers: [inner, tf.layers.dense({units: 2, name: 'head'})]});
    const x = random([6, 5, 3], 1);
    const lora = applyLoRA(base, {targets: ['Mix'], rank: 2});
    expect(summarizeLoRA(lora).layers.map(({path}) => path)).toEqual(['inner/steps/step']);
    expect(predictions(lora, [x])).toEqual(predictions(base, [x]));
    const before = baseWeights(lora);
    await train(lora, [x]);
    expect(baseWeights(lora)).toEqual(before);
    expect(predictions(lora, [x])).not.toEqual(predictions(base, [x]));
    expect(predictions(await reloaded(lora), [x])).toEqual(predictions(lora, [x]));
    expect(predictions(mergeLoRA(lora), [x])[0]).toBeAllClose(predictions(lora, [x])[0]!);
  });

  test('is adapted under a name with slashes, as models from Keras have them', async () => {
    const layers = [
      new Mix({units: 4, name: 'stage/mix', inputShape: [3]}),
      tf.layers.dense({units: 2, name: 'stage/out/dense'}),
    ];
    const base = tf.sequential({layers});
    const x = random([6, 3], 1);
    const lora = applyLoRA(base, {rank: 2, bias: 'adapted'});
    expect((lora.getLayer('stage/mix') as LoRAWeights).getParameterNames()).toEqual(['mix_Kernel', 'lora_A', 'lora_B']);
    expect(Object.keys(getAdapter(lora).tensors)).toEqual([
      ...['stage/mix/lora_A', 'stage/mix/lora_B'],
      ...['stage/out/dense/lora_A', 'stage/out/dense/lora_B', 'stage/out/dense/bias'],
    ]);
    expect(summarizeLoRA(lora).totalParameters).toBe(base.countParams() + 2 * (3 + 4) + 2 * (4 + 2));
    await train(lora, [x]);
    expect(predictions(await reloaded(lora), [x])).toEqual(predictions(lora, [x]));
    expect(predictions(applyLoRA(base, getAdapter(lora)), [x])).toEqual(predictions(lora, [x]));
    expect(predictions(mergeLoRA(lora), [x])[0]).toBeAllClose(predictions(lora, [x])[0]!);
  });

  test('has adapters and files that load where it is not registered', async () => {
    const {model: base, inputs} = model();
    const lora = applyLoRA(base, {rank: 2});
    stirFactors(lora);
    const expected = predictions(lora, inputs);
    const [modelFile, adapterFile] = [new MemoryHandler(), new MemoryHandler()];
    await lora.save(modelFile);
    await saveAdapter(lora, adapterFile);

    const {applyLoRA: apply, loadAdapter: load} = freshLibrary();
    expect(() => apply(base, {targets: ['mix']})).toThrow('LoRA does not know the class');
    const again = apply(base, await load(adapterFile));
    expect(predictions(again, inputs)).toEqual(expected);
    const loaded = await tf.loadLayersModel(modelFile);
    expect(loaded.getLayer('mix').getClassName()).toBe('tfjs-lora>LoRAWeights');
    expect(predictions(loaded, inputs)).toEqual(expected);
  });

  test('is not adapted if its layer has no weight of that name, and nothing is changed', () => {
    class Renamed extends Mix {
      static override readonly className = 'Renamed' as 'Mix';
    }
    tf.serialization.registerClass(Renamed);
    registerAdaptable('Renamed', {weights: ['kernel']});
    const base = tf.sequential({
      layers: [new Renamed({units: 3, name: 'one', inputShape: [4]}), new Renamed({units: 3, name: 'two'})],
    });
    const before = tf.memory().numTensors;
    for (const config of [{}, {targets: ['Renamed']}]) {
      expect(() => applyLoRA(base, {...config, rank: 2})).toThrow(
        [
          'Layer "one" (Renamed): there is no weight "kernel". It has mix_Kernel [4, 3].',
          'Layer "two" (Renamed): there is no weight "kernel". It has mix_Kernel [3, 3].',
        ].join('\n'),
      );
    }
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('an adapter of named weights', () => {
  test.each([
    [['spread'], 'pair: updates spread in the adapter, gather, spread (2 out axes) in the model'],
    [['spred'], 'pair: Layer "pair" (Pair): there is no weight "spred". It has spread [3, 2, 4], '],
    [
      [],
      "The adapter's config of layer \"pair\": weights must be a list such as ['attn_kernel'], and not empty, got [].",
    ],
  ])('that names the weights %j does not fit a layer that updates others', (names, message) => {
    const lora = applyLoRA(model().model, {targets: ['pair'], rank: 2});
    const adapter = getAdapter(lora);
    adapter.config.layers.pair!.weights = names.map(name => ({name, outAxes: 1}));
    expect(() => setAdapter(lora, adapter)).toThrow(message);
  });

  test('says itself which weights it updates, whatever is registered', async () => {
    const {model: base, inputs} = model();
    const lora = applyLoRA(base, {targets: ['pair'], rank: 2});
    const own = getAdapter(lora);
    const {'pair/gather/lora_A': A, 'pair/gather/lora_B': B} = own.tensors;
    const config = {
      ...own.config,
      layers: {pair: {...own.config.layers.pair!, weights: [{name: 'gather', outAxes: 1}]}},
    };
    const adapter = makeAdapter(config, {'pair/lora_A': A!, 'pair/lora_B': tf.onesLike(B!)});
    const again = applyLoRA(base, adapter);
    const layer = again.getLayer('pair') as LoRAWeights;
    expect(layer.lowRankParts.map(({weight}) => weight)).toEqual(['gather']);
    const handler = new MemoryHandler();
    await saveAdapter(again, handler);
    expect((await loadAdapter(handler)).config).toEqual(config);
    expect(predictions(mergeLoRA(again), inputs)[0]).toBeAllClose(predictions(again, inputs)[0]!);
  });
});
