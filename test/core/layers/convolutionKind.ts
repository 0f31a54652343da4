import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import type {LoRALayerClass} from '../../../src/core/layers/kinds';
import type {LoRALayerArgs} from '../../../src/core/layers/layerArgs';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import type {LayerMatcher} from '../../../src/core/model/config';
import {ACTIVATIONS, expectGradients, numbers, on, random} from '../../helpers';
import {mergedKernel, type Specimen, stir, stirFactors, train} from '../../models';
import {testInAModel} from './inAModel';

/** The options of a convolution, and the size of its input. */
export interface Case {
  /** Without the channels. */
  size: number[];
  channels: number;
  /** Of a depthwise convolution: the depth multiplier. */
  filters: number;
  kernelSize: number[];
  strides: number[];
  dilationRate?: number[];
  padding: 'valid' | 'same';
  dataFormat?: 'channelsLast' | 'channelsFirst';
  activation: (typeof ACTIVATIONS)[number];
  useBias: boolean;
  /** Default: 2, or as much as the kernel allows. */
  rank?: number;
}

type Range = [min: number, max: number];

/** The options that the layers of tfjs take. */
type StockArgs = Parameters<typeof tf.layers.conv2d>[0] & Parameters<typeof tf.layers.depthwiseConv2d>[0];

/** A class of convolutions. */
export interface ConvolutionKind {
  /** Of the LoRA layer, without the prefix of the library. */
  className: string;
  loraClass: LoRALayerClass & tf.serialization.SerializableConstructor<LoRALayer>;
  /** The stock layer. */
  stock: (args: StockArgs) => tf.layers.Layer;
  /** Names of the stock layer's kernels. The last one is updated. Default: `kernel`. */
  kernels?: string[];
  example: Case;
  /** Ranges of the random cases. Padding, activation and bias vary too, and the data format if the example has one. */
  ranges: Record<'size' | 'channels' | 'filters' | 'kernelSize' | 'strides', Range> & {dilationRate?: Range};
  /** Turns a random case into one that tfjs can compute. */
  possible?: (c: Case) => Case;
  /** Numbers of channels, with fewer of them in than out and the other way round. */
  shapes: Partial<Case>[];
  /** The size of the kernel when it is reshaped to the matrix `A·B`. */
  matrixOf: (c: Case) => [rows: number, columns: number];
  /** The shapes of the factors and the kernel of the example; `names` says what the axes of the factors are. */
  factors: {names: string; A: number[]; B: number[]; kernel: number[]};
  /** The convolution of channels-last inputs in plain tfjs, with the updated kernel last. */
  convolve: (x: tf.Tensor, kernels: tf.Tensor[], c: Case) => tf.Tensor;
  /** Whether the activation runs along the channels even if `dataFormat` is `channelsFirst`. */
  activatesChannelsLast?: boolean;
  /** The cases whose gradients are compared with those of tfjs, each with several activations. */
  gradients: Partial<Case>[];
  /** Cases with a dilation, which the adapted layer trains and tfjs does not. */
  dilations?: Partial<Case>[];
  /** Whether the base layer trains too in the tests with a dilation. */
  dilatedBaseTrains?: boolean;
  /** Options that the layer restored from its config has, beside those of the example. */
  saved?: Partial<Case>;
  /** A small model with two such layers. */
  model: () => Specimen;
  /** The targets that find them. Default: `'all'`. */
  targets?: readonly LayerMatcher[];
}

/** A random case may have strides or a dilation: tfjs cannot do both. */
export function stridesOrDilation(c: Case): Case {
  return {...c, dilationRate: Math.max(...c.strides) > 1 ? c.strides.map(() => 1) : c.dilationRate!};
}

export function product(sizes: readonly number[]): number {
  return sizes.reduce((all, size) => all * size, 1);
}

/** A small model of these layers and a Dense, with random weights. */
export function smallModel(...layers: tf.layers.Layer[]): Specimen {
  const head = [tf.layers.flatten({name: 'flat'}), tf.layers.dense({units: 2, name: 'head'})];
  const model = tf.sequential({layers: [...layers, ...head]});
  stir(model);
  return {model, inputs: [random([6, ...model.inputs[0]!.shape.slice(1)] as [number, number], 3)]};
}

function casesOf({example, ranges, possible = c => c}: ConvolutionKind): fc.Arbitrary<Case> {
  const one = ([min, max]: Range) => fc.integer({min, max});
  const each = (range: Range) => fc.tuple(...example.size.map(() => one(range)));
  return fc
    .record({
      size: each(ranges.size),
      channels: one(ranges.channels),
      filters: one(ranges.filters),
      kernelSize: each(ranges.kernelSize),
      strides: each(ranges.strides),
      padding: fc.constantFrom('valid' as const, 'same' as const),
      activation: fc.constantFrom(...ACTIVATIONS),
      useBias: fc.boolean(),
      ...(ranges.dilationRate && {dilationRate: each(ranges.dilationRate)}),
      ...(example.dataFormat && {dataFormat: fc.constantFrom('channelsLast' as const, 'channelsFirst' as const)}),
    })
    .map(possible);
}

/** Returns the functions that make the layers and the inputs of a kind. */
export function makersOf({loraClass, stock, matrixOf, kernels = ['kernel']}: ConvolutionKind) {
  const rankOf = (c: Case) => c.rank ?? Math.min(2, ...matrixOf(c));

  function inputShape({size, channels, dataFormat}: Case): number[] {
    return dataFormat === 'channelsFirst' ? [channels, ...size] : [...size, channels];
  }

  function base(c: Case, args: object = {}): tf.layers.Layer {
    const {size, channels, rank, ...own} = c;
    return stock({...own, name: 'conv', inputShape: inputShape(c), ...args} as StockArgs);
  }

  /** An adapted layer with random weights and factors. */
  function adapted(c: Case, args: Partial<LoRALayerArgs> = {}): LoRALayer {
    const layer = new loraClass({layer: base(c), rank: rankOf(c), alpha: 2 * rankOf(c), ...args});
    layer.apply(tf.input({shape: inputShape(c)}));
    stir(layer);
    stirFactors(layer);
    return layer;
  }

  /** The kernel `W + s·A·B`, in plain loops. */
  function kernelByHand(layer: LoRALayer): tf.Tensor {
    return tf.tensor(mergedKernel(layer), layer.tryGetParameter(kernels.at(-1)!)!.shape);
  }

  /** The stock layer that has this kernel. */
  function mergedByHand(layer: LoRALayer, c: Case): tf.layers.Layer {
    const others = kernels.slice(0, -1).map(name => layer.tryGetParameter(name)!);
    const bias = layer.tryGetParameter('bias');
    return base(c, {weights: [...others, kernelByHand(layer), ...(bias ? [bias] : [])]});
  }

  function inputs(c: Case): tf.Tensor {
    return random([2, ...inputShape(c)] as [number, number], 9);
  }

  return {rankOf, inputShape, base, adapted, kernelByHand, mergedByHand, inputs};
}

/** The tests of each kind of convolution, whatever its geometry. */
export function testConvolution(kind: ConvolutionKind): void {
  describe(kind.className, () => {
    addTests(kind);
    testInAModel(kind.className, kind.model, 1, kind.targets);
  });
}

function addTests(kind: ConvolutionKind): void {
  const {className, loraClass, example, saved, shapes, factors, kernels = ['kernel']} = kind;
  const {rankOf, inputShape, base, adapted, kernelByHand, mergedByHand, inputs} = makersOf(kind);
  const cases = casesOf(kind);

  test('computes what a stock layer with the merged kernel computes, and merges to it, whatever its geometry', () =>
    fc.assert(
      fc.asyncProperty(cases, async c => {
        const compute = (f: (layer: LoRALayer) => tf.layers.Layer) => () => {
          const y = f(adapted(c)).apply(inputs(c)) as tf.Tensor;
          return [y];
        };
        const expected = (
          await on(
            'cpu',
            compute(layer => mergedByHand(layer, c)),
          )
        )[0]!;
        const itself = compute(layer => layer);
        const merged = compute(layer => layer.mergeToOriginalLayer());
        expect((await on('wasm', itself))[0]).toBeAllClose(expected);
        expect((await on('wasm', merged))[0]).toBeAllClose(expected);
      }),
      {numRuns: 40},
    ));

  test('a new layer computes what its base computes, bit for bit, whatever its geometry', () => {
    fc.assert(
      fc.property(cases, c => {
        tf.tidy(() => {
          const model = tf.sequential({layers: [base(c)]});
          stir(model);
          const layer = new loraClass({layer: model.layers[0]!, rank: rankOf(c)});
          const x = inputs(c);
          const expected = model.predict(x) as tf.Tensor;
          const y = layer.apply(x) as tf.Tensor;
          expect(y.shape).toEqual(expected.shape);
          expect(numbers(y)).toEqual(numbers(expected));
        });
      }),
      {numRuns: 40},
    );
  });

  test.each(ACTIVATIONS)('merges exactly with the activation %s', activation => {
    for (const shape of shapes) {
      const c = {...example, ...shape, activation};
      const layer = adapted(c);
      const merged = layer.mergeToOriginalLayer();
      const x = inputs(c);
      const expected = numbers(mergedByHand(layer, c).apply(x) as tf.Tensor);
      expect(numbers(layer.apply(x) as tf.Tensor)).toBeAllClose(expected);
      expect(numbers(merged.apply(x) as tf.Tensor)).toBeAllClose(expected);
      expect(merged.getConfig()).toEqual({...layer.baseLayer.getConfig(), trainable: true});
    }
  });

  test('trains its base too if that is not frozen, and merges what it has become', async () => {
    const layer = new loraClass({layer: base(example), rank: 2, freezeBaseLayer: false});
    const model = tf.sequential({layers: [layer]});
    stir(model);
    const read = () => [...kernels, 'bias', 'lora_A', 'lora_B'].map(name => numbers(layer.tryGetParameter(name)!));
    const before = read();
    const x = inputs(example);
    await train(model, [x]);
    read().forEach((values, i) => expect(values).not.toEqual(before[i]));
    const merged = layer.mergeToOriginalLayer();
    expect(numbers(merged.apply(x) as tf.Tensor)).toBeAllClose(numbers(layer.apply(x) as tf.Tensor));
  });

  test(`the factors are ${factors.names}, and delta has the shape of the kernel`, () => {
    const layer = adapted(example);
    const {A, B, weight} = layer.loraLayer;
    expect([A.shape, B.shape]).toEqual([factors.A, factors.B]);
    expect(weight).toBe(kernels.at(-1));
    const delta = layer.loraLayer.delta();
    expect(delta.shape).toEqual(factors.kernel);
    expect(numbers(delta)).toBeAllClose(numbers(tf.sub(kernelByHand(layer), layer.tryGetParameter(weight)!)));
  });

  describe.each(kind.gradients)('gradients with %j', form => {
    test.each(['tanh', 'swish', 'relu', 'softmax'] as const)('and %s are those of tfjs', async activation => {
      const c: Case = {...example, ...form, activation};
      const names = [...kernels, ...(c.useBias ? ['bias'] : []), 'lora_A', 'lora_B'];
      // A softmax along an axis of the image cancels the bias: its gradient is zero, and what is computed is rounding.
      const cancels = activation === 'softmax' && c.dataFormat === 'channelsFirst' && !kind.activatesChannelsLast;
      const compared = names.filter(name => !(cancels && name === 'bias'));
      const expected = await on('cpu', () => {
        const layer = adapted(c);
        const f = (x: tf.Tensor, ...values: tf.Tensor[]) => weighted(plain(kind, x, values, c, layer.scaling));
        const values = names.map(name => tf.clone(layer.tryGetParameter(name)!));
        const [dx, ...others] = tf.grads(f)([inputs(c), ...values]);
        return [dx!, ...others.filter((_, i) => compared.includes(names[i]!))];
      });
      const actual = await on('wasm', () => {
        const frozen = adapted(c);
        const layer = adapted(c, {freezeBaseLayer: false});
        names.forEach(name => layer.setParameter(name, frozen.tryGetParameter(name)!));
        const gradientsOf = (of: LoRALayer) => {
          const f = (x: tf.Tensor) => tf.sum<tf.Scalar>(weighted(of.apply(x) as tf.Tensor));
          const x = inputs(c);
          const variables = compared.map(name => of.tryGetParameter(name) as tf.Variable);
          const trained = variables.filter(({trainable}) => trainable);
          const {grads} = tf.variableGrads(() => f(x), trained);
          return [tf.grad(f)(x), ...trained.map(({name}) => grads[name]!)];
        };
        const ofFactors = gradientsOf(frozen);
        // A kernel that has no update gets no gradient in a frozen layer.
        names
          .slice(kernels.length - 1)
          .forEach(name => ((frozen.tryGetParameter(name) as tf.Variable).trainable = true));
        return [...ofFactors, ...gradientsOf(frozen), ...gradientsOf(layer)];
      });
      const [dx, ...ofParameters] = expected as [number[], ...number[][]];
      const ofUpdated = ofParameters.slice(kernels.length - 1);
      expectGradients(actual, [dx, ...ofParameters.slice(-2), dx, ...ofUpdated, ...expected]);
    });
  });

  for (const form of kind.dilations ?? []) {
    const {dilationRate, padding} = form;
    test(`a dilation of ${JSON.stringify(dilationRate)} with padding ${padding} trains, for which tfjs has no gradient`, async () => {
      const c: Case = {...example, ...form, activation: 'relu'};
      const stock = tf.sequential({layers: [base(c)]});
      const layer = new loraClass({layer: base(c), rank: 3, seed: 1, freezeBaseLayer: !kind.dilatedBaseTrains});
      const model = tf.sequential({layers: [layer]});
      stir(model);
      const x = inputs(c);
      const y = tf.relu(random([2, ...(model.outputShape as number[]).slice(1)], 3));
      stock.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
      await expect(stock.fit(x, y, {verbose: 0})).rejects.toThrow('dilation rates greater than 1');
      model.compile({optimizer: tf.train.adam(0.05), loss: 'meanSquaredError'});
      const {history} = await model.fit(x, y, {epochs: 10, verbose: 0});
      expect(history.loss!.at(-1)).toBeLessThan(0.8 * (history.loss![0] as number));
    });
  }

  test('comes back from its config as it was', () => {
    const c = {...example, ...saved};
    const layer = new loraClass({layer: base(c), rank: 3, alpha: 5, seed: 9});
    const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
    const copy = loraClass.fromConfig(loraClass, config);
    expect(copy.getConfig()).toEqual(layer.getConfig());
    expect(copy.baseLayer.getConfig()).toEqual(layer.baseLayer.getConfig());
    [layer, copy].forEach(one => one.apply(tf.input({shape: inputShape(c)})));
    expect(numbers(copy.loraLayer.A)).toEqual(numbers(layer.loraLayer.A));
  });

  test('refuses another class, and a rank that would add nothing', () => {
    expect(() => new loraClass({layer: tf.layers.dense({units: 2, name: 'other'})})).toThrow(
      `Layer "other" is a Dense; ${className} adapts layers of class ${className.replace('LoRA', '')}.`,
    );
    const limit = Math.min(...kind.matrixOf(example));
    const layer = new loraClass({layer: base(example), rank: limit + 1});
    expect(() => layer.build([null, ...inputShape(example)])).toThrow(
      new RegExp(`Layer "conv" has a kernel .*above ${limit} .*got ${limit + 1}`),
    );
  });
}

/** What a layer with these kernels, bias and factors computes, in plain tfjs. */
function plain(kind: ConvolutionKind, x: tf.Tensor, values: tf.Tensor[], c: Case, scaling: number): tf.Tensor {
  const rest = [...values];
  const [b, a] = [rest.pop()!, rest.pop()!];
  const bias = c.useBias ? rest.pop()! : tf.scalar(0);
  const w = rest.pop()!;
  const rank = b.shape[0];
  const update = tf.reshape(tf.matMul(tf.reshape(a, [-1, rank]), tf.reshape(b, [rank, -1])), w.shape);
  const kernels = [...rest, tf.add(w, tf.mul(update, scaling))];
  const axes = c.size.map((_, i) => i + 1);
  const isFirst = c.dataFormat === 'channelsFirst';
  const last = isFirst ? tf.transpose(x, [0, ...axes.map(axis => axis + 1), 1]) : x;
  const act = (z: tf.Tensor) => tf.layers.activation({activation: c.activation}).apply(z) as tf.Tensor;
  const restore = (y: tf.Tensor) => (isFirst ? tf.transpose(y, [0, axes.length + 1, ...axes]) : y);
  const z = tf.add(kind.convolve(last, kernels, c), bias);
  return kind.activatesChannelsLast ? restore(act(z)) : act(restore(z));
}

/** Weights an output at random, so that each of its values has a different upstream gradient. */
function weighted(y: tf.Tensor): tf.Tensor {
  return tf.mul(y, random(y.shape as [number, number], 8));
}
