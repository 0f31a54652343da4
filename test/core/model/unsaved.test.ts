import * as tf from '@tensorflow/tfjs';
import {replaceHead} from '../../../src/core/head/replaceHead';
import {isLoRALayer} from '../../../src/core/layers/loraLayer';
import {adaptLayer} from '../../../src/core/layers/registry';
import {FrozenLayer, TrainedLayer} from '../../../src/core/layers/unadaptedLayer';
import {applyLoRA} from '../../../src/core/model/apply';
import {getAdapter, setAdapter, withAdapter} from '../../../src/core/model/currentAdapter';
import {fitOnFeatures} from '../../../src/core/model/fitOnFeatures';
import {predictWith} from '../../../src/core/model/predictWith';
import {mergeLoRA, removeLoRA} from '../../../src/core/model/restore';
import {summarizeLoRA} from '../../../src/core/model/summary';
import {loadAdapter} from '../../../src/core/peft/loadAdapter';
import {saveAdapter} from '../../../src/core/peft/saveAdapter';
import {disposeModel} from '../../../src/core/rewire/dispose';
import {sitesOf} from '../../../src/core/rewire/walk';
import {numbers, random, withoutLeaks} from '../../helpers';
import {activations, autoencoder, blocks, Gelu, IGNORANT} from '../../ignorantLayers';
import {baseWeights, MemoryHandler, mlp, predictions, reloaded, stirFactors, train, ZOO} from '../../models';

const {layers} = tf;
const warnings = () => jest.spyOn(console, 'warn').mockImplementation();

/** A LoRA layer by hand in an otherwise plain model. */
function byHand(): tf.Sequential {
  const body = adaptLayer({layer: layers.dense({units: 4, inputShape: [5], name: 'body'}), rank: 2});
  return tf.sequential({
    layers: [body, layers.batchNormalization({name: 'norm'}), layers.dense({units: 2, name: 'head'})],
  });
}

/** A stock head on an adapted body. */
function headOnBody(): tf.LayersModel {
  const body = applyLoRA(mlp().model, {rank: 2});
  const outputs = layers.dense({units: 2, name: 'new_head'}).apply(body.outputs[0]!) as tf.SymbolicTensor;
  return tf.model({inputs: body.inputs, outputs});
}

test.each<[what: string, make: () => tf.LayersModel, unsaved: string[]]>([
  [
    'a LoRA layer among plain ones',
    byHand,
    ['norm (BatchNormalization): The layer trains.', 'head (Dense): The layer trains.'],
  ],
  ['a stock head on an adapted body', headOnBody, ['new_head (Dense): The layer trains.']],
  [
    'an adapted body in a Sequential with a head',
    () => {
      const model = tf.sequential({layers: [applyLoRA(mlp().model, {rank: 2}), layers.dense({units: 2, name: 'top'})]});
      return model;
    },
    ['top (Dense): The layer trains.'],
  ],
  [
    'a plain normalization that is frozen, which tfjs moves all the same',
    () => {
      const model = byHand();
      model.layers.slice(1).forEach(layer => (layer.trainable = false));
      return model;
    },
    ['norm (BatchNormalization): Training updates its statistics, although it is frozen.'],
  ],
])('%s: what trains and is not saved is warned of once, and in the summary', async (_, make, unsaved) => {
  const model = make();
  const warn = warnings();
  const summary = summarizeLoRA(model);
  expect(warn).not.toHaveBeenCalled();
  expect(summary.unsaved.map(({path, className, reason}) => `${path} (${className}): ${reason}`)).toEqual(unsaved);
  unsaved.forEach(line => expect(String(summary)).toContain(`not in the adapter: ${line}`));

  getAdapter(model);
  getAdapter(model);
  await saveAdapter(model, new MemoryHandler());
  expect(warn).toHaveBeenCalledTimes(1);
  const [message] = warn.mock.calls[0] as [string];
  unsaved.forEach(line => expect(message).toContain(`\n  ${line}\n`));
  expect(message).toMatch(/applyLoRA make the model.*replaceHead.*new TrainedLayer.*new FrozenLayer.*model\.save/);
});

test('a base that is made trainable inside a LoRA layer is reported', () => {
  const warn = warnings();
  const model = applyLoRA(mlp().model, {rank: 2});
  const [lora] = model.layers.filter(isLoRALayer);
  getAdapter(model).dispose();
  expect(warn).not.toHaveBeenCalled();
  lora!.baseLayer.trainable = true;
  getAdapter(model).dispose();
  expect(warn.mock.calls.join('')).toContain(`${lora!.name} (LoRADense): Its base trains`);
});

test('saving warns by itself, and switching does not', async () => {
  const warn = warnings();
  const model = byHand();
  setAdapter(model, null);
  withAdapter(model, null, () => 1);
  predictWith(model, tf.ones([1, 5]), [null]);
  expect(warn).not.toHaveBeenCalled();
  await saveAdapter(model, new MemoryHandler());
  expect(warn).toHaveBeenCalledTimes(1);
});

test('what the warning advises brings the outputs back', async () => {
  const warn = warnings();
  const make = (seed: number) => {
    const start = () => ({kernelInitializer: tf.initializers.glorotUniform({seed: seed++})});
    return tf.sequential({
      layers: [
        adaptLayer({layer: layers.dense({units: 4, inputShape: [5], name: 'body', ...start()}), rank: 2, seed: 1}),
        new FrozenLayer({layer: layers.batchNormalization({name: 'norm'})}),
        new TrainedLayer({layer: layers.dense({units: 2, name: 'head', ...start()})}),
      ],
    });
  };
  const [model, x] = [make(3), random([4, 5], 1)];
  await train(model, [x]);
  const adapter = getAdapter(model);
  const fresh = make(3);
  setAdapter(fresh, adapter);
  expect(predictions(fresh, [x])).toEqual(predictions(model, [x]));
  expect(summarizeLoRA(model).unsaved).toEqual([]);
  expect(warn).not.toHaveBeenCalled();
});

test.each(ZOO)('applyLoRA leaves nothing unsaved in %s', (_, make) => {
  const warn = warnings();
  for (const config of [{rank: 1}, {rank: 1, bias: 'all'}, {rank: 1, freezeBaseLayer: false}] as const) {
    const adapted = applyLoRA(make().model, config);
    expect(summarizeLoRA(adapted).unsaved).toEqual([]);
    getAdapter(adapted);
  }
  const headed = applyLoRA(replaceHead(mlp().model, [layers.dense({units: 2, name: 'classes'})]), {rank: 1});
  expect(summarizeLoRA(headed).unsaved).toEqual([]);
  expect(warn).not.toHaveBeenCalled();
});

const paths = (model: tf.LayersModel) => sitesOf(model).map(({path}) => path);

describe.each(IGNORANT)('a model with %s', (_, make) => {
  test('is one that tfjs rebuilds from its JSON', async () => {
    const {model} = make();
    const json = model.toJSON(undefined, false) as tf.io.ModelJSON['modelTopology'];
    const rebuilt = await tf.models.modelFromJSON(json);
    expect(rebuilt.countParams()).toBe(model.countParams());
  });

  test('is adapted exactly, its layers keep their names, and the original is untouched', () => {
    const {model, inputs} = make();
    const [before, names, weights] = [predictions(model, inputs), paths(model), baseWeights(model)];
    const adapted = applyLoRA(model, {rank: 2});
    expect(predictions(adapted, inputs)).toEqual(before);
    expect(paths(adapted)).toEqual(expect.arrayContaining(names));
    expect(baseWeights(adapted)).toEqual(weights);
    expect(baseWeights(model)).toEqual(weights);
    expect(summarizeLoRA(adapted).layers.length).toBeGreaterThan(0);
  });

  test('merges, and comes back, under the names that it had', () => {
    const {model, inputs} = make();
    const adapted = applyLoRA(model, {rank: 2});
    stirFactors(adapted);
    const merged = mergeLoRA(adapted);
    predictions(merged, inputs).forEach((output, i) => {
      expect(output).toBeAllClose(predictions(adapted, inputs)[i]!);
    });
    const removed = removeLoRA(adapted);
    expect(predictions(removed, inputs)).toEqual(predictions(model, inputs));
    for (const plain of [merged, removed]) {
      expect(paths(plain)).toEqual(expect.arrayContaining(paths(model)));
      expect(plain.weights.map(({originalName}) => originalName)).toEqual(model.weights.map(w => w.originalName));
    }
    expect(predictions(applyLoRA(removed, getAdapter(adapted)), inputs)).toEqual(predictions(adapted, inputs));
  });

  test('gives an adapter that a file carries to the base, that switches, and that goes row by row', async () => {
    const {model, inputs} = make();
    const adapted = applyLoRA(model, {rank: 2, bias: 'all'});
    stirFactors(adapted);
    const expected = predictions(adapted, inputs);
    const file = new MemoryHandler();
    await saveAdapter(adapted, file);
    const adapter = await loadAdapter(file);
    expect(predictions(applyLoRA(model, adapter), inputs)).toEqual(expected);
    setAdapter(adapted, null);
    expect(predictions(adapted, inputs)).toEqual(predictions(model, inputs));
    const rows = inputs[0]!.shape[0];
    const each = predictWith(adapted, inputs[0]!, new Array<typeof adapter>(rows).fill(adapter));
    expect([each].flat().map(numbers)).toEqual(expected);
  });

  test('leaks nothing, refused or not', async () => {
    const {model, inputs} = make();
    await withoutLeaks(() => {
      const adapted = applyLoRA(model, {rank: 2});
      tf.dispose(predictions(adapted, inputs));
      [mergeLoRA(adapted), removeLoRA(adapted), adapted].forEach(each => disposeModel(each));
      expect(() => applyLoRA(model, {targets: ['nothing']})).toThrow('No layer matches');
    });
  });
});

test.each(IGNORANT)('%s: a model with it trains, frozen as it is', async (_, make) => {
  const {model, inputs} = make();
  const before = baseWeights(model);
  const adapted = applyLoRA(model, {rank: 2, seed: 1});
  const history = await train(adapted, inputs, {epochs: 4});
  const losses = history.history.loss as number[];
  expect(losses.at(-1)).toBeLessThan(losses[0]!);
  expect(baseWeights(adapted)).toEqual(before);
});

test('an adapted model with such layers is saved and loaded', async () => {
  const {model, inputs} = activations();
  const adapted = applyLoRA(model, {rank: 2});
  stirFactors(adapted);
  const again = await reloaded(adapted);
  expect(predictions(again, inputs)).toEqual(predictions(adapted, inputs));
  expect(predictions(removeLoRA(again), inputs)).toEqual(predictions(model, inputs));
});

test('an adapted model whose ignorant layer has a weight is saved and loaded, which tfjs alone cannot', async () => {
  const {model, inputs} = blocks();
  await expect(reloaded(model)).rejects.toThrow(/no target variable/);
  const adapted = applyLoRA(model, {rank: 2});
  stirFactors(adapted);
  const again = await reloaded(adapted);
  expect(predictions(again, inputs)).toEqual(predictions(adapted, inputs));
  expect(predictions(mergeLoRA(again), inputs)[0]).toBeAllClose(predictions(adapted, inputs)[0]!);
});

test('a new head goes after such a layer and consists of such layers', async () => {
  const {model, inputs} = activations();
  const headed = replaceHead(model, [tf.layers.dense({units: 2, name: 'new'}), new Gelu()]);
  const adapted = applyLoRA(headed, {rank: 2, seed: 1});
  await train(adapted, inputs, {epochs: 2});
  const file = new MemoryHandler();
  await saveAdapter(adapted, file);
  const again = applyLoRA(model, await loadAdapter(file));
  expect(predictions(again, inputs)).toEqual(predictions(adapted, inputs));
});

test('a new head goes on an autoencoder', () => {
  const {model, inputs} = autoencoder();
  const encoder = tf.model({inputs: model.inputs, outputs: model.outputs[0]!});
  const headed = replaceHead(encoder, [tf.layers.dense({units: 2, name: 'new'})], {after: 'decoder'});
  const adapted = applyLoRA(headed, {rank: 1});
  expect(predictions(adapted, inputs)).toEqual(predictions(headed, inputs));
});

test('layers before the first adapter of such a model run once', async () => {
  const {model, inputs} = activations();
  const adapted = applyLoRA(model, {rank: 2, targets: ['head'], seed: 1});
  adapted.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  const history = await fitOnFeatures(adapted, inputs[0]!, tf.ones([4, 3]), {epochs: 2, verbose: 0});
  expect(history.epoch).toEqual([0, 1]);
});

test('a model with a tied layer, which is refused, can be disposed', async () => {
  await withoutLeaks(() => {
    const tied = tf.layers.dense({units: 3, name: 'tied'});
    const inner = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [3]}), tied], name: 'inner'});
    const input = tf.input({shape: [3]});
    const model = tf.model({inputs: input, outputs: tied.apply(inner.apply(input)) as tf.SymbolicTensor});
    expect(() => applyLoRA(model)).toThrow(/is in the model twice/);
    disposeModel(model);
  });
});
