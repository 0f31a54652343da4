import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  exportPEFT,
  getAdapter,
  loadAdapter,
  LoRAError,
  mergeLoRA,
  registerAdaptable,
  replaceHead,
  saveAdapter,
  scaleAdapter,
  setAdapter,
  toSafetensors,
  withAdapter,
} from 'tfjs-lora';
import {Mix} from '../../customLayers';
import {numbers, random} from '../../helpers';
import {baseWeights, MemoryHandler, predictions, type Specimen, stir, stirFactors, train} from '../../models';

// All that an adapter can carry beside factors, together: a new head, biases, the names of weights of a user's class.

const {layers} = tf;

beforeAll(() => registerAdaptable('Mix', {weights: ['mix_Kernel']}));

function base(): Specimen {
  const model = tf.sequential({
    layers: [
      layers.dense({units: 4, activation: 'tanh', name: 'inner', inputShape: [5]}),
      new Mix({units: 4, name: 'mix'}),
      layers.dense({units: 4, activation: 'relu', name: 'outer'}),
      layers.layerNormalization({name: 'norm'}),
      layers.dense({units: 2, name: 'old_head'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([6, 5], 9)]};
}

function newHead(): tf.layers.Layer[] {
  // With a seed that leaves some units of the relu alive.
  const kernelInitializer = tf.initializers.glorotUniform({seed: 3});
  return [
    layers.dense({units: 4, activation: 'relu', name: 'hidden', kernelInitializer}),
    layers.dense({units: 3, name: 'classes', kernelInitializer}),
  ];
}

/** A model that has all of it, trained. */
async function everything(model: tf.LayersModel, inputs: tf.Tensor[]): Promise<tf.LayersModel> {
  const adapted = applyLoRA(replaceHead(model, newHead()), {rank: 2, targets: ['mix', 'outer'], bias: 'all', seed: 1});
  await train(adapted, inputs);
  return adapted;
}

test('an adapter names its head, its biases and the weights that it updates', async () => {
  const {model, inputs} = base();
  const {config, tensors} = getAdapter(await everything(model, inputs));
  expect(config.head?.layers.map(({config: {name}}) => name)).toEqual(['hidden', 'classes']);
  expect(config.trainable).toEqual(['hidden', 'classes']);
  expect(config.biases).toEqual(['inner', 'norm']);
  expect(config.layers.outer!.trainBias).toBe(true);
  expect(config.layers.mix!.weights).toEqual([{name: 'mix_Kernel', outAxes: 1}]);
  expect(Object.keys(tensors).sort()).toEqual([
    'classes/bias',
    'classes/kernel',
    'hidden/bias',
    'hidden/kernel',
    'inner/bias',
    'mix/lora_A',
    'mix/lora_B',
    'norm/beta',
    'outer/bias',
    'outer/lora_A',
    'outer/lora_B',
  ]);
});

test.each<[string, (adapter: Adapter) => Promise<Adapter>]>([
  ['safetensors', async adapter => loadAdapter(await toSafetensors(adapter))],
  ...(['tfjs', 'safetensors'] as const).map(
    format =>
      [
        `a handler with ${format}`,
        async (adapter: Adapter) => {
          const handler = new MemoryHandler();
          await saveAdapter(adapter, handler, {format});
          return loadAdapter(handler);
        },
      ] as [string, (adapter: Adapter) => Promise<Adapter>],
  ),
])('all of it comes back by %s, and is applied to the plain base', async (_, carry) => {
  const {model, inputs} = base();
  const before = baseWeights(model);
  const adapted = await everything(model, inputs);
  const adapter = getAdapter(adapted);
  const again = await carry(adapter);
  expect(again.config).toEqual(adapter.config);
  const applied = applyLoRA(model, again);
  expect(predictions(applied, inputs)).toEqual(predictions(adapted, inputs));
  expect(getAdapter(applied).config).toEqual(adapter.config);
  expect(predictions(mergeLoRA(applied), inputs)[0]).toBeAllClose(predictions(adapted, inputs)[0]!);
  await train(applied, inputs);
  expect(baseWeights(model)).toEqual(before);
});

test('a head and biases go to PEFT and come back, for the model that has the head', async () => {
  const {model, inputs} = base();
  const headed = replaceHead(model, newHead());
  const adapted = applyLoRA(headed, {rank: 2, targets: ['outer'], bias: 'all'});
  await train(adapted, inputs);
  const adapter = getAdapter(adapted);
  const files = await exportPEFT(adapted, {adapter});
  expect(files.config).toMatchObject({bias: 'all', modules_to_save: ['hidden', 'classes']});
  for (const target of [headed, adapted]) {
    const again = await loadAdapter(files, {model: target});
    expect(again.config.head).toEqual(adapter.config.head);
    const expected = predictions(adapted, inputs);
    expect(predictions(applyLoRA(headed, again), inputs)).toEqual(expected);
    expect(predictions(applyLoRA(model, again), inputs)).toEqual(expected);
    setAdapter(adapted, null);
    setAdapter(adapted, again);
    expect(predictions(adapted, inputs)).toEqual(expected);
  }
  const merged = mergeLoRA(adapted); // plain, and knows of no new head
  const again = await loadAdapter(files, {model: merged});
  expect(again.config.head).toBeUndefined();
  expect(again.config.trainable.sort()).toEqual(['classes', 'hidden']);

  await expect(exportPEFT(model, {adapter})).rejects.toThrow(
    'The adapter has a new head after "norm": hidden (Dense), classes (Dense), which the model does not have. Pass the ' +
      'model that has it',
  );
  const withoutHead = applyLoRA(model, {rank: 2, targets: ['outer']});
  const files2 = await exportPEFT(model, {adapter: getAdapter(withoutHead)});
  await expect(loadAdapter(files2, {model: headed})).rejects.toThrow(
    'classes: of the new head, but not among the layers that train in full in the adapter',
  );
});

test('adapters with biases and without follow each other, and one that does not fit changes nothing', async () => {
  const {model, inputs} = base();
  const adapted = applyLoRA(model, {rank: 2, targets: ['mix', 'outer'], bias: 'all', seed: 1});
  const plain = predictions(adapted, inputs);
  await train(adapted, inputs);
  const withBiases = getAdapter(adapted);
  const donor = applyLoRA(model, {rank: 3, targets: ['outer']});
  stirFactors(donor);
  const without = getAdapter(donor);
  const [one, other] = [predictions(adapted, inputs), predictions(donor, inputs)];
  setAdapter(adapted, without);
  expect(predictions(adapted, inputs)).toEqual(other);
  withAdapter(adapted, withBiases, () => expect(predictions(adapted, inputs)).toEqual(one));
  expect(predictions(adapted, inputs)).toEqual(other);
  setAdapter(adapted, withBiases);
  withAdapter(adapted, null, () => expect(predictions(adapted, inputs)).toEqual(plain));

  const {'norm/beta': _, ...tensors} = withBiases.tensors;
  const misfits: [Adapter, string][] = [
    [{...withBiases, tensors}, 'norm/beta: not in the adapter'],
    [{...withBiases, tensors: {...tensors, 'norm/beta': tf.zeros([5])}}, 'norm/beta: shape [5] in the adapter, [4]'],
    [{...withBiases, config: {...withBiases.config, biases: ['inner', 'norm', 'mix']}}, 'mix: there twice'],
    [
      {
        ...without,
        config: {...without.config, head: {at: 'norm', layers: [{className: 'Dense', config: {name: 'x'}}]}},
      },
      'it has a new head after "norm"',
    ],
  ];
  for (const [misfit, message] of misfits) {
    expect(() => setAdapter(adapted, misfit)).toThrow(LoRAError);
    expect(() => setAdapter(adapted, misfit)).toThrow(message);
    expect(() => withAdapter(adapted, misfit, () => 1)).toThrow(message);
    expect(predictions(adapted, inputs)).toEqual(one);
  }
});

test('a scaled adapter has the biases and the head as they are', async () => {
  const {model, inputs} = base();
  const adapter = getAdapter(await everything(model, inputs));
  const scaled = scaleAdapter(adapter, 0.5);
  for (const name of ['inner/bias', 'outer/bias', 'norm/beta', 'classes/kernel']) {
    expect(numbers(scaled.tensors[name]!)).toEqual(numbers(adapter.tensors[name]!));
  }
  expect(scaled.config).toMatchObject({head: adapter.config.head!, biases: adapter.config.biases!});
  expect(predictions(applyLoRA(model, scaled), inputs)).not.toEqual(predictions(applyLoRA(model, adapter), inputs));
});

test('what was trained without a constraint is not changed by the one that its layer has', () => {
  const make = () =>
    tf.sequential({
      layers: [
        layers.dense({units: 3, name: 'body', inputShape: [2], biasConstraint: 'nonNeg', kernelConstraint: 'nonNeg'}),
        layers.dense({units: 2, name: 'head', kernelConstraint: 'unitNorm'}),
      ],
    });
  const model = make();
  const adapted = applyLoRA(model, {rank: 1, targets: ['body'], trainInFull: ['head'], bias: 'adapted'});
  const values = {
    'body/lora_A': [1, 2],
    'body/lora_B': [3, 4, 5],
    'body/bias': [-1, 2, -3],
    'head/kernel': [1, 2, 3, 4, 5, 6],
    'head/bias': [-7, 8],
  };
  const own = getAdapter(adapted);
  const tensors = Object.fromEntries(
    Object.entries(own.tensors).map(([name, {shape}]) => [name, tf.tensor(values[name as keyof typeof values], shape)]),
  );
  const adapter = {...own, tensors};
  setAdapter(adapted, adapter);
  for (const each of [adapted, applyLoRA(model, adapter)]) {
    const {tensors: found} = getAdapter(each);
    expect(Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, numbers(tensor)]))).toEqual(values);
  }
});
