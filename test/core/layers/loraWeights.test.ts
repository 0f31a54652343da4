import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../src/platform/errors';
import {LoRAWeights} from '../../../src/core/layers/loraWeights';
import {registerAdaptable} from '../../../src/core/layers/registry';
import {Block, Mix, Pair} from '../../customLayers';
import {numbers, random, withoutLeaks} from '../../helpers';
import {baseWeights, MemoryHandler, predictions, reloaded, type Specimen, stir, stirFactors, train} from '../../models';
import {testInAModel} from './inAModel';

registerAdaptable('Mix', {weights: ['mix_Kernel']});

const WEIGHTS = [{name: 'spread', outAxes: 2}, 'gather'];

/** An adapted Pair of width 3, with random weights and factors. */
function adapted(args: object = {}): LoRAWeights {
  const layer = new LoRAWeights({
    layer: new Pair({heads: 2, size: 4, name: 'pair'}),
    weights: WEIGHTS,
    rank: 2,
    alpha: 3,
    ...args,
  });
  layer.apply(symbols()); // a Pair starts with random weights
  stirFactors(layer);
  return layer;
}

function symbols(): tf.SymbolicTensor[] {
  return [tf.input({shape: [5, 3]}), tf.input({shape: [5, 3]})];
}

function sequences(): tf.Tensor[] {
  return [random([2, 5, 3], 7), random([2, 5, 3], 8)];
}

function call(layer: tf.layers.Layer, inputs: tf.Tensor[], kwargs: object = {}): number[][] {
  return (layer.apply(inputs, kwargs as tf.serialization.ConfigDict) as tf.Tensor[]).map(numbers);
}

/** `W + s·A·B` of one weight of the layer, in plain loops. */
function updatedByHand(layer: LoRAWeights, name: string): tf.Tensor {
  const values = (weight: string) => numbers(layer.tryGetParameter(weight)!);
  const [w, a, b] = [name, `${name}/lora_A`, `${name}/lora_B`].map(values) as [number[], number[], number[]];
  const rank = layer.getParameterShape(`${name}/lora_B`)![0]!;
  const columns = b.length / rank;
  const updated = w.map((value, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    let sum = 0;
    for (let k = 0; k < rank; k++) {
      sum += a[row * rank + k]! * b[k * columns + column]!;
    }
    return value + layer.scaling * sum;
  });
  return tf.tensor(updated, layer.getParameterShape(name));
}

/** The layer of the user's with the updated weights for its own. */
function mergedByHand(layer: LoRAWeights): Pair {
  const pair = new Pair({heads: 2, size: 4, name: 'by_hand'});
  pair.apply(symbols());
  pair.setWeights([
    updatedByHand(layer, 'spread'),
    updatedByHand(layer, 'gather'),
    layer.tryGetParameter('bias')!,
    tf.zeros([2, 2], 'int32'),
  ]);
  return pair;
}

/** Two layers of the user's own and a Dense. */
function mixer(): Specimen {
  const model = tf.sequential({
    layers: [
      new Mix({units: 4, name: 'first', inputShape: [5]}),
      new Mix({units: 3, name: 'second'}),
      tf.layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([6, 5], 3)]};
}

/** What the variables of the base read as. */
function baseReads(layer: LoRAWeights): number[][] {
  return layer.baseLayer.weights.map(weight => numbers(weight.read()));
}

test('a new layer computes what its base computes, bit for bit', () => {
  const pair = new Pair({heads: 2, size: 4, name: 'pair'});
  pair.apply(symbols());
  const layer = new LoRAWeights({layer: pair, weights: WEIGHTS, rank: 2});
  expect(call(layer, sequences())).toEqual(call(pair, sequences()));
});

test('computes what its base computes with W + s·A·B for its weights, and merges to that', () => {
  const layer = adapted();
  const expected = call(mergedByHand(layer), sequences());
  call(layer, sequences()).forEach((values, i) => expect(values).toBeAllClose(expected[i]!));
  const merged = layer.mergeToOriginalLayer();
  expect(merged).toBeInstanceOf(Pair);
  call(merged, sequences()).forEach((values, i) => expect(values).toBeAllClose(expected[i]!));
  expect(merged.getConfig()).toEqual({...layer.baseLayer.getConfig(), trainable: true});
});

test('a weight has as many out axes as it is said to have', () => {
  const layer = adapted();
  const shapes = layer.lowRankParts.map(({weight, A, B, delta}) => [weight, A.shape, B.shape, delta().shape]);
  expect(shapes).toEqual([
    ['spread', [3, 2], [2, 2, 4], [3, 2, 4]],
    ['gather', [2, 4, 2], [2, 3], [2, 4, 3]],
  ]);
});

test('gradients in the factors and in the input are the slopes of what is computed', () => {
  const layer = adapted();
  const [x, y] = sequences() as [tf.Tensor, tf.Tensor];
  const loss = (input: tf.Tensor) => {
    const [one, other] = layer.apply([input, y]) as [tf.Tensor, tf.Tensor];
    return tf.add<tf.Scalar>(tf.sum(tf.mul(one, random([2, 5, 3], 9))), tf.sum(tf.mul(other, other)));
  };
  const variables = layer.trainableWeights.map(weight => weight.read() as tf.Variable);
  expect(variables).toHaveLength(4);
  const {grads} = tf.variableGrads(() => loss(x), variables);
  const step = 1e-2;
  const slopes = (value: tf.Tensor, at: (moved: tf.Tensor) => tf.Scalar) =>
    numbers(value).map((_, i) => {
      const [up, down] = [step, -step].map(by => {
        const moved = tf.add(value, tf.reshape(tf.mul(tf.oneHot(tf.scalar(i, 'int32'), value.size), by), value.shape));
        return numbers(at(moved))[0]!;
      }) as [number, number];
      return (up - down) / (2 * step);
    });
  const close = (gradient: tf.Tensor, expected: number[]) => {
    const largest = Math.max(...expected.map(Math.abs));
    expect(numbers(gradient)).toBeAllClose(expected, {rtol: 2e-3, atol: 2e-3 * largest});
    expect(largest).toBeGreaterThan(0.1);
  };
  for (const variable of variables) {
    const own = tf.clone(variable);
    close(
      grads[variable.name]!,
      slopes(own, moved => {
        variable.assign(moved);
        return loss(x);
      }),
    );
    variable.assign(own);
  }
  close(tf.grad(loss)(x), slopes(x, loss));
});

test('only the factors have gradients', () => {
  const layer = adapted();
  const {grads} = tf.variableGrads(() => tf.sum<tf.Scalar>((layer.apply(sequences()) as tf.Tensor[])[1]!));
  expect(Object.keys(grads).sort()).toEqual(
    layer.trainableWeights.map(weight => (weight.read() as tf.Variable).name).sort(),
  );
});

test('the update is in force inside the call alone, also if the call fails', () => {
  const layer = adapted();
  const before = baseReads(layer);
  const pair = layer.baseLayer as Pair;
  expect(call(layer, sequences())).not.toEqual(call(pair, sequences()));
  expect(baseReads(layer)).toEqual(before);
  const expected = call(pair, sequences());
  pair.fails = true;
  expect(() => call(layer, sequences())).toThrow('told to fail');
  pair.fails = false;
  expect(baseReads(layer)).toEqual(before);
  expect(call(pair, sequences())).toEqual(expected);
  layer.baseLayer.weights.forEach(weight => expect(weight.read()).toBeInstanceOf(tf.Variable));
});

test('a call leaves no tensors behind, also one that fails', async () => {
  const layer = adapted();
  const inputs = sequences();
  await withoutLeaks(() => {
    tf.dispose(layer.apply(inputs) as tf.Tensor[]);
  });
  (layer.baseLayer as Pair).fails = true;
  await withoutLeaks(() => {
    expect(() => layer.apply(inputs)).toThrow('told to fail');
  });
});

test('a call that goes back to the layer itself computes with the update once', () => {
  const layer = adapted();
  const pair = layer.baseLayer as Pair;
  const expected = call(layer, sequences());
  const own = pair.call.bind(pair);
  let inner: number[][] = [];
  pair.call = (inputs, kwargs) => {
    pair.call = own;
    inner = call(layer, inputs);
    return own(inputs, kwargs);
  };
  expect(call(layer, sequences())).toEqual(expected);
  expect(inner).toEqual(expected);
  pair.call = own;
  expect(call(layer, sequences())).toEqual(expected);
});

test('training and masks reach the base', () => {
  const layer = adapted();
  const mask = [tf.ones([2, 5], 'bool'), tf.ones([2, 5], 'bool')];
  call(layer, sequences(), {training: true, mask});
  expect((layer.baseLayer as Pair).calls.at(-1)).toEqual({training: true, mask});
  expect(layer.supportsMasking).toBe(true);
  expect(layer.computeMask(sequences(), mask)).toBe(mask);
});

test('what the base writes into its arguments does not reach the layers after it', () => {
  const layer = adapted();
  const pair = layer.baseLayer as Pair;
  const own = pair.call.bind(pair);
  pair.call = (inputs, kwargs) => {
    kwargs.initialState = 'of this layer'; // as stock recurrent layers do
    return own(inputs, kwargs);
  };
  const kwargs = {training: true};
  layer.apply(sequences(), kwargs);
  expect(kwargs).toEqual({training: true});
});

test('one layer in two places of a graph trains, and the base keeps its weights while others read them', async () => {
  const inputs = [tf.input({shape: [4]}), tf.input({shape: [4]})];
  const layer = new LoRAWeights({layer: new Mix({units: 4, name: 'mix'}), weights: ['mix_Kernel'], rank: 2, seed: 1});
  const first = layer.apply(inputs[0]!) as tf.SymbolicTensor;
  const twice = layer.apply(first) as tf.SymbolicTensor;
  const other = layer.apply(inputs[1]!) as tf.SymbolicTensor;
  const outputs = tf.layers.add().apply([twice, other]) as tf.SymbolicTensor;
  const model = tf.model({inputs, outputs});
  const before = baseWeights(model);
  const [x, y] = [random([6, 4], 1), random([6, 4], 2)];
  const seen: unknown[] = [];
  model.compile({optimizer: tf.train.adam(0.05), loss: 'meanSquaredError'});
  const {history} = await model.fit([x, y], tf.zeros([6, 4]), {
    epochs: 10,
    verbose: 0,
    callbacks: {
      onBatchEnd: async () => {
        seen.push(baseWeights(model), baseWeights(await reloaded(model)));
      },
    },
  });
  expect(history.loss!.at(-1)).toBeLessThan(0.9 * (history.loss![0] as number));
  expect(seen).toEqual(Array(20).fill(before));
});

test('a layer that calls others adapts weights of these, found by the paths that they have in it', async () => {
  const layer = new LoRAWeights({
    layer: new Block({units: 4, name: 'block', inputShape: [3]}),
    weights: ['inner/mix_Kernel', 'outer/kernel'],
    rank: 2,
  });
  const model = tf.sequential({layers: [layer]});
  stir(model);
  stirFactors(model);
  const x = random([5, 3], 4);
  const [w, v] = ['inner/mix_Kernel', 'outer/kernel'].map(name => updatedByHand(layer, name)) as tf.Tensor2D[];
  const bias = layer.tryGetParameter('outer/bias')!;
  const expected = tf.add(x, tf.add(tf.matMul(tf.tanh(tf.matMul(x, w!)), v!), bias));
  expect(predictions(model, [x])[0]).toBeAllClose(numbers(expected));
  expect(numbers(layer.mergeToOriginalLayer().apply(x) as tf.Tensor)).toBeAllClose(numbers(expected));
  const before = baseWeights(model);
  await train(model, [x]);
  expect(baseWeights(model)).toEqual(before);
  expect(predictions(await reloaded(model), [x])).toEqual(predictions(model, [x]));
});

test('trains its base too if that is not frozen, and merges what it has become', async () => {
  const layer = new LoRAWeights({
    layer: new Mix({units: 4, name: 'mix', inputShape: [5]}),
    weights: ['mix_Kernel'],
    rank: 2,
    freezeBaseLayer: false,
  });
  const model = tf.sequential({layers: [layer]});
  stir(model);
  const read = () => ['mix_Kernel', 'lora_A', 'lora_B'].map(name => numbers(layer.tryGetParameter(name)!));
  const before = read();
  const x = random([6, 5], 2);
  await train(model, [x]);
  read().forEach((values, i) => expect(values).not.toEqual(before[i]));
  expect(numbers(layer.mergeToOriginalLayer().apply(x) as tf.Tensor)).toBeAllClose(predictions(model, [x])[0]!);
});

testInAModel('LoRAWeights', mixer);

test('comes back from its config as it was, through the spelling of files too', async () => {
  const layer = adapted({seed: 4});
  const config = JSON.parse(JSON.stringify(layer.getConfig())) as tf.serialization.ConfigDict;
  const copy = LoRAWeights.fromConfig<LoRAWeights>(LoRAWeights, config);
  expect(copy.getConfig()).toEqual(layer.getConfig());
  expect(copy.layerConfig).toEqual(layer.layerConfig);

  const handler = new MemoryHandler();
  const mix = new LoRAWeights({layer: new Mix({units: 4, inputShape: [5]}), weights: ['mix_Kernel'], rank: 2});
  await tf.sequential({layers: [mix]}).save(handler);
  const loaded = (await tf.loadLayersModel(handler)).layers[0] as LoRAWeights;
  expect(loaded.layerConfig.weights).toEqual([{name: 'mix_Kernel', outAxes: 1}]);
});

test('adapts a layer of tfjs by name too', () => {
  const dense = tf.layers.dense({units: 4, name: 'dense', activation: 'relu', inputShape: [3]});
  const layer = new LoRAWeights({layer: dense, weights: ['kernel'], rank: 2});
  const model = tf.sequential({layers: [layer]});
  stir(model);
  stirFactors(model);
  const x = random([5, 3], 4);
  const z = tf.add(tf.matMul(x, updatedByHandOfOne(layer)), layer.tryGetParameter('bias')!);
  expect(predictions(model, [x])[0]).toBeAllClose(numbers(tf.relu(z)));
});

/** `W + s·A·B` of a layer that updates its `kernel` alone. */
function updatedByHandOfOne(layer: LoRAWeights): tf.Tensor2D {
  const [w, a, b] = ['kernel', 'lora_A', 'lora_B'].map(name =>
    layer.tryGetParameter(name)!.arraySync(),
  ) as number[][][];
  return tf.tensor2d(
    w!.map((row, i) =>
      row.map((value, j) => value + layer.scaling * a![i]!.reduce((sum, factor, k) => sum + factor * b![k]![j]!, 0)),
    ),
  );
}

test.each([
  [['spred', 'gather'], /Layer "pair" \(Pair\): there is no weight "spred"\. It has spread \[3, 2, 4\], .*bias \[3\]/],
  [['bias'], /weight "bias" has shape \[3\], an update needs two axes or more/],
  [['ids'], /weight "ids" is of type int32, an update needs float32/],
  [[{name: 'spread', outAxes: 3}], /weight "spread" has shape \[3, 2, 4\], so outAxes must be less than 3, got 3/],
])('refuses the weights %j when it is built, and at once around a built layer', (weights, message) => {
  const pair = new Pair({heads: 2, size: 4, name: 'pair'});
  const layer = new LoRAWeights({layer: pair, weights, rank: 1});
  const before = tf.memory().numTensors;
  expect(() => layer.apply(symbols())).toThrow(message);
  expect(tf.memory().numTensors).toBe(before);
  const built = new Pair({heads: 2, size: 4, name: 'pair'});
  built.apply(symbols());
  expect(() => new LoRAWeights({layer: built, weights, rank: 1})).toThrow(LoRAError);
  expect(() => new LoRAWeights({layer: built, weights, rank: 1})).toThrow(message);
});

test('reports every weight that does not fit', () => {
  const layer = new LoRAWeights({layer: new Pair({heads: 2, size: 4}), weights: ['spred', 'bias', 'ids'], rank: 1});
  expect(() => layer.apply(symbols())).toThrow(/"spred".*\n.*"bias".*\n.*"ids"/);
});

test.each([
  [[], /weights must be a list such as \['attn_kernel'\], and not empty, got \[\]/],
  ['spread', /must be a list/],
  [[3, {name: ''}], /weights holds 3, .*\nweights holds {"name":""}/],
  [['spread', 'spread'], /names "spread" twice/],
  [[{name: 'spread', outAxes: 0}], /outAxes of weight "spread" must be a positive integer, got 0/],
])('refuses %j for a list of weights', (weights, message) => {
  const args = {layer: new Pair({heads: 2, size: 4}), weights: weights as string[], rank: 1};
  expect(() => new LoRAWeights(args)).toThrow(LoRAError);
  expect(() => new LoRAWeights(args)).toThrow(message);
});

test('refuses what is no layer, a layer of this library, and one that no file could bring back', () => {
  class Unheard extends Mix {
    override getClassName(): string {
      return 'Unheard';
    }
  }
  const refused = (layer: tf.layers.Layer) => () => new LoRAWeights({layer, weights: ['mix_Kernel']});
  expect(refused(undefined as unknown as tf.layers.Layer)).toThrow('layer must be a layer');
  expect(refused(new Unheard({units: 2, name: 'new'}))).toThrow(
    'Layer "new": The class Unheard is not registered. Call tf.serialization.registerClass(Unheard) first.',
  );
  expect(refused(adapted())).toThrow(
    'Layer "pair": A LoRAWeights cannot be wrapped again. Wrap the layer that it wraps.',
  );
});
