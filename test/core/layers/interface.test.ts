import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {LoRAConv2D} from '../../../src/core/layers/loraConv2d';
import {LoRADense} from '../../../src/core/layers/loraDense';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {adaptableClasses, loraClassOf, registerAdaptable} from '../../../src/core/layers/registry';
import {disposeModel} from '../../../src/core/rewire/dispose';
import * as library from '../../../src/index';
import {LoRAError} from '../../../src/platform/errors';
import {shortName} from '../../../src/platform/tfjs/configs';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {MemoryHandler} from '../../models';
import '../../customLayers';

// The interface of a LoRA layer that is made by hand, member by member, with values that were computed by hand:
// A = [[1, 0], [0, 1], [1, 1]], B = [[1, 2], [3, 4]], alpha 4 and rank 2, so s = 2.

const A = [1, 0, 0, 1, 1, 1];
const B = [1, 2, 3, 4];

interface Kind {
  /** A layer from 3 to 2 features around a kernel of zeros without a bias, in a model of its own. */
  make: () => {layer: LoRALayer; model: tf.Sequential};
  /** The shapes of one input, of the kernel, and of A. */
  inputShape: number[];
  kernelShape: number[];
  aShape: number[];
  /** Layers, each with the number of parameters that train. */
  counts: [what: string, make: () => LoRALayer, inputShape: number[], trainable: number][];
}

const zeros = {useBias: false, kernelInitializer: 'zeros'} as const;

const KINDS: [name: string, kind: Kind][] = [
  [
    'LoRADense',
    {
      make: () => inModel(new LoRADense({layer: tf.layers.dense({units: 2, inputShape: [3], ...zeros}), ...STRENGTH})),
      inputShape: [3],
      kernelShape: [3, 2],
      aShape: [3, 2],
      counts: [
        ['10 → 5 at rank 3', () => new LoRADense({layer: tf.layers.dense({units: 5}), rank: 3}), [10], 45],
        [
          '10 → 5 at rank 3 with a base that trains',
          () => new LoRADense({layer: tf.layers.dense({units: 5}), rank: 3, freezeBaseLayer: false}),
          [10],
          100,
        ],
        ['64 → 32 at the default rank', () => new LoRADense({layer: tf.layers.dense({units: 32})}), [64], 768],
        [
          '1024 → 1024 at rank 8',
          () => new LoRADense({layer: tf.layers.dense({units: 1024, ...zeros}), rank: 8}),
          [1024],
          16_384,
        ],
      ],
    },
  ],
  [
    'LoRAConv2D',
    {
      make: () =>
        inModel(
          new LoRAConv2D({
            layer: tf.layers.conv2d({filters: 2, kernelSize: 1, inputShape: [1, 1, 3], ...zeros}),
            ...STRENGTH,
          }),
        ),
      inputShape: [1, 1, 3],
      kernelShape: [1, 1, 3, 2],
      aShape: [1, 1, 3, 2],
      counts: [
        [
          '3×3, 256 → 256 at rank 8',
          () => new LoRAConv2D({layer: tf.layers.conv2d({filters: 256, kernelSize: 3, ...zeros})}),
          [8, 8, 256],
          20_480,
        ],
        [
          '3×2, 4 → 5 at rank 2',
          () => new LoRAConv2D({layer: tf.layers.conv2d({filters: 5, kernelSize: [3, 2]}), rank: 2}),
          [8, 8, 4],
          2 * (3 * 2 * 4 + 5),
        ],
      ],
    },
  ],
];

const STRENGTH = {rank: 2, alpha: 4};

function inModel(layer: LoRALayer): {layer: LoRALayer; model: tf.Sequential} {
  return {layer, model: tf.sequential({layers: [layer]})};
}

describe.each(KINDS)('%s', (_, {make, inputShape, kernelShape, aShape, counts}) => {
  const batch = (...rows: number[][]) => tf.tensor(rows.flat(), [rows.length, ...inputShape]);
  const start = () => {
    const made = make();
    tf.tidy(() => {
      made.layer.setParameter('lora_A', tf.tensor(A, aShape));
      made.layer.setParameter('lora_B', tf.tensor(B, [2, 2]));
    });
    return made;
  };

  test('has the rank, alpha, scaling, base, freezing and factors that it was made with', () => {
    const {layer} = start();
    expect([layer.rank, layer.alpha, layer.scaling, layer.isBaseLayerFrozen]).toEqual([2, 4, 2, true]);
    expect(layer.baseLayer.weights.map(({shape}) => shape)).toEqual([kernelShape]);
    expect([numbers(layer.loraLayer.A), numbers(layer.loraLayer.B)]).toEqual([A, B]);
    expect(layer.loraLayer.delta().shape).toEqual(kernelShape);
    expect(numbers(layer.loraLayer.delta())).toEqual([2, 4, 6, 8, 8, 12]);
  });

  test('computes s·x·A·B beside its base', () => {
    expect(numbers(start().model.predict(batch([1, 2, 3], [4, 5, 6])) as tf.Tensor)).toEqual([38, 56, 86, 128]);
  });

  test('has the gradients of A, B and x that were computed by hand', () => {
    const {layer} = start();
    const [a, b] = layer.trainableWeights.map(weight => weight.read() as tf.Variable) as [tf.Variable, tf.Variable];
    const x = tf.variable(batch([1, 2, 3]));
    const {grads} = tf.variableGrads(() => tf.sum(layer.apply(x) as tf.Tensor), [x, a, b]);
    expect(numbers(grads[a.name]!)).toEqual([6, 14, 12, 28, 18, 42]);
    expect(numbers(grads[b.name]!)).toEqual([8, 8, 10, 10]);
    expect(numbers(grads[x.name]!)).toEqual([6, 14, 20]);
  });

  test('is after a step of SGD in fit what was computed by hand, and its base is what it was', async () => {
    const {layer, model} = start();
    model.compile({optimizer: tf.train.sgd(0.1), loss: (_target, y) => tf.sum(y)});
    const target = tf.zeros([1, ...inputShape.slice(0, -1), 2]);
    await model.fit(batch([1, 2, 3]), target, {epochs: 1, verbose: 0});
    expect(numbers(layer.loraLayer.A)).toBeAllClose([0.4, -1.4, -1.2, -1.8, -0.8, -3.2], {atol: 1e-6});
    expect(numbers(layer.loraLayer.B)).toBeAllClose([0.2, 1.2, 2, 3], {atol: 1e-6});
    expect(numbers(layer.tryGetParameter('kernel')!)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test('merges to a stock layer that computes the same, and is not changed by it', () => {
    const {layer} = start();
    const merged = layer.mergeToOriginalLayer();
    expect(merged.getClassName()).toBe(layer.baseLayer.getClassName());
    expect(numbers(merged.getWeights()[0]!)).toEqual([2, 4, 6, 8, 8, 12]);
    expect(numbers(merged.apply(batch([1, 2, 3])) as tf.Tensor)).toEqual([38, 56]);
    expect([numbers(layer.loraLayer.A), numbers(layer.tryGetParameter('kernel')!)]).toEqual([A, [0, 0, 0, 0, 0, 0]]);
  });

  test('describes itself in getDiagnostics', async () => {
    await useBackend('wasm');
    await withoutLeaks(async () => {
      const {layer, model} = start();
      const {deltaNorm, trainableRatio, ...diagnostics} = await layer.getDiagnostics();
      expect(diagnostics).toEqual({
        method: 'lora',
        rank: '2',
        alpha: '4',
        scaling: '2',
        frozen: 'true',
        trainableParameters: '10',
        totalParameters: '16',
        deltaToKernelRatio: 'Infinity', // the kernel is zero
      });
      expect(Number(trainableRatio)).toBe(10 / 16);
      expect(Number(deltaNorm)).toBeCloseTo(Math.sqrt(4 + 16 + 36 + 64 + 64 + 144), 5);
      disposeModel(model);
    });
  });

  test('lists, gets, sets, validates and loads its weights by name', async () => {
    await useBackend('wasm');
    await withoutLeaks(() => {
      const {layer, model} = make();
      expect(layer.getParameterNames()).toEqual(['kernel', 'lora_A', 'lora_B']);
      expect(layer.namedParameterCount).toBe(3);
      expect(layer.getParameterShape('lora_A')).toEqual(aShape);
      expect([layer.tryGetParameter('lora_C'), layer.getParameterShape('lora_C')]).toEqual([undefined, undefined]);
      const names: Record<string, string | null> = {down: 'lora_A', up: 'lora_B', step: null};
      const mapping = (name: string) => names[name] ?? null;
      expect(layer.validateWeights(['down', 'step'], mapping)).toEqual({
        matched: ['lora_A'],
        unmatched: [],
        missing: ['kernel', 'lora_B'],
      });
      tf.tidy(() => {
        const weights = {down: tf.tensor(A, aShape), up: tf.tensor(B, [2, 2]), step: tf.zeros([7])};
        expect(() => layer.loadWeights(weights, mapping)).toThrow('kernel: not among the weights given');
        expect(numbers(layer.loraLayer.B)).toEqual([0, 0, 0, 0]);
        expect(layer.loadWeights(weights, mapping, false)).toEqual({
          matched: ['lora_A', 'lora_B'],
          unmatched: [],
          missing: ['kernel'],
          mismatched: [],
        });
      });
      expect([numbers(layer.loraLayer.A), numbers(layer.loraLayer.B)]).toEqual([A, B]);
      disposeModel(model);
    });
  });

  test('survives model.save and tf.loadLayersModel, trained', async () => {
    await useBackend('wasm');
    const {model} = start();
    const file = new MemoryHandler();
    await model.save(file);
    const loaded = await tf.loadLayersModel(file);
    const [layer] = loaded.layers as [LoRALayer];
    expect([layer.rank, layer.alpha, layer.isBaseLayerFrozen]).toEqual([2, 4, true]);
    expect([numbers(layer.loraLayer.A), numbers(layer.loraLayer.B)]).toEqual([A, B]);
  });

  test.each(counts)('%s trains as many parameters as were counted by hand', async (_what, one, shape, trainable) => {
    await useBackend('wasm');
    const layer = one();
    layer.apply(tf.input({shape}));
    expect((await layer.getDiagnostics()).trainableParameters).toBe(String(trainable));
  });
});

const ROOT = join(__dirname, '../../..');
const PAGE = readFileSync(join(ROOT, 'docs/lora-layers.md'), 'utf8');
const ROWS = PAGE.split('\n').filter(line => line.startsWith('| `'));

const SOURCES = readdirSync(join(ROOT, 'src/core/layers')).map(name =>
  readFileSync(join(ROOT, 'src/core/layers', name), 'utf8'),
);

// What a kind of layer is made of, so that adding one is one file, one row, and its line in docs/lora-layers.md.
describe.each(adaptableClasses())('%s', name => {
  // A stand-in for a layer of Keras has no short name that files know.
  const {className, adaptation, weights} = (loraClassOf(name) ?? loraClassOf(`tfjs-lora>${name}`))!;
  const {baseClassName} = adaptation;

  test('is adapted by a class that is exported, and registered with tfjs', () => {
    const exported = (library as Record<string, unknown>)[shortName(className)] as typeof tf.layers.Layer;
    expect(tf.serialization.SerializationMap.getMap().classNameMap[className]![0]).toBe(exported);
    expect(shortName(baseClassName)).toBe(name);
    expect(className).toBe(weights === undefined ? `tfjs-lora>LoRA${name}` : 'tfjs-lora>LoRAWeights');
  });

  test('is adapted by a class that one file declares', () => {
    expect(SOURCES.filter(text => text.includes(`export class ${shortName(className)} extends `))).toHaveLength(1);
  });

  test('has its row in docs/lora-layers.md', () => {
    const names = [baseClassName, shortName(className)];
    const row = ROWS.filter(line => names.every(one => line.includes(`\`${one}\``)));
    expect(row).toHaveLength(1);
  });
});

describe('registerAdaptable', () => {
  test('makes a class adaptable, and again without harm if the weights are the same', () => {
    expect(loraClassOf('Pair')).toBeUndefined();
    const weights = ['gather', {name: 'spread', outAxes: 2}];
    registerAdaptable('Pair', {weights});
    expect(adaptableClasses()).toContain('Pair');
    expect(loraClassOf('Pair')!.weights).toEqual([
      {name: 'gather', outAxes: 1},
      {name: 'spread', outAxes: 2},
    ]);
    registerAdaptable('Pair', {weights: [...weights]});
    expect(adaptableClasses().filter(name => name === 'Pair')).toHaveLength(1);
  });

  test.each([
    ['Dense', {weights: ['kernel']}, 'Dense need not be registered: LoRADense adapts it.'],
    ['ConvLSTM2D', {weights: ['kernel']}, 'ConvLSTM2D need not be registered: LoRAWeights adapts it.'],
    ['Unheard', {weights: ['kernel']}, /no layer class "Unheard".*tf\.serialization\.registerClass\(Unheard\) first/],
    ['Mix', {weights: []}, 'weights must be a list'],
    ['Mix', {}, 'weights must be a list'],
    ['Pair', {weights: ['gather']}, /Pair is registered already, with other weights: .*spread.*, not .*gather/],
  ])('refuses %s with %j', (className, options, message) => {
    const register = () => registerAdaptable(className, options as {weights: string[]});
    expect(register).toThrow(LoRAError);
    expect(register).toThrow(message);
  });
});
