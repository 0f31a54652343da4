import * as tf from '@tensorflow/tfjs';
import {getAdapter, setAdapter} from '../../../src/core/model/currentAdapter';
import {predictWith} from '../../../src/core/model/predictWith';
import {saveAdapter} from '../../../src/core/peft/saveAdapter';
import {loadAdapter} from '../../../src/core/peft/loadAdapter';
import {applyLoRA} from '../../../src/core/model/apply';
import {disposeModel} from '../../../src/core/rewire/dispose';
import {fitOnFeatures} from '../../../src/core/model/fitOnFeatures';
import {replaceHead} from '../../../src/core/head/replaceHead';
import {mergeLoRA, removeLoRA} from '../../../src/core/model/restore';
import {summarizeLoRA} from '../../../src/core/model/summary';
import {sitesOf} from '../../../src/core/rewire/walk';
import {Gelu, IGNORANT, activations, autoencoder, blocks} from '../../ignorantLayers';
import {numbers, withoutLeaks} from '../../helpers';
import {baseWeights, MemoryHandler, predictions, reloaded, stirFactors, train} from '../../models';

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
