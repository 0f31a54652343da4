import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../src/platform/errors';
import type {LoRALayerArgs} from '../../../src/core/layers/layerArgs';
import type {LoRALayer} from '../../../src/core/layers/loraLayer';
import {cellsOf} from '../../../src/core/layers/recurrentCells';
import {fieldsOf} from '../../../src/platform/tfjs/fields';
import {ACTIVATIONS, expectGradients, kernelsOf, numbers, on, random, withoutLeaks} from '../../helpers';
import {mergedKernel, type Specimen, stir, stirFactors, train} from '../../models';
import {testInAModel} from './inAModel';

/** The options of a recurrent layer, and the size of a sequence. */
export interface Case {
  units: number;
  features: number;
  steps: number;
  activation: (typeof ACTIVATIONS)[number];
  recurrentActivation: (typeof ACTIVATIONS)[number];
  useBias: boolean;
  returnSequences: boolean;
  returnState: boolean;
  goBackwards: boolean;
  stateful: boolean;
  /** Whether the call has a mask. */
  masked: boolean;
  /** Whether the call has initial states. */
  initialState: boolean;
}

export const EXAMPLE: Case = {
  units: 3,
  features: 4,
  steps: 4,
  activation: 'tanh',
  recurrentActivation: 'hardSigmoid',
  useBias: true,
  returnSequences: true,
  returnState: false,
  goBackwards: false,
  stateful: false,
  masked: false,
  initialState: false,
};

// With an activation beyond ±1 a gate would amplify the last bits from step to step.
const GATES = ['tanh', 'sigmoid', 'hardSigmoid', 'softsign', 'softmax'] as const;

const cases: fc.Arbitrary<Case> = fc.record({
  units: fc.integer({min: 1, max: 5}),
  features: fc.integer({min: 1, max: 5}),
  steps: fc.integer({min: 1, max: 4}),
  activation: fc.constantFrom(...GATES, 'relu6' as const),
  recurrentActivation: fc.constantFrom(...GATES),
  useBias: fc.boolean(),
  returnSequences: fc.boolean(),
  returnState: fc.boolean(),
  goBackwards: fc.boolean(),
  stateful: fc.boolean(),
  masked: fc.boolean(),
  initialState: fc.boolean(),
});

/** A class of recurrent layers. */
export interface RecurrentKind {
  /** Of the LoRA layer. */
  className: string;
  make: (args: LoRALayerArgs) => LoRALayer;
  /** The stock layer. */
  base: (options: object) => tf.layers.Layer;
  /** How wide each of its states is, in units. */
  states: readonly number[];
  /** The names of the weights that are updated, and their sizes for `EXAMPLE`. */
  kernels: Record<string, [rows: number, columns: number]>;
}

const BATCH = 2;

/** What tfjs's layers take of a case. */
function options({features, steps, masked, initialState, ...own}: Case): object {
  return {...own, recurrentInitializer: 'glorotNormal'};
}

/** The name of a weight of a layer that is called `base`. */
function localName({originalName}: tf.LayerVariable): string {
  return originalName.replace(/^base\//, '');
}

/** The tests of what each class of recurrent layers computes. */
export function testRecurrent(kind: RecurrentKind): void {
  describe(kind.className, () => addTests(kind));
}

function addTests(kind: RecurrentKind): void {
  const {className, make} = kind;
  const kernelCount = Object.keys(kind.kernels).length;

  function base(c: Case, args: object = {}): tf.layers.Layer {
    return kind.base({...options(c), name: 'base', ...args});
  }

  /** Builds a layer under its own name. */
  function built<T extends tf.layers.Layer>(layer: T, {steps, features}: Case): T {
    layer.apply(tf.input({batchShape: [BATCH, steps, features]}));
    return layer;
  }

  function rankOf({units, features}: Case): number {
    return Math.min(2, units, features);
  }

  /**
   * An adapted layer with random weights and factors. They are small: with larger ones the last bits grow from step to
   * step, of the stock layer too.
   */
  function adapted(c: Case, args: Partial<LoRALayerArgs> = {}): LoRALayer {
    const layer = built(make({layer: base(c), rank: rankOf(c), alpha: 1.5 * rankOf(c), ...args}), c);
    stir(layer);
    stirFactors(layer);
    tf.tidy(() => {
      new Set(layer.weights).forEach(weight => weight.write(tf.mul(weight.read(), 0.6)));
    });
    return layer;
  }

  /** The stock layer with `W + s·A·B` for each of its kernels, in plain loops. */
  function mergedByHand(layer: LoRALayer, c: Case): tf.layers.Layer {
    const stock = built(base(c), c);
    for (const weight of stock.weights) {
      const name = localName(weight);
      const part = layer.lowRankParts.find(candidate => candidate.weight === name);
      const value = part ? mergedKernel(layer, part) : numbers(layer.tryGetParameter(name)!);
      weight.write(tf.tensor(value, weight.shape as number[]));
    }
    return stock;
  }

  function sequence({steps, features}: Case, seed = 9): tf.Tensor {
    return random([BATCH, steps, features], seed);
  }

  function statesOf({units}: Case): tf.Tensor[] {
    return kind.states.map((width, i) => random([BATCH, width * units], 20 + i));
  }

  /** What a call of a layer takes beside its input. */
  function callArgs(c: Case): object {
    const mask = Array.from({length: BATCH * c.steps}, (_, i) => (i % 3 === 1 ? 0 : 1));
    return {
      ...(c.masked && {mask: tf.tensor2d(mask, [BATCH, c.steps])}),
      ...(c.initialState && {initialState: statesOf(c)}),
    };
  }

  /** All results of a layer for two batches, the second of which a stateful layer sees after the first. */
  function results(layer: tf.layers.Layer, c: Case): tf.Tensor[] {
    return [9, 10].flatMap(seed => layer.apply(sequence(c, seed), callArgs(c)) as tf.Tensor[]);
  }

  test('a new layer computes what its base computes, bit for bit, whatever its options', () => {
    fc.assert(
      fc.property(cases, c => {
        tf.tidy(() => {
          const stock = built(base(c), c);
          stir(stock);
          const layer = built(make({layer: stock, rank: rankOf(c)}), c);
          const expected = results(stock, c);
          const actual = results(layer, c);
          expect(actual.map(y => y.shape)).toEqual(expected.map(y => y.shape));
          expect(actual.map(numbers)).toEqual(expected.map(numbers));
        });
      }),
      {numRuns: 25},
    );
  });

  test('its base layer alone computes the same after a call as before', () => {
    const layer = adapted(EXAMPLE);
    const x = sequence(EXAMPLE);
    const alone = () => numbers(layer.baseLayer.apply(x) as tf.Tensor);
    const before = alone();
    const itself = numbers(layer.apply(x) as tf.Tensor);
    expect(itself).not.toEqual(before);
    expect(alone()).toEqual(before);
  });

  test('computes what a stock layer with the merged kernels computes, and merges to it, whatever its options', () =>
    fc.assert(
      fc.asyncProperty(cases, async drawn => {
        // From step to step relu6 amplifies the last bits, of the stock layer too, so it takes one.
        const c = drawn.activation === 'relu6' ? {...drawn, steps: 1} : drawn;
        const compute = (f: (layer: LoRALayer) => tf.layers.Layer) => () => results(f(adapted(c)), c);
        const expected = await on(
          'cpu',
          compute(layer => mergedByHand(layer, c)),
        );
        const itself = await on(
          'wasm',
          compute(layer => layer),
        );
        const merged = await on(
          'wasm',
          compute(layer => layer.mergeToOriginalLayer()),
        );
        expected.forEach((values, i) => {
          expect(itself[i]).toBeAllClose(values);
          expect(merged[i]).toBeAllClose(values);
        });
      }),
      {numRuns: 15},
    ));

  test.each([
    ['as it comes', {}],
    ['with the last output alone, backwards and masked', {returnSequences: false, goBackwards: true, masked: true}],
    ['with states in and out', {initialState: true, returnState: true}],
    ['with other activations', {activation: 'softsign', recurrentActivation: 'sigmoid', units: 5, features: 2}],
    ['with an activation whose gradient needs its input', {activation: 'softsign', recurrentActivation: 'swish'}],
    // tfjs has no gradient in a sequence of one step.
    ['without bias', {steps: 2, useBias: false, initialState: true}],
  ] as [string, Partial<Case>][])('%s it has the gradients of tfjs', async (_, form) => {
    const c = {...EXAMPLE, ...form};
    const {initialState, ...others} = callArgs(c) as {initialState?: tf.Tensor[]};
    const inputs = () => [sequence(c), ...(c.initialState ? statesOf(c) : [])];
    const loss = (layer: tf.layers.Layer, [x, ...states]: tf.Tensor[], training: boolean) => {
      const kwargs = {...others, training, ...(c.initialState && {initialState: states})};
      const outputs = [layer.apply(x!, kwargs) as tf.Tensor[]].flat();
      return tf.addN(outputs.map((y, i) => tf.sum<tf.Scalar>(tf.mul(y, random(y.shape as [number, number], 60 + i)))));
    };
    initialState?.forEach(state => state.dispose());

    const expected = await on('cpu', () => {
      const layer = adapted(c);
      const stock = mergedByHand(layer, c);
      const {grads} = tf.variableGrads(() => loss(stock, inputs(), false));
      const ofWeight = (name: string) => grads[stock.weights.find(weight => localName(weight) === name)!.name]!;
      // dA = s·dW·Bᵀ, dB = s·Aᵀ·dW
      const ofFactors = layer.lowRankParts.flatMap(({weight, A, B}) => [
        tf.mul(tf.matMul(ofWeight(weight), B, false, true), layer.scaling),
        tf.mul(tf.matMul(A, ofWeight(weight), true), layer.scaling),
      ]);
      const names = stock.weights.map(localName);
      const ofInputs = tf.grads((...values: tf.Tensor[]) => loss(stock, values, false))(inputs());
      return [...ofInputs, ...ofFactors, ...names.map(ofWeight)];
    });
    for (const training of [false, true]) {
      const actual = await on('wasm', () => {
        const layer = adapted(c, {freezeBaseLayer: false});
        const {grads} = tf.variableGrads(() => loss(layer, inputs(), training));
        const factors = layer.lowRankParts.flatMap(({A, B}) => [A, B]) as tf.Variable[];
        const weights = layer.baseLayer.weights.map(w => w.read() as tf.Variable);
        const ofInputs = tf.grads((...values: tf.Tensor[]) => loss(layer, values, training))(inputs());
        return [...ofInputs, ...[...factors, ...weights].map(({name}) => grads[name]!)];
      });
      expectGradients(actual, expected);
    }
  });

  test('however many steps there are, each kernel is merged once and has no gradient of its size', async () => {
    const products = async (steps: number) => {
      const c = {...EXAMPLE, steps, units: 7, features: 6};
      const layer = adapted(c);
      const factors = layer.lowRankParts.flatMap(({A, B}) => [A, B]) as tf.Variable[];
      const shapes = layer.lowRankParts.map(({A, B}) => `${A.shape[0]}×${B.shape[1]}`);
      const x = sequence(c);
      const kernels = await kernelsOf(() => {
        const y = () => tf.sum<tf.Scalar>(layer.apply(x, {training: true}) as tf.Tensor);
        return tf.tidy(() => tf.variableGrads(y, factors).grads);
      });
      return kernels.filter(({name, output}) => /MatMul/.test(name) && shapes.includes(output)).length;
    };
    expect(await products(2)).toBe(kernelCount);
    expect(await products(5)).toBe(kernelCount);
  });

  test('trains its base too if that is not frozen, and merges what it has become', async () => {
    const layer = make({layer: base(EXAMPLE, {inputShape: [4, 4]}), rank: 2, freezeBaseLayer: false});
    const model = tf.sequential({layers: [layer]});
    stir(model);
    const read = () => layer.getParameterNames().map(name => numbers(layer.tryGetParameter(name)!));
    const before = read();
    const x = sequence(EXAMPLE);
    await train(model, [x]);
    read().forEach((values, i) => expect(values).not.toEqual(before[i]));
    const merged = layer.mergeToOriginalLayer();
    expect(numbers(merged.apply(x) as tf.Tensor)).toBeAllClose(numbers(layer.apply(x) as tf.Tensor));
  });

  test('drops in training as the stock layer does, with masks that end with the call', async () => {
    const c = EXAMPLE;
    // Every third number is dropped.
    const drop = (x: tf.Tensor, rate: number) => {
      const kept = Array.from({length: x.size}, (_, i) => (i % 3 === 0 ? 0 : 1 / (1 - rate)));
      return tf.tensor(kept, x.shape);
    };
    const args = {dropout: 0.5, recurrentDropout: 0.25};
    const stock = built(base(c, args), c);
    const layer = built(make({layer: base(c, args), rank: 2}), c);
    stir(stock);
    stock.weights.forEach(weight => layer.setParameter(localName(weight), weight.read()));
    for (const {cell} of [stock, layer.baseLayer].flatMap(cellsOf)) {
      fieldsOf<{dropoutFunc: typeof drop}>(cell).dropoutFunc = drop; // which a config cannot hold
    }
    const x = sequence(c);
    const compute = (one: tf.layers.Layer, training: boolean) => numbers(one.apply(x, {training}) as tf.Tensor);
    const trained = compute(layer, true);
    expect(trained).toEqual(compute(stock, true));
    const predicted = compute(layer, false);
    expect(predicted).not.toEqual(trained);
    expect(compute(layer, true)).toEqual(trained);
    await withoutLeaks(() => {
      (layer.apply(x, {training: true}) as tf.Tensor).dispose();
    });
  });

  test.each([
    ['everything', 1 - 1e-9],
    ['nothing', 1e-9],
  ])('a dropout that takes %s from the updates takes nothing from the base', (taken, dropout) => {
    for (const freezeBaseLayer of [true, false]) {
      const layer = adapted(EXAMPLE, {dropout, freezeBaseLayer});
      const stock = taken === 'nothing' ? mergedByHand(layer, EXAMPLE) : built(base(EXAMPLE), EXAMPLE);
      if (taken === 'everything') {
        stock.weights.forEach(weight => weight.write(layer.tryGetParameter(localName(weight))!));
      }
      const x = sequence(EXAMPLE);
      const expected = numbers(stock.apply(x) as tf.Tensor);
      expect(numbers(layer.apply(x, {training: true}) as tf.Tensor)).toBeAllClose(expected);
    }
  });

  test('a cell whose dropout is 1 drops nothing, as that of the stock layer', () => {
    const args = {dropout: 1, recurrentDropout: 1};
    const layer = built(make({layer: base(EXAMPLE, args), rank: 2}), EXAMPLE);
    const stock = built(base(EXAMPLE, args), EXAMPLE);
    stir(stock);
    stock.weights.forEach(weight => layer.setParameter(localName(weight), weight.read()));
    const x = sequence(EXAMPLE);
    const trained = numbers(layer.apply(x, {training: true}) as tf.Tensor);
    expect(trained).toEqual(numbers(stock.apply(x, {training: true}) as tf.Tensor));
    expect(trained).toEqual(numbers(layer.apply(x) as tf.Tensor));
  });

  test('a stateful layer goes on where the last batch ended, until its states are reset or given', () => {
    const c = {...EXAMPLE, stateful: true, returnSequences: false};
    const stock = built(base(c), c);
    stir(stock);
    const layer = built(make({layer: stock, rank: 2}), c);
    const outputs = (one: tf.layers.Layer) => {
      const x = sequence(c);
      const step = () => numbers(one.apply(x) as tf.Tensor);
      const [first, second] = [step(), step()];
      one.resetStates();
      const third = step();
      (one as tf.RNN).resetStates(statesOf(c));
      return [first, second, third, step()];
    };
    const actual = outputs(layer);
    expect(actual).toEqual(outputs(stock));
    expect(actual[1]).not.toEqual(actual[0]);
    expect(actual[2]).toEqual(actual[0]);
    expect(layer.stateful).toBe(true);
  });

  testInAModel(className, () => classifier(kind), kernelCount);

  test('has a pair of factors for each kernel, named after it', () => {
    const layer = adapted(EXAMPLE);
    const shapes = Object.fromEntries([...layer.adapterWeights()].map(([name, {shape}]) => [name, shape]));
    expect(shapes).toEqual(
      Object.fromEntries(
        Object.entries(kind.kernels).flatMap(([name, [rows, columns]]) => [
          [`${name}/lora_A`, [rows, 2]],
          [`${name}/lora_B`, [2, columns]],
        ]),
      ),
    );
    for (const [i, {weight, delta}] of layer.lowRankParts.entries()) {
      const expected = mergedKernel(layer, layer.lowRankParts[i]);
      expect(numbers(tf.add(layer.tryGetParameter(weight)!, delta()))).toBeAllClose(expected);
    }
  });

  test('comes back from its config as it was', () => {
    const c = {...EXAMPLE, returnState: true, goBackwards: true, useBias: false};
    const layer = make({layer: base(c), rank: 3, alpha: 5, seed: 9});
    const {classNameMap} = tf.serialization.SerializationMap.getMap();
    const [layerClass, fromConfig] = classNameMap[`tfjs-lora>${className}`]!;
    const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
    const copy = fromConfig(layerClass, config) as LoRALayer;
    const text = (one: tf.layers.Layer) => JSON.stringify(one.getConfig()).replace(/StackedRNNCells\d+/g, 'Stack');
    expect(text(copy)).toBe(text(layer));
    [layer, copy].forEach(one => built(one, c));
    const factors = (one: LoRALayer) => one.lowRankParts.map(({A}) => numbers(A));
    expect(factors(copy)).toEqual(factors(layer));
    expect(new Set(factors(layer).map(values => JSON.stringify(values))).size).toBe(kernelCount);
  });

  test('its base computes by itself what it computed before', () => {
    const layer = adapted(EXAMPLE);
    const stock = built(base(EXAMPLE), EXAMPLE);
    stock.weights.forEach(weight => weight.write(layer.tryGetParameter(localName(weight))!));
    const [x, y] = [sequence(EXAMPLE), sequence(EXAMPLE)];
    expect(numbers(layer.baseLayer.apply(x) as tf.Tensor)).toEqual(numbers(stock.apply(y) as tf.Tensor));
  });

  test('takes states of a graph by keyword, as the stock layer does', () => {
    const modelOf = (layer: tf.layers.Layer) => {
      const x = tf.input({batchShape: [BATCH, EXAMPLE.steps, EXAMPLE.features]});
      const states = kind.states.map(width => tf.input({batchShape: [BATCH, width * EXAMPLE.units]}));
      const outputs = layer.apply(x, {initialState: states}) as tf.SymbolicTensor;
      return tf.model({inputs: [x, ...states], outputs});
    };
    const layer = make({layer: base(EXAMPLE), rank: 2});
    const [model, plain] = [modelOf(layer), modelOf(base(EXAMPLE))];
    stir(plain);
    plain.weights.forEach(weight => layer.setParameter(localName(weight), weight.read()));
    const inputs = [sequence(EXAMPLE), ...statesOf(EXAMPLE)];
    expect(numbers(model.predict(inputs) as tf.Tensor)).toEqual(numbers(plain.predict(inputs) as tf.Tensor));
  });

  test('refuses an input without steps as the stock layer does, and can still be built for another', () => {
    const layer = make({layer: base(EXAMPLE), rank: 2});
    const flat = tf.input({shape: [4]});
    expect(() => layer.apply(flat)).toThrow('incompatible with layer base: expected ndim=3, found ndim=2');
    expect(() => base(EXAMPLE).apply(flat)).toThrow('incompatible with layer base: expected ndim=3, found ndim=2');
    expect(built(layer, EXAMPLE).lowRankParts).toHaveLength(kernelCount);
  });

  test('refuses another class, and its own direction', () => {
    const other = tf.layers.dense({units: 2, name: 'other'});
    expect(() => make({layer: other})).toThrow(/Layer "other" is a Dense; LoRA\w+ adapts layers of class/);
    const reversed = {layer: base(EXAMPLE), goBackwards: true};
    expect(() => make(reversed)).toThrow(LoRAError);
    expect(() => make(reversed)).toThrow(/Layer "base": .*adaptLayer\(/);
  });
}

/** A small model with two such layers, which reads sequences of which some end early. */
function classifier({base}: RecurrentKind): Specimen {
  const {layers} = tf;
  const model = tf.sequential({
    layers: [
      layers.masking({maskValue: 0, name: 'mask', inputShape: [5, 4]}),
      base({units: 3, returnSequences: true, name: 'first'}),
      base({units: 4, name: 'second'}),
      layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);

  const sequences = tf.tidy(() => {
    const ends = tf.tensor3d([1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0], [3, 5, 1]);
    return tf.mul(random([3, 5, 4], 3), ends);
  });
  return {model, inputs: [sequences]};
}
