import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  disposeModel,
  getAdapter,
  loadAdapter,
  LoRAError,
  mergeLoRA,
  removeLoRA,
  replaceHead,
  saveAdapter,
  setAdapter,
} from 'tfjs-lora';
import {numbers, random, withoutLeaks} from '../../helpers';
import {
  baseWeights,
  cnn,
  MemoryHandler,
  mlp,
  multi,
  nested,
  predictions,
  reloaded,
  shared,
  stirFactors,
  train,
} from '../../models';

const {layers} = tf;

/** A head of two layers with weights and one without. */
function newHead(units = 5): tf.layers.Layer[] {
  return [
    layers.dense({units: 6, activation: 'relu', name: 'new_hidden'}),
    layers.dropout({rate: 0.1, name: 'new_dropout'}),
    layers.dense({units, activation: 'softmax', name: 'classes'}),
  ];
}

async function throughFile(source: tf.LayersModel | Adapter): Promise<Adapter> {
  const handler = new MemoryHandler();
  await saveAdapter(source, handler);
  return loadAdapter(handler);
}

/** What a layer of a model computes for inputs of the model. */
function outputsAt(model: tf.LayersModel, name: string, inputs: tf.Tensor[]): tf.Tensor {
  const part = tf.model({inputs: model.inputs, outputs: model.getLayer(name).output});
  return part.predict(inputs.length === 1 ? inputs[0]! : inputs) as tf.Tensor;
}

test.each([
  ['a sequential model, before its last layer with weights', mlp, undefined, 'hidden'],
  ['a sequential model, where it is told', cnn, 'pool', 'pool'],
  ['a functional model with several inputs and a shared layer', shared, undefined, 'joined'],
] as const)('on %s, new layers follow the body, which shares its buffers', (_, make, after, place) => {
  const {model, inputs} = make();
  const [before, predicted] = [baseWeights(model), predictions(model, inputs)];
  const {numDataBuffers} = tf.memory();
  const body = outputsAt(model, place, inputs);
  const flat = body.rank > 2 ? [layers.flatten({name: 'new_flat'})] : [];
  const head = layers.dense({units: 3, useBias: false, name: 'classes'});
  const between = tf.memory().numDataBuffers;
  const built = replaceHead(model, [...flat, head], after === undefined ? {} : {after});
  expect(tf.memory().numDataBuffers).toBe(between + 1);
  const kernel = built.getLayer('classes').getWeights()[0] as tf.Tensor2D;
  const expected = tf.matMul(tf.reshape(body, [body.shape[0], -1]), kernel);
  expect(predictions(built, inputs)[0]).toBeAllClose(numbers(expected));
  expect(built.layers.at(-1)!.name).toBe('classes');
  expect(built.layers.map(({name}) => name)).not.toContain('head');
  disposeModel(built);
  expect(tf.memory().numDataBuffers).toBeGreaterThan(numDataBuffers);
  expect(baseWeights(model)).toEqual(before);
  expect(predictions(model, inputs)).toEqual(predicted);
  expect(head.built).toBe(false);
});

test('a model that begins a sequential one is a place like any other', async () => {
  // tfjs lays such a model's own calls into the graph of the other, and none of the model itself.
  const make = () => {
    const body = tf.sequential({
      name: 'body',
      layers: [
        layers.dense({units: 4, inputShape: [5], name: 'one'}),
        layers.dense({units: 3, activation: 'tanh', name: 'two'}),
      ],
    });
    return tf.sequential({layers: [body, layers.dense({units: 2, name: 'head'})]});
  };
  const model = make();
  const x = tf.ones([4, 5]);
  const built = replaceHead(model, [layers.dense({units: 3, useBias: false, name: 'classes'})], {after: 'body'});
  const features = (model.getLayer('body') as tf.LayersModel).predict(x) as tf.Tensor2D;
  const kernel = built.getLayer('classes').getWeights()[0] as tf.Tensor2D;
  expect(predictions(built, [x])[0]).toBeAllClose(numbers(tf.matMul(features, kernel)));
  const adapted = applyLoRA(built, {rank: 1});
  await train(adapted, [x]);
  expect(predictions(applyLoRA(model, await throughFile(adapted)), [x])).toEqual(predictions(adapted, [x]));
});

test.each([
  ['a convolutional model', cnn],
  ['a nested model', nested],
  ['a model with a shared layer', shared],
] as const)('the adapter of %s brings its new head to the plain base', async (_, make) => {
  const [{model, inputs}, fresh] = [make(), make()];
  const adapted = applyLoRA(replaceHead(model, newHead()), {rank: 2, seed: 1});
  expect(getAdapter(adapted).config.trainable).toEqual(['new_hidden', 'classes']);
  await train(adapted, inputs);
  const adapter = await throughFile(adapted);
  const again = applyLoRA(fresh.model, adapter);
  expect(predictions(again, inputs)).toEqual(predictions(adapted, inputs));
  expect(again.trainableWeights).toHaveLength(adapted.trainableWeights.length);
  expect(getAdapter(again).config).toEqual(adapter.config);
  const viaModel = await reloaded(again);
  expect(predictions(viaModel, inputs)).toEqual(predictions(adapted, inputs));
  expect(getAdapter(viaModel).config).toEqual(adapter.config);
  setAdapter(viaModel, null);
  setAdapter(viaModel, adapter);
  expect(predictions(viaModel, inputs)).toEqual(predictions(adapted, inputs));
  const merged = await reloaded(mergeLoRA(again));
  expect(predictions(merged, inputs)[0]).toBeAllClose(predictions(adapted, inputs)[0]!);
  await train(again, inputs);
  expect(baseWeights(fresh.model)).toEqual(baseWeights(make().model));
});

test('removing the adapter restores the head, and a new adapter contains it again', async () => {
  const {model, inputs} = mlp();
  const built = replaceHead(model, newHead());
  const before = predictions(built, inputs);
  const adapted = applyLoRA(built, {rank: 2});
  await train(adapted, inputs);
  const again = await reloaded(adapted);
  for (const each of [adapted, again]) {
    expect(predictions(each, inputs)).not.toEqual(before);
    const plain = removeLoRA(each);
    expect(predictions(plain, inputs)).toEqual(before);
    expect(getAdapter(applyLoRA(plain)).config.head).toEqual(getAdapter(adapted).config.head);
    setAdapter(each, null);
    expect(predictions(each, inputs)).toEqual(before);
  }
  expect(getAdapter(applyLoRA(mergeLoRA(adapted))).config.head).toBeUndefined();
});

test('from base to adapter and back nothing is left', async () => {
  await withoutLeaks(async () => {
    const {model, inputs} = cnn();
    const built = replaceHead(model, newHead());
    const adapted = applyLoRA(built, {rank: 2});
    await train(adapted, inputs, {epochs: 1});
    const adapter = getAdapter(adapted);
    const again = applyLoRA(model, adapter);
    const [merged, plain] = [mergeLoRA(again), removeLoRA(again)];
    adapter.dispose();
    [merged, plain, again, adapted, built, model].forEach(each => disposeModel(each));
    tf.dispose(inputs);
  });
});

describe('replaceHead', () => {
  test('goes after a nested model by its name, and keeps flags and metadata', () => {
    const {model, inputs} = nested();
    model.setUserDefinedMetadata({labels: ['a', 'b']});
    (model.getLayer('body') as unknown as tf.LayersModel).trainable = false;
    const built = replaceHead(model, [layers.dense({units: 2, name: 'classes'})], {after: 'body'});
    expect(built.layers.map(({name}) => name)).toEqual(['in', 'body', 'classes']);
    expect(built.trainableWeights).toHaveLength(2);
    expect(predictions(built, inputs)[0]).toHaveLength(8);
    expect(getAdapter(applyLoRA(built, {rank: 2})).config.head).toMatchObject({at: 'body'});
  });

  test('a number of classes means one Dense layer with softmax', () => {
    const [{model, inputs}, units] = [mlp(), 4];
    const short = replaceHead(model, units);
    const long = replaceHead(model, [layers.dense({units, activation: 'softmax', name: 'classes'})]);
    expect(short.layers.map(layer => layer.name)).toEqual(long.layers.map(layer => layer.name));
    expect(short.getLayer('classes').getConfig()).toEqual(long.getLayer('classes').getConfig());
    const sums = numbers(tf.sum(short.predict(inputs) as tf.Tensor, -1));
    sums.forEach(sum => expect(sum).toBeCloseTo(1, 5));
  });

  test('takes over the weights of layers that are built, and those that a layer was given', () => {
    const {model} = mlp();
    const [kernel, bias] = [random([6, 2], 1), random([2], 2)];
    const given = layers.dense({units: 2, name: 'classes', weights: [kernel, bias]});
    const built = replaceHead(model, [given]);
    expect(built.getLayer('classes').getWeights().map(numbers)).toEqual([kernel, bias].map(numbers));
    const again = replaceHead(model, [built.getLayer('classes')]);
    expect(again.getLayer('classes').getWeights().map(numbers)).toEqual([kernel, bias].map(numbers));
    disposeModel(again);
    expect(built.getLayer('classes').getWeights().map(numbers)).toEqual([kernel, bias].map(numbers));
  });

  test('starts its layers as their initializers say', () => {
    const {model} = mlp();
    const kernelInitializer = tf.initializers.constant({value: 0.25});
    const built = replaceHead(model, [layers.dense({units: 2, name: 'classes', kernelInitializer})]);
    expect(numbers(built.getLayer('classes').getWeights()[0]!)).toEqual(new Array(12).fill(0.25));
  });

  test('can replace a head that it has put there, and build on part of it', () => {
    const {model, inputs} = mlp();
    const once = replaceHead(model, newHead());
    const other = replaceHead(once, [layers.dense({units: 2, name: 'classes'})], {after: 'hidden'});
    expect(getAdapter(applyLoRA(other)).config.head).toMatchObject({
      at: 'hidden',
      layers: [{config: {name: 'classes'}}],
    });
    const longer = applyLoRA(replaceHead(once, [layers.dense({units: 2, name: 'pair'})]), {rank: 2});
    stirFactors(longer);
    const adapter = getAdapter(longer);
    expect(adapter.config.head).toMatchObject({at: 'hidden'});
    expect(adapter.config.trainable).toEqual(['new_hidden', 'pair']);
    expect(predictions(applyLoRA(mlp().model, adapter), inputs)).toEqual(predictions(longer, inputs));
  });

  test('may leave out a layer whose name the new one takes', () => {
    const built = replaceHead(mlp().model, [layers.dense({units: 7, name: 'head'})]);
    expect(built.outputs[0]!.shape).toEqual([null, 7]);
  });

  test('leaves out inputs that led only to what is left out', () => {
    const [one, other] = ['one', 'other'].map(name => tf.input({shape: [4], name})) as [
      tf.SymbolicTensor,
      tf.SymbolicTensor,
    ];
    const a = layers.dense({units: 4, name: 'a'}).apply(one) as tf.SymbolicTensor;
    const sum = layers.add({name: 'sum'}).apply([a, other]) as tf.SymbolicTensor;
    const outputs = layers.dense({units: 3, name: 'out'}).apply(sum) as tf.SymbolicTensor;
    const model = tf.model({inputs: [one, other], outputs});
    const built = replaceHead(model, [layers.dense({units: 2, name: 'classes'})], {after: 'a'});
    expect(built.inputNames).toEqual(['one']);
    const inputs = [random([3, 4], 1)];
    expect(predictions(applyLoRA(built, {rank: 2}), inputs)).toEqual(predictions(built, inputs));
  });

  const twice = () => {
    const layer = layers.dense({units: 5, name: 'twice', inputShape: [5]});
    const input = tf.input({shape: [5]});
    const output = layers.dense({units: 2, name: 'out'}).apply(layer.apply(layer.apply(input)));
    return tf.model({inputs: input, outputs: output as tf.SymbolicTensor});
  };

  test.each<[string, () => unknown, string]>([
    ['no layers', () => replaceHead(mlp().model, []), 'such as [tf.layers.dense({units: 5})], got an empty list.'],
    [
      'no classes',
      () => replaceHead(mlp().model, 0),
      'The number of classes must be a whole number, 1 or more, got 0.',
    ],
    [
      'what is no layer',
      () => replaceHead(mlp().model, ['dense' as never]),
      'layers must be a list of layers, such as tf.layers.dense({units: 5}), got a string.',
    ],
    ['what is no model', () => replaceHead({} as never, newHead()), 'The model must be a tf.LayersModel'],
    ['several outputs', () => replaceHead(multi().model, newHead()), 'The model has 2 outputs (left, right)'],
    [
      'a place that is not there',
      () => replaceHead(mlp().model, newHead(), {after: 'hiden'}),
      'There is no layer "hiden" to put a head after. The model has: hidden (Dense), head (Dense).',
    ],
    [
      'a place inside a nested model',
      () => replaceHead(nested().model, newHead(), {after: 'body/first'}),
      'Layer "body/first" is inside "body".',
    ],
    [
      'a place with two outputs',
      () => replaceHead(twice(), newHead(), {after: 'twice'}),
      'Layer "twice" has 2 outputs in the model',
    ],
    [
      'a name that the body has',
      () => replaceHead(mlp().model, [layers.dense({units: 2, name: 'hidden'})]),
      `A layer "hidden" is in the model already. Give the new Dense another name: {name: 'hidden_new'}.`,
    ],
    [
      'a name twice',
      () =>
        replaceHead(
          mlp().model,
          [1, 2].map(() => layers.dense({units: 2, name: 'x'})),
        ),
      'A layer "x" is in the model already.',
    ],
    [
      'layers that do not fit',
      () => replaceHead(mlp().model, [layers.conv2d({filters: 2, kernelSize: 1, name: 'c'})]),
      'The new layer "c" (Conv2D) cannot follow an output of shape [null, 6]',
    ],
    ['a model that is adapted', () => replaceHead(applyLoRA(mlp().model), newHead()), 'The model is adapted already'],
    [
      'a model of one layer',
      () => replaceHead(tf.sequential({layers: [layers.dense({units: 2, inputShape: [3], name: 'one'})]}), newHead()),
      'Nothing comes before the only layer with weights',
    ],
  ])('refuses %s, and leaves nothing behind', (_, replace, message) => {
    expect(replace).toThrow(LoRAError);
    expect(replace).toThrow(message);
  });

  test.each<[string, number[], tf.layers.Layer[], string?]>([
    ['images', [3, 1, 2], [tf.layers.conv2d({filters: 2, kernelSize: 1})], '2, 3, 1'],
    ['images that are channels first', [3, 1, 2], [tf.layers.globalAveragePooling2d({dataFormat: 'channelsFirst'})]],
    ['images that are flattened', [3, 1, 2], [tf.layers.flatten()]],
    [
      'images that are moved back',
      [3, 1, 2],
      [tf.layers.permute({dims: [2, 3, 1]}), tf.layers.conv2d({filters: 2, kernelSize: 1})],
    ],
    ['images in another order', [2, 1, 3], [tf.layers.conv2d({filters: 2, kernelSize: 1})]],
    ['volumes', [4, 1, 2, 3], [tf.layers.conv3d({filters: 2, kernelSize: 1})], '2, 3, 4, 1'],
    ['sequences', [2, 1], [tf.layers.conv1d({filters: 2, kernelSize: 1})], '2, 1'],
  ])('fits the order of axes before it: %s', (_, dims, head, ...[back]) => {
    const rank = dims.length - 1;
    const options = {filters: 3, kernelSize: 1, name: 'conv', inputShape: [4, 4, 4, 3].slice(-rank - 1)};
    const conv = [tf.layers.conv1d, tf.layers.conv2d, tf.layers.conv3d][rank - 1]!(options);
    const model = tf.sequential({layers: [conv, tf.layers.permute({dims, name: 'moved'}), tf.layers.flatten()]});
    const replaced = () => replaceHead(model, head, {after: 'moved'});
    if (back === undefined) {
      replaced();
    } else {
      expect(replaced).toThrow(`Layer "moved" gives ${rank === 1 ? 'sequences' : 'images'} with channels first`);
      expect(replaced).toThrow(`after: 'conv'}, or start it with tf.layers.permute({dims: [${back}]}).`);
    }
  });

  test('a failure frees what was made', async () => {
    const {model} = mlp();
    const parts = [layers.dense({units: 4, name: 'fine'}), layers.conv2d({filters: 2, kernelSize: 1, name: 'c'})];
    await withoutLeaks(() => {
      expect(() => replaceHead(model, parts)).toThrow('Conv2D');
    });
  });
});

describe('an adapter with a new head', () => {
  test('is refused by a model with another head or with none, and by a base without its place', async () => {
    const {model} = mlp();
    const five = applyLoRA(replaceHead(model, newHead(5)), {rank: 2});
    const four = applyLoRA(replaceHead(model, newHead(4)), {rank: 2});
    const plain = applyLoRA(model, {rank: 2});
    const {model: headless} = cnn();
    const adapter = getAdapter(five);
    const message = 'The adapter does not fit this model: it has a new head after "hidden": new_hidden (Dense)';
    await withoutLeaks(() => {
      expect(() => setAdapter(four, adapter)).toThrow(message);
      expect(() => applyLoRA(headless, adapter)).toThrow(LoRAError);
    });
    expect(() => setAdapter(four, adapter)).toThrow(LoRAError);
    expect(() => setAdapter(plain, adapter)).toThrow(', and the model no new head.');
    expect(() => setAdapter(five, getAdapter(plain))).toThrow(
      'it has no new head, and the model a new head after "hidden"',
    );
    expect(() => applyLoRA(replaceHead(model, newHead(4)), adapter)).toThrow(message);
    expect(() => applyLoRA(headless, adapter)).toThrow('There is no layer "hidden" to put a head after.');
    await expect(
      combineAdapters([adapter, getAdapter(four)].map(each => ({adapter: each, weight: 1}))),
    ).rejects.toThrow('one adapter has a new head after "hidden"');
  });

  test('of a base of another width is refused with the shapes, and nothing is left', async () => {
    const adapter = getAdapter(applyLoRA(replaceHead(mlp().model, newHead()), {rank: 2}));
    const {model: wide} = mlp();
    const other = tf.sequential({
      layers: [layers.dense({units: 8, inputShape: [5], name: 'hidden'}), layers.dense({units: 3, name: 'head'})],
    });
    await withoutLeaks(() => {
      expect(() => applyLoRA(other, adapter)).toThrow(
        'new_hidden/kernel: shape [6, 6] in the adapter, [8, 6] in the model',
      );
    });
    expect(() => applyLoRA(wide, {...adapter, config: {...adapter.config, trainable: ['classes']}})).toThrow(
      'new_hidden: of the new head, but not among the layers that train in full in the adapter',
    );
  });

  test('is the same head whatever its layers start from', () => {
    const head = (seed: number) => [
      layers.dense({units: 2, name: 'classes', kernelInitializer: tf.initializers.glorotUniform({seed})}),
    ];
    const {model, inputs} = mlp();
    const [one, other] = [1, 2].map(seed => applyLoRA(replaceHead(model, head(seed)), {rank: 2, seed})) as [
      tf.LayersModel,
      tf.LayersModel,
    ];
    setAdapter(one, getAdapter(other));
    expect(predictions(one, inputs)).toEqual(predictions(other, inputs));
  });

  test.each([
    [null],
    [{at: 'x', layers: []}],
    [{at: 1, layers: [{className: 'Dense', config: {name: 'a'}}]}],
    [{at: 'x', layers: [{className: 'Dense', config: {}}]}],
    [{at: 'x', layers: [{className: 'Dense', config: null}]}],
  ])('that is malformed, %j, is refused', head => {
    const {model} = mlp();
    const adapter = getAdapter(applyLoRA(model, {rank: 2}));
    const broken = {...adapter, config: {...adapter.config, head: head as never}};
    expect(() => applyLoRA(model, broken)).toThrow("The adapter's head must say where it attaches");
  });

  test('of a class that is not registered, or not plain, is refused', () => {
    const {model} = mlp();
    const adapter = getAdapter(applyLoRA(model, {rank: 2}));
    const withClass = (className: string, config: object) => {
      const head = {at: 'hidden', layers: [{className, config: {name: 'x', ...config}}]};
      return {...adapter, config: {...adapter.config, head}};
    };
    expect(() => applyLoRA(model, withClass('Unheard', {}))).toThrow('Layer "x" is a Unheard, which is not registered');
    const layer = {className: 'Dense', config: {units: 2, name: 'x'}};
    expect(() => applyLoRA(model, withClass('tfjs-lora>TrainedLayer', {layer}))).toThrow('is not a plain layer');
    for (const [className, config, message] of [
      ['constructor', {}, 'Layer "x" is a constructor, which is not registered'],
      [
        'Dense',
        {units: -3},
        'Layer "x" (Dense) cannot be made from its config: Expected units to be a positive integer',
      ],
      [
        'Dense',
        {units: 2, activation: 'nothing'},
        'The new layer "x" (Dense) is refused: its activation is "nothing", which is no activation.',
      ],
    ] as const) {
      expect(() => applyLoRA(model, withClass(className, config))).toThrow(LoRAError);
      expect(() => applyLoRA(model, withClass(className, config))).toThrow(message);
    }
  });
});
