import * as tf from '@tensorflow/tfjs';
import {FrozenLayer} from '../../../src/core/layers/unadaptedLayer';
import {ACTIVATIONS, expectGradients, kernelsOf, numbers, on, random, withoutLeaks} from '../../helpers';
import {predictions, reloaded, stir, train} from '../../models';

const {layers} = tf;

interface Stock {
  make: (args?: object) => tf.layers.Layer;
  shape: number[];
}

/** A stock layer with weights, and the shape of an input. */
const stockRow = (name: string, shape: number[], make: Stock['make']): [string, Stock] => [name, {make, shape}];

const DEPTHWISE = {kernelSize: 3, strides: 2, depthMultiplier: 2, padding: 'same', activation: 'relu6'} as const;
const CELLS = () => [layers.lstmCell({units: 3}), layers.gruCell({units: 2})];

const STOCK = [
  stockRow('Dense', [5], a => layers.dense({units: 4, activation: 'relu', ...a})),
  stockRow('Dense over a sequence', [3, 5], a => layers.dense({units: 4, ...a})),
  stockRow('Conv2D', [4, 4, 2], a => layers.conv2d({filters: 3, kernelSize: 2, ...a})),
  stockRow('Conv1D', [4, 2], a => layers.conv1d({filters: 3, kernelSize: 2, ...a})),
  stockRow('Conv1D, dilated', [6, 2], a => layers.conv1d({filters: 3, kernelSize: 2, dilationRate: 2, ...a})),
  stockRow('Conv3D', [3, 4, 3, 2], a => layers.conv3d({filters: 3, kernelSize: 2, strides: 2, padding: 'same', ...a})),
  stockRow('DepthwiseConv2D', [4, 4, 2], a => layers.depthwiseConv2d({kernelSize: 2, ...a})),
  stockRow('DepthwiseConv2D, channels first', [2, 5, 4], a =>
    layers.depthwiseConv2d({...DEPTHWISE, dataFormat: 'channelsFirst', ...a}),
  ),
  stockRow('SeparableConv2D', [4, 4, 2], a => layers.separableConv2d({filters: 3, kernelSize: 2, ...a})),
  stockRow('SeparableConv2D, dilated', [4, 5, 2], a =>
    layers.separableConv2d({filters: 3, kernelSize: 2, dilationRate: 2, ...a}),
  ),
  stockRow('Conv2DTranspose', [3, 3, 2], a => layers.conv2dTranspose({filters: 3, kernelSize: 2, ...a})),
  stockRow('BatchNormalization', [4, 3], a => layers.batchNormalization({...a})),
  stockRow('LayerNormalization', [5], a => layers.layerNormalization({...a})),
  stockRow('PReLU', [5], a => layers.prelu({...a})),
  stockRow('SimpleRNN', [4, 2], a => layers.simpleRNN({units: 3, ...a})),
  stockRow('GRU', [4, 2], a => layers.gru({units: 3, returnSequences: true, ...a})),
  stockRow('LSTM', [4, 2], a => layers.lstm({units: 3, goBackwards: true, ...a})),
  stockRow('Bidirectional', [4, 2], a => layers.bidirectional({layer: layers.gru({units: 3}), mergeMode: 'sum', ...a})),
  stockRow('a stack of cells', [4, 2], a => layers.rnn({cell: CELLS(), ...a})),
];

/** A layer in a model by itself, with random weights, and the same one frozen. */
function twins({make, shape}: Stock): [stock: tf.Sequential, frozen: tf.Sequential] {
  const stock = tf.sequential({layers: [make({inputShape: shape, name: 'base'})]});
  stir(stock);
  const layer = new FrozenLayer({layer: stock.layers[0]!});
  return [stock, tf.sequential({layers: [layer]})];
}

function data({shape}: Stock): tf.Tensor {
  return random([6, ...shape] as [number, number], 3);
}

/**
 * A layer's config as a file holds it, without what tfjs itself does not keep: undefined, and the name of a stack of
 * cells.
 */
function configOf(layer: tf.layers.Layer): unknown {
  const json = JSON.stringify(layer.getConfig(), (_, value: unknown) => value ?? null);
  return JSON.parse(json.replace(/stacked_rnn_cells_StackedRNNCells\d+/g, 'stack'));
}

/** Gradients in the input, as training would ask for them. */
function inputGradient(layer: tf.layers.Layer, x: tf.Tensor, kwargs: object): tf.Tensor {
  const variable = tf.variable(x);
  const y = layer.apply(x) as tf.Tensor;
  const dy = random(y.shape as [number, number], 5);
  const loss = () => tf.sum(tf.mul(layer.apply(tf.mul(variable, 1), kwargs) as tf.Tensor, dy));
  const {grads} = tf.variableGrads(loss as () => tf.Scalar, [variable]);
  variable.dispose();
  return grads[variable.name]!;
}

describe.each(STOCK)('a frozen %s', (_, stock) => {
  test('computes what the stock layer computes, bit for bit, under the same names', () => {
    const [plain, frozen] = twins(stock);
    expect(predictions(frozen, [data(stock)])).toEqual(predictions(plain, [data(stock)]));
    const names = (model: tf.LayersModel) => model.weights.map(w => w.originalName).sort();
    expect(names(frozen)).toEqual(names(plain));
    expect(frozen.trainableWeights).toEqual([]);
    expect(frozen.weights.some(w => (w.read() as tf.Variable).trainable)).toBe(false);
  });

  test('comes back from a file as it was', async () => {
    const [, frozen] = twins(stock);
    const again = await reloaded(frozen);
    expect(predictions(again, [data(stock)])).toEqual(predictions(frozen, [data(stock)]));
    expect(configOf(again.layers[0]!)).toEqual(configOf(frozen.layers[0]!));
    expect(again.trainableWeights).toEqual([]);
  });
});

// Of the others tfjs has no gradient, or the very same one.
const OWN = STOCK.filter(([name]) => !/PReLU|dilated/.test(name));

test.each(OWN)('a frozen %s passes on the gradient of the stock layer', async (_, stock) => {
  const gradient = (index: number) => () => {
    // As inference has it: a stock BatchNormalization would go by the batch.
    const [layer] = twins(stock)[index]!.layers;
    return [inputGradient(layer!, data(stock), {training: index === 1})];
  };
  expectGradients(await on('wasm', gradient(1)), await on('cpu', gradient(0)));
});

test.each(ACTIVATIONS)('a frozen Dense with %s passes on the stock gradient', async activation => {
  const stock = {make: (a?: object) => layers.dense({units: 4, activation, ...a}), shape: [5]};
  const gradient = (index: number) => () => {
    const [layer] = twins(stock)[index]!.layers;
    return [inputGradient(layer!, data(stock), {training: true})];
  };
  expectGradients(await on('wasm', gradient(1)), await on('cpu', gradient(0)));
});

const WEIGHTLESS: [string, () => tf.layers.Layer][] = [
  ['Activation relu6', () => layers.activation({activation: 'relu6'})],
  ['Activation softmax', () => layers.activation({activation: 'softmax'})],
  ['Activation tanh', () => layers.activation({activation: 'tanh'})],
  ['ReLU', () => layers.reLU()],
  ['ReLU with a maximum', () => layers.reLU({maxValue: 0.5})],
];
test.each(WEIGHTLESS)('a frozen %s computes and passes on what the stock layer does', async (_, make) => {
  const compute = (wrap: (layer: tf.layers.Layer) => tf.layers.Layer) => () => {
    const layer = wrap(make());
    const x = random([4, 5], 1);
    return [layer.apply(x) as tf.Tensor, inputGradient(layer, x, {training: true})];
  };
  const expected = await on(
    'cpu',
    compute(layer => layer),
  );
  expectGradients(
    await on(
      'wasm',
      compute(layer => new FrozenLayer({layer})),
    ),
    expected,
  );
});

test.each([['LSTM'], ['LayerNormalization']])(
  'a frozen %s keeps nothing for a backward pass where nothing before it trains',
  name => {
    const stock = STOCK.find(([other]) => other === name)![1];
    const [plain, frozen] = twins(stock);
    const x = data(stock);
    const head = tf.variable(tf.scalar(1));
    const kept = (model: tf.LayersModel) => {
      let count = 0;
      tf.variableGrads(() => {
        const before = tf.memory().numDataBuffers;
        const y = model.layers[0]!.apply(x, {training: true}) as tf.Tensor;
        count = tf.memory().numDataBuffers - before; // its result is one
        return tf.sum<tf.Scalar>(tf.mul(y, head));
      }, [head]);
      return count;
    };
    expect(kept(plain)).toBeGreaterThan(1);
    expect(kept(frozen)).toBe(1);
    head.dispose();
  },
);

test.each([['dense'], ['layerNormalization']])(
  'the gradient of a plain input goes through a frozen %s in training too',
  kind => {
    const input = tf.input({shape: [3]});
    const stock = kind === 'dense' ? layers.dense({units: 3}) : layers.layerNormalization();
    const frozen = new FrozenLayer({layer: stock}).apply(input) as tf.SymbolicTensor;
    const trained = layers.dense({units: 3}).apply(input) as tf.SymbolicTensor;
    const model = tf.model({inputs: input, outputs: layers.add().apply([frozen, trained]) as tf.SymbolicTensor});
    const x = random([2, 3], 1);
    const gradient = (training: boolean) =>
      numbers(tf.grad(z => tf.sum(tf.square(model.apply(z, {training}) as tf.Tensor)))(x));
    expect(gradient(true)).toBeAllClose(gradient(false));
  },
);

describe('a frozen BatchNormalization', () => {
  const variants: [name: string, args: object][] = [
    ['as it comes', {}],
    ['without scale', {scale: false}],
    ['without center', {center: false}],
    ['without either', {scale: false, center: false}],
    ['along axis 1', {axis: 1}],
  ];

  /** γ·(x − μ)/√(σ² + ε) + β along an axis of `[n, 4, 3]`, in plain loops. */
  function byHand(layer: tf.layers.Layer, x: tf.Tensor, axis: number): number[] {
    const weight = (name: string) => {
      const found = layer.weights.find(w => w.originalName.endsWith(name));
      return found && numbers(found.read());
    };
    const [mean, variance] = [weight('moving_mean')!, weight('moving_variance')!];
    const [gamma, beta] = [weight('gamma'), weight('beta')];
    return numbers(x).map((value, i) => {
      const c = axis === 1 ? Math.floor(i / 3) % 4 : i % 3;
      const normal = (value - mean[c]!) / Math.sqrt(variance[c]! + 1e-3);
      return normal * (gamma?.[c] ?? 1) + (beta?.[c] ?? 0);
    });
  }

  test.each(variants)('%s normalizes by its moving statistics in training', (_, args) => {
    const stock = {make: (a?: object) => layers.batchNormalization({...args, ...a}), shape: [4, 3]};
    const [, frozen] = twins(stock);
    const x = data(stock);
    const y = frozen.layers[0]!.apply(x, {training: true}) as tf.Tensor;
    expect(numbers(y)).toBeAllClose(byHand(frozen.layers[0]!, x, 'axis' in args ? 1 : 2));
  });

  test.each(variants)('%s predicts with the function that it trains on', (_, args) => {
    const stock = {make: (a?: object) => layers.batchNormalization({...args, ...a}), shape: [4, 3]};
    const [, frozen] = twins(stock);
    const trained = frozen.layers[0]!.apply(data(stock), {training: true}) as tf.Tensor;
    expect(predictions(frozen, [data(stock)])[0]).toBeAllClose(numbers(trained));
  });

  test.each(variants)('%s is bit-identical after 100 steps of Adam', async (_, args) => {
    const frozen = new FrozenLayer({layer: layers.batchNormalization({...args, name: 'norm'})});
    const model = tf.sequential({
      layers: [layers.dense({units: 3, name: 'body', inputShape: [4, 3]}), frozen],
    });
    stir(model);
    const before = frozen.weights.map(w => numbers(w.read()));
    const kernel = numbers(model.layers[0]!.weights[0]!.read());
    await train(model, [random([6, 4, 3], 3)], {epochs: 100});
    expect(frozen.weights.map(w => numbers(w.read()))).toEqual(before);
    expect(numbers(model.layers[0]!.weights[0]!.read())).not.toEqual(kernel);
  });
});

test("a frozen layer's kernel has no gradient computed", async () => {
  const model = tf.sequential({
    layers: [
      layers.conv2d({filters: 2, kernelSize: 1, inputShape: [5, 5, 3], name: 'body'}),
      new FrozenLayer({layer: layers.conv2d({filters: 4, kernelSize: 3, name: 'conv'})}),
      layers.reshape({targetShape: [36]}),
      new FrozenLayer({layer: layers.dense({units: 7, name: 'dense'})}),
    ],
  });
  const body = model.layers[0]!.trainableWeights.map(w => w.read() as tf.Variable);
  const x = random([2, 5, 5, 3], 1);
  const kernels = await kernelsOf(() =>
    tf.tidy(() => {
      const y = () => tf.mean<tf.Scalar>(model.apply(x, {training: true}) as tf.Tensor);
      return tf.variableGrads(y, body).grads;
    }),
  );
  const outputs = (kernel: string) => kernels.filter(({name}) => name === kernel).map(({output}) => output);
  expect(outputs('Conv2DBackpropFilter')).toEqual(['3×2']);
  // On wasm it is a convolution with the kernel's adjoint, which is kept.
  expect([...outputs('Conv2DBackpropInput'), ...outputs('Conv2D')]).toContain('2×5×5×2');
  expect(outputs('BatchMatMul')).toContain('2×36');
  expect(outputs('BatchMatMul')).not.toContain('36×7');
});

test('the kernels of frozen depthwise and separable convolutions have no gradient computed', async () => {
  const model = tf.sequential({
    layers: [
      layers.conv2d({filters: 2, kernelSize: 1, inputShape: [6, 6, 3], name: 'body'}),
      new FrozenLayer({layer: layers.depthwiseConv2d({kernelSize: 2, activation: 'relu', name: 'depthwise'})}),
      new FrozenLayer({
        layer: layers.separableConv2d({filters: 5, kernelSize: 2, dilationRate: 2, name: 'separable'}),
      }),
    ],
  });
  const body = model.layers[0]!.trainableWeights.map(w => w.read() as tf.Variable);
  const x = random([2, 6, 6, 3], 1);
  const kernels = await kernelsOf(() =>
    tf.tidy(() => {
      const y = () => tf.mean<tf.Scalar>(model.apply(x, {training: true}) as tf.Tensor);
      return tf.variableGrads(y, body).grads;
    }),
  );
  const outputs = (kernel: string) => kernels.filter(({name}) => name === kernel).map(({output}) => output);
  expect(outputs('DepthwiseConv2dNativeBackpropInput')).toEqual(['2×5×5×2', '2×6×6×2']);
  expect(outputs('DepthwiseConv2dNativeBackpropFilter')).toEqual([]);
  expect(outputs('Conv2DBackpropFilter')).toEqual(['3×2']);
});

test('dropout inside a frozen LSTM drops in training, and leaks nothing', async () => {
  await withoutLeaks(async () => {
    const lstm = layers.lstm({units: 3, dropout: 0.5, recurrentDropout: 0.5, name: 'lstm'});
    const model = tf.sequential({
      layers: [layers.dense({units: 2, inputShape: [4, 2], name: 'body'}), new FrozenLayer({layer: lstm})],
    });
    const x = random([4, 4, 2], 1);
    tf.tidy(() => {
      const [predicted, trained] = [false, true].map(training => numbers(model.apply(x, {training}) as tf.Tensor));
      expect(trained).not.toEqual(predicted);
    });
    await train(model, [x]);
    // As a stock LSTM, it lets go of the last masks when it is called again.
    predictions(model, [x]);
    model.dispose();
    x.dispose();
  });
});

test('a mask reaches a frozen LSTM and passes through a frozen Dense', () => {
  const make = (wrap: (layer: tf.layers.Layer) => tf.layers.Layer) => {
    const model = tf.sequential({
      layers: [
        layers.masking({maskValue: 0, inputShape: [4, 3]}),
        wrap(layers.dense({units: 5, name: 'dense'})),
        wrap(layers.lstm({units: 2, name: 'lstm'})),
      ],
    });
    stir(model);
    return model;
  };
  const x = tf.mul(random([2, 4, 3], 1), tf.tensor3d([1, 1, 0, 0, 1, 0, 1, 0], [2, 4, 1]));
  const frozen = make(layer => new FrozenLayer({layer}));
  const stock = make(layer => layer);
  const weights = Object.fromEntries(stock.weights.map(w => [w.originalName, w.read()]));
  frozen.weights.forEach(w => w.write(weights[w.originalName]!));
  expect(predictions(frozen, [x])).toEqual(predictions(stock, [x]));
});

describe('a frozen layer', () => {
  const make = () =>
    new FrozenLayer({
      layer: layers.dense({
        units: 2,
        name: 'dense',
        inputShape: [3],
        kernelRegularizer: tf.regularizers.l2({l2: 1}),
      }),
    });

  test('stays frozen when its model is told to train', () => {
    const model = tf.sequential({layers: [make()]});
    model.trainable = true;
    model.layers[0]!.trainable = true;
    expect(model.trainableWeights).toEqual([]);
    expect(model.weights.some(w => (w.read() as tf.Variable).trainable)).toBe(false);
  });

  test('adds no regularization to the loss', () => {
    const model = tf.sequential({layers: [make()]});
    expect(model.losses).toEqual([]);
  });

  test('has nothing that belongs to an adapter', () => {
    const layer = make();
    expect(layer.adapterWeights().size).toBe(0);
  });
});
