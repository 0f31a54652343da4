import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../src/platform/errors';
import {applyLoRA} from '../../../src/core/model/apply';
import {LoRAConv2D} from '../../../src/core/layers/loraConv2d';
import {LoRADense} from '../../../src/core/layers/loraDense';
import type {LoRALayerArgs} from '../../../src/core/layers/layerArgs';
import {isLoRALayer, type LoRALayer} from '../../../src/core/layers/loraLayer';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {predictions, reloaded, stir, stirFactors, train} from '../../models';

interface Kind {
  adapt: (args: LoRALayerArgs) => LoRALayer;
  /** A base with fan-in 12 and 5 outputs. */
  base: (args?: object) => tf.layers.Layer;
  /** A base of another class. */
  foreign: () => tf.layers.Layer;
  inputShape: number[];
  /** How many numbers an output has. */
  outputs: number;
  kernel: number[];
  a: number[];
}

/** Makes a base of either class wide enough for rank 8. */
const WIDE = {units: 9, filters: 9};

const KINDS: [name: string, kind: Kind][] = [
  [
    'LoRADense',
    {
      adapt: args => new LoRADense(args),
      base: args => tf.layers.dense({units: 5, ...args}),
      foreign: () => tf.layers.conv2d({filters: 2, kernelSize: 1, name: 'other'}),
      inputShape: [12],
      outputs: 5,
      kernel: [12, 5],
      a: [12, 2],
    },
  ],
  [
    'LoRAConv2D',
    {
      adapt: args => new LoRAConv2D(args),
      base: args => tf.layers.conv2d({filters: 5, kernelSize: [2, 3], ...args}),
      foreign: () => tf.layers.dense({units: 2, name: 'other'}),
      inputShape: [4, 4, 2],
      outputs: 3 * 2 * 5,
      kernel: [2, 3, 2, 5],
      a: [2, 3, 2, 2],
    },
  ],
];

/** A layer that stands by itself, built for an input. */
function built<T extends tf.layers.Layer>(layer: T, {inputShape}: Kind): T {
  layer.apply(tf.input({shape: inputShape}));
  return layer;
}

function values(layer: LoRALayer): Record<string, number[]> {
  return Object.fromEntries(layer.getParameterNames().map(name => [name, numbers(layer.tryGetParameter(name)!)]));
}

function copyOf(layer: LoRALayer): LoRALayer {
  const {classNameMap} = tf.serialization.SerializationMap.getMap();
  const [layerClass, fromConfig] = classNameMap[layer.getClassName()]!;
  const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
  return fromConfig(layerClass, config) as LoRALayer;
}

describe.each(KINDS)('%s', (className, kind) => {
  const {adapt, base, inputShape} = kind;
  const adapted = (args: Partial<LoRALayerArgs> = {}) =>
    built(adapt({layer: base({name: 'base'}), rank: 2, ...args}), kind);

  test('is registered under its name and made by its factory', () => {
    expect(Object.keys(tf.serialization.SerializationMap.getMap().classNameMap)).toContain(`tfjs-lora>${className}`);
    const layer = adapted();
    expect(layer.getClassName()).toBe(`tfjs-lora>${className}`);
    expect(layer).toBeInstanceOf(className === 'LoRADense' ? LoRADense : LoRAConv2D);
  });

  test('says what it is', () => {
    const layer = adapted({rank: 4, alpha: 10});
    expect([layer.rank, layer.alpha, layer.scaling]).toEqual([4, 10, 2.5]);
    expect(layer.isBaseLayerFrozen).toBe(true);
    expect(layer.baseLayer.getClassName()).toBe(className.slice('LoRA'.length));
    expect(layer.loraLayer.A.shape).toEqual([...kind.kernel.slice(0, -1), 4]);
    expect(layer.loraLayer.B.shape).toEqual([4, 5]);
    expect(layer.loraLayer.delta().shape).toEqual(kind.kernel);
    expect(layer.name).toBe('base');
    const names = layer.weights.map(({originalName}) => originalName).sort();
    expect(names).toEqual(['base/bias', 'base/kernel', 'base/lora_A', 'base/lora_B']);
  });

  test('has rank 8, alpha = rank and a frozen base unless told otherwise', () => {
    const layer = adapt({layer: base()});
    expect([layer.rank, layer.alpha, layer.scaling]).toEqual([8, 8, 1]);
    expect(layer.isBaseLayerFrozen).toBe(true);
    expect(adapt({layer: base(), rank: 3}).alpha).toBe(3);
  });

  test('scales by alpha/√rank with rank stabilisation', () => {
    const layer = adapted({rank: 4, alpha: 6, rankStabilized: true});
    expect(layer.scaling).toBe(3);
    stirFactors(layer);
    const plain = adapted({rank: 4, alpha: 12});
    plain.setParameter('lora_A', layer.loraLayer.A);
    plain.setParameter('lora_B', layer.loraLayer.B);
    expect(numbers(layer.loraLayer.delta())).toEqual(numbers(plain.loraLayer.delta()));
  });

  test('with alpha 0 adds nothing', () => {
    const layer = adapted({alpha: 0});
    stirFactors(layer);
    expect(numbers(layer.loraLayer.delta())).toEqual(new Array(60).fill(0));
  });

  test.each([
    [{rank: 0}, 'rank must be a positive integer, got 0.'],
    [{rank: -1}, 'rank must be a positive integer, got -1.'],
    [{rank: 1.5}, 'rank must be a positive integer, got 1.5.'],
    [{rank: NaN}, 'rank must be a positive integer, got NaN.'],
    [{alpha: -1}, 'alpha must be a finite number that is not negative, got -1.'],
    [{alpha: NaN}, 'alpha must be a finite number that is not negative, got NaN.'],
    [{alpha: Infinity}, 'alpha must be a finite number that is not negative, got Infinity.'],
  ])('refuses %j', (args, message) => {
    expect(() => adapt({layer: base(), ...args})).toThrow(new LoRAError(message));
  });

  test.each([0, 2])('refuses %d inputs', count => {
    const inputs = Array.from({length: count}, () => tf.ones(inputShape));
    expect(() => adapted().call(inputs, {})).toThrow(`Expected one input, got ${count}.`);
  });

  test('refuses options that do not exist or have another type, with the name that is meant, all at once', () => {
    const refusal = (args: object) => {
      try {
        adapt({layer: base(), ...args});
      } catch (error) {
        expect((error as LoRAError).code).toBe('ERR_OPTION');
        return (error as LoRAError).message;
      }
      return undefined;
    };
    expect(refusal({rnak: 2})).toMatch(/^There is no option "rnak"\. The options are: layer, .*rank, alpha/);
    expect(refusal({lora_alpha: 32})).toContain('\nPEFT\'s "lora_alpha" is called alpha here.');
    expect(refusal({r: 4})).toContain('\nPEFT\'s "r" is called rank here.');
    expect(refusal({frozen: false})).toContain('"freezeBaseLayer"');
    expect(refusal({baseLayer: base()})).toContain('passed as "layer"');
    expect(refusal({inputShape: [3]})).toContain('Give inputShape to the wrapped layer.');
    expect(refusal({freezeBaseLayer: 'no'})).toBe('freezeBaseLayer must be true or false, got "no".');
    expect(refusal({trainBias: 'yes'})).toBe('trainBias must be true or false, got "yes".');
    expect(refusal({seed: 'a'})).toBe('seed must be an integer, got "a".');
    expect(refusal({rank: 0, alpha: -1, seed: 0.5, dropout: 1})!.split('\n')).toHaveLength(3);
    expect(refusal({rank: undefined, alpha: undefined, seed: undefined, freezeBaseLayer: undefined})).toBeUndefined();
  });

  test('without a rank takes the highest up to 8 that fits, at the same scaling', () => {
    const built8 = built(base({name: 'base'}), kind); // fan-in 12, 5 outputs
    for (const args of [{}, {alpha: 16}, {alpha: 16, rankStabilized: true}]) {
      const wide = built(adapt({layer: kind.base({name: 'wide', ...WIDE}), ...args}), kind);
      expect(wide.rank).toBe(8);
      const unbuilt = adapt({layer: base({name: 'base'}), ...args});
      expect(unbuilt.getConfig().rank).toBeUndefined();
      for (const layer of [built(unbuilt, kind), adapt({layer: built8, ...args}), built(copyOf(unbuilt), kind)]) {
        expect(layer.rank).toBe(5);
        expect(layer.scaling).toBeCloseTo(wide.scaling, 12);
      }
      expect(unbuilt.loraLayer.A.shape).toEqual([...kind.kernel.slice(0, -1), 5]);
      expect(copyOf(unbuilt).rank).toBe(5);
    }
  });

  test('with a method that has no rank needs none', () => {
    const layer = adapted({method: 'ia3', rank: undefined});
    expect(layer.method.name).toBe('ia3');
    expect(layer.updateParts[0]!.trainableParameters).toBe(5);
  });

  test('refuses what is not a layer of its class', () => {
    expect(() => adapt({layer: kind.foreign()})).toThrow(/Layer "other" is a .* adapts layers/);
    expect(() => adapt({layer: 'dense' as unknown as tf.layers.Layer})).toThrow(LoRAError);
  });

  test('refuses a rank above min(fan-in, fan-out), immediately with a built base, otherwise when it is built', async () => {
    const x = random([3, ...inputShape] as [number, number], 4);
    await withoutLeaks(() => {
      const layer = adapt({layer: base({name: 'base'}), rank: 6});
      const message = /Layer "base" has a kernel .* above 5 .*got 6/;
      expect(() => built(layer, kind)).toThrow(message);
      expect(() => built(layer, kind)).toThrow(message);
      expect(() => layer.apply(x)).toThrow(message);
    });
    const owner = built(base({name: 'base'}), kind);
    expect(() => adapt({layer: owner, rank: 6})).toThrow(/above 5 would add nothing, got 6/);
  });

  test('stays unbuilt if its factors cannot be made', async () => {
    // A is a matrix for Dense and not square, and no matrix for Conv2D.
    await withoutLeaks(() => {
      const layer = adapt({layer: base({name: 'base'}), rank: 2, init: 'identity'});
      expect(() => built(layer, kind)).toThrow('Identity');
      expect(() => built(layer, kind)).toThrow('Identity');
      expect(layer.built).toBe(false);
    });
  });

  test('says that it is not built where its weights are asked for too early', async () => {
    const layer = adapt({layer: base({name: 'base'}), rank: 2});
    const message = 'Layer "base" is not built. Call it on an input, or make a model with it, first.';
    expect(() => layer.mergeToOriginalLayer()).toThrow(new LoRAError(message));
    expect(() => layer.loraLayer).toThrow(new LoRAError(message));
    await expect(layer.getDiagnostics()).rejects.toThrow(new LoRAError(message));
  });

  test('starts A between ±1/√fan-in, evenly, and B at zero', () => {
    const wide = kind.kernel.slice(0, -1);
    const [channels] = wide.splice(-1, 1, 960);
    const units = {units: 40, filters: 40};
    const layer = adapt({layer: base({...units, kernelInitializer: 'zeros'}), rank: 8, seed: 5});
    layer.build([null, ...inputShape.slice(0, -1), 960]);
    const fanIn = wide.reduce((product, size) => product * size);
    const a = numbers(layer.loraLayer.A).map(value => value * Math.sqrt(fanIn));
    expect(channels).toBeGreaterThan(0);
    expect(a).toHaveLength(8 * fanIn);
    expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(1 + 1e-6);
    // The Kolmogorov-Smirnov statistic against the uniform distribution; 1.63/√n is exceeded once in a hundred.
    const gaps = a
      .sort((one, other) => one - other)
      .map((value, i) => Math.abs((value + 1) / 2 - (i + 0.5) / a.length));
    expect(Math.max(...gaps)).toBeLessThan(1.63 / Math.sqrt(a.length));
    expect(new Set(numbers(layer.loraLayer.B))).toEqual(new Set([0]));
  });

  test('starts A equally with one seed, and otherwise randomly', () => {
    const start = (args: Partial<LoRALayerArgs>) => numbers(adapted(args).loraLayer.A);
    expect(start({seed: 3})).toEqual(start({seed: 3}));
    expect(start({seed: 3})).not.toEqual(start({seed: 4}));
    expect(start({})).not.toEqual(start({}));
    const normal = tf.initializers.randomNormal({stddev: 1});
    expect(start({seed: 3, init: normal})).toEqual(start({seed: 3, init: normal}));
  });

  test.each([
    ['a name', 'ones' as const, 1],
    ['an initializer', tf.initializers.constant({value: 0.25}), 0.25],
    ['a config', {className: 'Constant', config: {value: 0.5}}, 0.5],
  ])('starts A from an initializer given as %s', (_, initializer, value) => {
    const layer = adapted({init: initializer});
    expect(new Set(numbers(layer.loraLayer.A))).toEqual(new Set([value]));
    const copy = built(copyOf(layer), kind);
    expect(new Set(numbers(copy.loraLayer.A))).toEqual(new Set([value]));
  });

  test.each([
    ['magnitudes of DoRA', 'lora_magnitude_vector', {method: 'dora'}],
    ['factors of PiSSA', 'lora_B', {init: 'pissa'}],
  ] as const)('starts with %s that follow from the base, and computes what the base computes', (_, name, options) => {
    const owner = tf.sequential({layers: [base({inputShape})]});
    stir(owner);
    const x = random([3, ...inputShape] as [number, number], 2);
    const layer = built(adapt({layer: owner.layers[0]!, rank: 2, ...options}), kind);
    expect(Math.max(...numbers(layer.adapterWeights().get(name)!.read()).map(Math.abs))).toBeGreaterThan(0.1);
    const expected = numbers(owner.predict(x) as tf.Tensor);
    expect(numbers(layer.apply(x) as tf.Tensor)).toBeAllClose(expected, {rtol: 1e-5, atol: 1e-5});
  });

  test('shares the buffers of a built base and leaves its owner alone', async () => {
    const owner = tf.sequential({layers: [base({inputShape, name: 'base'})]});
    stir(owner);
    const x = random([3, ...inputShape] as [number, number], 2);
    const before = predictions(owner, [x]);
    const buffers = tf.memory().numDataBuffers;
    const layer = adapt({layer: owner.layers[0]!, rank: 2, freezeBaseLayer: false});
    built(layer, kind);
    expect(tf.memory().numDataBuffers - buffers).toBe(2);
    expect(owner.trainableWeights).toHaveLength(2);
    expect(owner.layers[0]!.trainable).toBe(true);
    expect(numbers(layer.apply(x) as tf.Tensor)).toEqual(before[0]);

    const model = tf.sequential({layers: [layer]});
    await train(model, [x]);
    expect(predictions(owner, [x])).toEqual(before);
    expect(predictions(model, [x])).not.toEqual(before);
  });

  test('around a built base refuses an input that the kernel is not for, as the base does', async () => {
    const owner = built(base({name: 'base'}), kind);
    await withoutLeaks(() => {
      const layer = adapt({layer: owner, rank: 2});
      const other = tf.input({shape: [...inputShape.slice(0, -1), 7]});
      const message = /Input 0 is incompatible with layer base: expected axis (-1|3) of input shape to have value/;
      expect(() => owner.apply(other)).toThrow(message);
      expect(() => layer.apply(other)).toThrow(message);
    });
  });

  test('takes the weights that an unbuilt base was given', () => {
    const weights = [random(kind.kernel as [number, number], 1), random([5], 2)];
    const layer = built(adapt({layer: base({weights}), rank: 2}), kind);
    expect(numbers(layer.tryGetParameter('kernel')!)).toEqual(numbers(weights[0]!));
    expect(numbers(layer.tryGetParameter('bias')!)).toEqual(numbers(weights[1]!));
  });

  test('leaves an unbuilt base as it was', () => {
    const stock = base({name: 'base'});
    const layer = built(adapt({layer: stock, rank: 2}), kind);
    expect(layer.baseLayer).not.toBe(stock);
    expect([stock.trainable, stock.built]).toEqual([true, false]);
    built(stock, kind);
    expect(stock.trainableWeights.map(weight => weight.trainable)).toEqual([true, true]);
    expect(numbers(stock.getWeights()[0]!)).not.toEqual(numbers(layer.baseLayer.getWeights()[0]!));
  });

  test('takes over an unbuilt base that its class cannot copy', () => {
    const Stock = tf.serialization.SerializationMap.getMap().classNameMap[className.slice('LoRA'.length)]![0];
    class Unregistered extends (Stock as unknown as new (args: object) => tf.layers.Layer) {
      note = 'a setting';
    }
    const noted = new Unregistered({units: 5, filters: 5, kernelSize: [2, 3], name: 'base'});
    noted.note = 'another setting'; // which the config does not hold
    expect(adapt({layer: noted, rank: 2}).baseLayer).toBe(noted);
  });

  test('says that its base is not frozen once the base is made trainable, which the adapter does not hold', async () => {
    const layer = adapted({trainBias: true});
    expect(layer.isBaseLayerFrozen).toBe(true); // trainBias trains the bias beside the factors
    layer.baseLayer.trainable = true;
    expect(layer.isBaseLayerFrozen).toBe(false);
    expect((await layer.getDiagnostics()).frozen).toBe('false');
    layer.baseLayer.trainable = false;
    expect(layer.isBaseLayerFrozen).toBe(true);
    const open = adapted({freezeBaseLayer: false});
    expect(open.isBaseLayerFrozen).toBe(false);
    expect(adapt({layer: base(), freezeBaseLayer: false}).isBaseLayerFrozen).toBe(false);
  });

  test('is recognised by isLoRALayer, as its base is not', () => {
    const layers: tf.layers.Layer[] = [adapted(), base(), adapted()];
    const ranks: number[] = layers.filter(isLoRALayer).map(({rank}) => rank);
    expect(ranks).toEqual([2, 2]);
  });

  test('is printed in a summary by its name and class in full', () => {
    const lines: string[] = [];
    const shape = {inputShape: kind.inputShape};
    const model = tf.sequential({layers: [adapt({layer: base({name: 'a_base', ...shape}), rank: 2})]});
    model.summary(undefined, undefined, (line?: string) => lines.push(line!));
    expect(lines.filter(line => line.includes('a_base')).join('\n')).toContain(`a_base (${className}) `);
    expect(model.layers[0]!.getClassName()).toBe(`tfjs-lora>${className}`);
    expect(() =>
      model.summary(undefined, undefined, () => {
        throw new Error('full');
      }),
    ).toThrow('full');
    expect(model.layers[0]!.getClassName()).toBe(`tfjs-lora>${className}`);
  });

  test('gives each wrapper of one unbuilt base a separate base', () => {
    const one = base({name: 'base'});
    const [first, second] = [adapted({layer: one}), adapted({layer: one})];
    expect(first.baseLayer).not.toBe(second.baseLayer);
  });

  test("merges to a stock layer under the base's name and is not changed by it", () => {
    const layer = adapted({alpha: 3});
    stir(layer);
    stirFactors(layer);
    const before = values(layer);
    const merged = layer.mergeToOriginalLayer();
    expect(values(layer)).toEqual(before);
    expect(merged.name).toBe('base');
    expect(merged.weights.map(({originalName}) => originalName)).toEqual(['base/kernel', 'base/bias']);
    const expected = tf.add(layer.tryGetParameter('kernel')!, layer.loraLayer.delta());
    expect(numbers(merged.getWeights()[0]!)).toBeAllClose(numbers(expected));
    // As good as new: it can be built into a model.
    const model = tf.sequential({layers: [tf.layers.inputLayer({inputShape}), merged]});
    expect(predictions(model, [random([2, ...inputShape] as [number, number], 3)])[0]).toHaveLength(
      numbers(model.predict(tf.zeros([2, ...inputShape])) as tf.Tensor).length,
    );
  });

  test('takes over, and merges, a kernel as it is, whatever the constraint that it trained under', () => {
    const model = tf.sequential({layers: [kind.base({inputShape: kind.inputShape, kernelConstraint: 'nonNeg'})]});
    stir(model);
    const [kernel] = model.weights.map(weight => weight.read() as tf.Variable);
    kernel!.assign(tf.sub(kernel!, 1));
    const layer = kind.adapt({layer: model.layers[0]!, rank: 2});
    const x = random([3, ...kind.inputShape] as [number, number], 4);
    expect(numbers(layer.apply(x) as tf.Tensor)).toEqual(predictions(model, [x])[0]);
    expect(numbers(layer.mergeToOriginalLayer().apply(x) as tf.Tensor)).toEqual(predictions(model, [x])[0]);
    stirFactors(layer);
    expect(numbers(layer.mergeToOriginalLayer().apply(x) as tf.Tensor)).toBeAllClose(
      numbers(layer.apply(x) as tf.Tensor),
    );
  });

  test('reports its counts and norms in getDiagnostics', async () => {
    const layer = adapted({alpha: 4});
    const ones = (shape: number[]) => tf.ones(shape);
    layer.setParameter('kernel', tf.mul(ones(kind.kernel), 8));
    layer.setParameter('lora_A', ones(kind.a));
    layer.setParameter('lora_B', ones([2, 5]));
    // Every entry of delta is 2·(1·1 + 1·1) = 4, half of the kernel's; there are 60.
    const {deltaNorm, deltaToKernelRatio, trainableRatio, ...exact} = await layer.getDiagnostics();
    expect(exact).toEqual({
      method: 'lora',
      rank: '2',
      alpha: '4',
      scaling: '2',
      frozen: 'true',
      trainableParameters: '34',
      totalParameters: '99',
    });
    expect(Number(trainableRatio)).toBeCloseTo(34 / 99);
    expect(Number(deltaNorm)).toBeCloseTo(4 * Math.sqrt(60), 3);
    expect(Number(deltaToKernelRatio)).toBeCloseTo(0.5);
  });

  test('lists its weights by name', () => {
    const layer = adapted();
    expect(layer.getParameterNames()).toEqual(['kernel', 'bias', 'lora_A', 'lora_B']);
    expect(layer.namedParameterCount).toBe(4);
    expect(layer.getParameterShape('lora_A')).toEqual(kind.a);
    expect(layer.getParameterShape('nothing')).toBeUndefined();
    expect(layer.tryGetParameter('nothing')).toBeUndefined();
  });

  test('sets a weight by name and refuses one that is not there or has another shape', () => {
    const layer = adapted();
    layer.setParameter('lora_B', tf.ones([2, 5]));
    expect(numbers(layer.loraLayer.B)).toEqual(new Array(10).fill(1));
    expect(() => layer.setParameter('lora_C', tf.ones([2, 5]))).toThrow(
      'Layer "base" has no weight "lora_C". It has kernel, bias, lora_A, lora_B.',
    );
    expect(() => layer.setParameter('lora_B', tf.zeros([5, 2]))).toThrow(/\[5, 2\].*\[2, 5\]/);
    expect(numbers(layer.loraLayer.B)).toEqual(new Array(10).fill(1));
  });

  test('validates names, passed through a mapping, of which null skips one', () => {
    const layer = adapted();
    expect(layer.validateWeights(['lora_A', 'other', 'bias'])).toEqual({
      matched: ['lora_A', 'bias'],
      unmatched: ['other'],
      missing: ['kernel', 'lora_B'],
    });
    const mapping = (name: string) => (name === 'skip' ? null : name.replace('down', 'lora_A'));
    expect(layer.validateWeights(['down', 'skip', 'up'], mapping)).toEqual({
      matched: ['lora_A'],
      unmatched: ['up'],
      missing: ['kernel', 'bias', 'lora_B'],
    });
  });

  test('loads weights strictly: one error lists every misfit and nothing is changed', () => {
    const layer = adapted();
    const before = values(layer);
    const load = () =>
      layer.loadWeights({
        kernel: tf.ones(kind.kernel),
        lora_A: tf.ones([7, 7]),
        bias: tf.ones([5], 'int32'),
        other: tf.ones([1]),
      });
    expect(load).toThrow(LoRAError);
    for (const part of [
      /lora_A: shape \[7, 7\]/,
      /bias: of type int32, expected float32/,
      /other: not a weight/,
      /lora_B: not/,
    ]) {
      expect(load).toThrow(part);
    }
    expect(values(layer)).toEqual(before);
  });

  test('loads what fits when it is not strict, and reports the rest', () => {
    const layer = adapted();
    const before = values(layer);
    const mapping = (name: string) => (name === 'skip' ? null : name);
    const report = layer.loadWeights(
      {kernel: tf.ones(kind.kernel), lora_A: tf.ones([7]), other: tf.ones([1]), skip: tf.ones([1])},
      mapping,
      false,
    );
    expect(report.matched).toEqual(['kernel']);
    expect(report.unmatched).toEqual(['other']);
    expect(report.missing).toEqual(['bias', 'lora_B']);
    expect(report.mismatched).toHaveLength(1);
    expect(report.mismatched[0]).toContain('lora_A');
    expect(values(layer)).toEqual({...before, kernel: new Array(60).fill(1)});
  });

  test('comes back from its config as it was', () => {
    const args = {rank: 4, alpha: 3, rankStabilized: true, freezeBaseLayer: false, seed: 9};
    const layer = adapted({...args, layer: base({name: 'base', activation: 'selu'})});
    const copy = copyOf(layer);
    expect(copy.getConfig()).toEqual(layer.getConfig());
    expect(copy.scaling).toBe(layer.scaling);
    expect(copy.isBaseLayerFrozen).toBe(false);
    expect(copy.baseLayer.getConfig()).toEqual(layer.baseLayer.getConfig());
    expect(numbers(built(copy, kind).loraLayer.A)).toEqual(numbers(layer.loraLayer.A));
  });

  describe("in a model of one's own", () => {
    function model(args: Partial<LoRALayerArgs> = {}): tf.Sequential {
      const layer = adapt({layer: base({name: 'base', activation: 'relu', inputShape}), rank: 2, ...args});
      const head = new LoRADense({layer: tf.layers.dense({units: 2, name: 'head'}), rank: 1});
      return tf.sequential({layers: [layer, tf.layers.reshape({targetShape: [kind.outputs]}), head]});
    }
    const x = () => random([6, ...inputShape] as [number, number], 4);
    const snapshot = (m: tf.LayersModel) => Object.fromEntries(m.weights.map(w => [w.originalName, numbers(w.read())]));

    test('trains only its factors, each of them', async () => {
      const m = model();
      stir(m);
      const before = snapshot(m);
      await train(m, [x()], {optimizer: tf.train.sgd(0.05)});
      const after = snapshot(m);
      for (const [name, weights] of Object.entries(after)) {
        const moved = Math.max(...weights.map((v, i) => Math.abs(v - before[name]![i]!)));
        if (name.includes('lora_')) {
          expect(moved).toBeGreaterThan(1e-4);
        } else {
          expect(moved).toBe(0);
        }
      }
    });

    test('trains its base too if that is not frozen, and merges what it has become', async () => {
      const m = model({freezeBaseLayer: false});
      stir(m);
      const before = snapshot(m);
      await train(m, [x()]);
      const after = snapshot(m);
      expect(after['base/kernel']).not.toEqual(before['base/kernel']);
      expect(after['base/bias']).not.toEqual(before['base/bias']);
      expect(after['head/kernel']).toEqual(before['head/kernel']);
      const layer = m.layers[0] as LoRALayer;
      const merged = layer.mergeToOriginalLayer();
      const expected = numbers(layer.apply(x()) as tf.Tensor);
      expect(numbers(merged.apply(x()) as tf.Tensor)).toBeAllClose(expected);
      expect(numbers(merged.getWeights()[1]!)).toEqual(after['base/bias']);
    });

    test('is saved and loaded with all its numbers, and goes on training', async () => {
      const m = model({alpha: 5});
      stir(m);
      await train(m, [x()]);
      const again = await reloaded(m);
      expect(predictions(again, [x()])).toEqual(predictions(m, [x()]));
      expect((again.layers[0] as LoRALayer).scaling).toBe(2.5);
      const before = snapshot(again);
      await train(again, [x()]);
      const after = snapshot(again);
      expect(after['base/kernel']).toEqual(before['base/kernel']);
      expect(after['base/lora_A']).not.toEqual(before['base/lora_A']);
    });

    test('leaks nothing through training, merging and disposal', async () => {
      await withoutLeaks(async () => {
        const m = model();
        const data = x();
        await train(m, [data]);
        const merged = (m.layers[0] as LoRALayer).mergeToOriginalLayer();
        merged.weights.forEach(weight => weight.dispose());
        await (m.layers[0] as LoRALayer).getDiagnostics();
        m.dispose();
        data.dispose();
      });
    });
  });
});

describe('channels first', () => {
  const {layers} = tf;
  const dataFormat = 'channelsFirst';
  const KINDS: [string, number[], (args: object) => tf.layers.Layer][] = [
    ['DepthwiseConv2D', [2, 5, 4], args => layers.depthwiseConv2d({kernelSize: 2, dataFormat, ...args})],
    ['Conv2D', [2, 5, 4], args => layers.conv2d({filters: 3, kernelSize: 2, dataFormat, ...args})],
    ['Conv2DTranspose', [2, 5, 4], args => layers.conv2dTranspose({filters: 3, kernelSize: 2, dataFormat, ...args})],
    ['Conv3D', [2, 5, 4, 3], args => layers.conv3d({filters: 3, kernelSize: 2, dataFormat, ...args})],
  ];

  // On TensorFlow its last bits depend on where a number lies.
  test.each(
    KINDS.flatMap(([name, shape, make]) =>
      (['sigmoid', 'tanh', 'elu'] as const).map(activation => [name, activation, shape, make] as const),
    ),
  )('an adapted %s computes %s in the layout in which the stock layer does', async (_name, activation, shape, make) => {
    await useBackend('cpu');
    const base = tf.sequential({layers: [make({name: 'c', activation, inputShape: shape})]});
    const adapted = applyLoRA(base, {rank: 1, targets: ['c']});
    const x = random([2, ...shape], 3);
    const layoutIn = async (model: tf.LayersModel) => {
      const {kernels} = await tf.profile(() => model.predict(x));
      const found = kernels.filter(({name}) => name.toLowerCase().includes(activation) || name.startsWith('Fused'));
      return found.map(({name, outputShapes}) => [name, outputShapes]);
    };
    const expected = await layoutIn(base);
    expect(expected.length).toBeGreaterThan(0);
    expect(await layoutIn(adapted)).toEqual(expected);
  });
});
