import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {drawEmoji, SIZE} from '../../examples/graph/emoji';
import type {Mail} from '../../examples/graph/mail';
import {makeCutter, type Vocabulary} from '../../examples/graph/pieces';
import {accuracyOfGraph, fineTune, type Task} from '../../examples/graph/story';
import {emojiTask, spamTask} from '../../examples/graph/tasks';
import {fluentEmoji} from '../../examples/shared/emoji';
import {writeTuned} from '../../examples/shared/writeTuned';
import {nsfwMid} from '../../scripts/graphModels/files';
import {graphOf, input, node} from '../extensions/graph/graphs';
import {random, useBackend, withoutLeaks} from '../helpers';
import {MemoryHandler} from '../models';

// The example, run on few pictures; and on a sentence encoder that is a small one like USE-Lite, whose package is not
// installed.

/** Trains by each method, and gives their accuracies and that of the graph which was written and loaded. */
async function outcomeOf(task: Task): Promise<Record<'probe' | 'lora' | 'full' | 'again', number>> {
  const {results, models} = await fineTune(task, () => undefined);
  const accuracies = Object.fromEntries(results.map(({method, accuracies: [first]}) => [method, first!]));
  const tuned = await writeTuned(task.graph, models.lora!, {adapter: new MemoryHandler(), graph: new MemoryHandler()});
  const again = await accuracyOfGraph(task, tuned);
  tuned.dispose();
  [...Object.values(models), task.body].forEach(disposeModel);
  tf.dispose([task.train, task.test] as unknown as tf.TensorContainer);
  return {...(accuracies as Record<'probe' | 'lora' | 'full', number>), again};
}

test('a real classifier learns to sort emoji, and its graph is written and loaded again', async () => {
  await useBackend('wasm');
  const graph = await tf.loadGraphModel(await nsfwMid(SIZE));
  await withoutLeaks(async () => {
    const drawings = drawEmoji(fluentEmoji(), {train: 16, test: 40}, 1);
    const epochs = {probe: 3, lora: 3, full: 3};
    const task = await emojiTask(graph, drawings, {epochs, rates: {lora: 3e-3}, batch: 8, seeds: [1], rank: 4});
    const {lora, again} = await outcomeOf(task);
    expect(lora).toBeGreaterThan(1 / 8); // of eight categories
    expect(again).toBeCloseTo(lora, 1); // in 16 bits
    tf.dispose(drawings as unknown as tf.TensorContainer);
  });
}, 300_000);

const WORDS = ['meeting', 'notes', 'patch', 'release', 'cheap', 'offer', 'money', 'winner'];
const VOCABULARY: Vocabulary = [...Array.from({length: 6}, (_, i) => `<${i}>`), ...WORDS.map(word => `▁${word}`)].map(
  piece => [piece, -3],
);

/** Words as vectors whose mean is looked at: what is in front is as in USE-Lite. */
function smallEncoder(): Promise<tf.GraphModel> {
  const encoder = 'module_apply_default/Encoder_en/KonaTransformer/Encode/';
  return graphOf(
    [
      input('indices', [-1, 2], 'DT_INT32'),
      input('values', [-1], 'DT_INT32'),
      node('known', 'Greater', ['values', 'zero']),
      node('places', 'Where', ['known']),
      node('taken', 'Reshape', ['places', 'flat']),
      node('own', 'GatherV2', ['values', 'taken', 'zero']),
      node('ends', 'Max', ['indices', 'zero']),
      node('size', 'Add', ['ends', 'one']),
      node(`${encoder}SparseToDense`, 'SparseToDense', ['indices', 'size', 'own', 'zero']),
      node(`${encoder}Scatter/ScatterNd`, 'GatherV2', ['table', `${encoder}SparseToDense`, 'zero']),
      node('mask', 'Cast', [`${encoder}SparseToDense`], {SrcT: {type: 'DT_INT32'}, DstT: {type: 'DT_FLOAT'}}),
      node('shown', 'ExpandDims', ['mask', 'last']),
      node('scaled', 'Mul', [`${encoder}Scatter/ScatterNd`, 'shown']),
      node('mean', 'Mean', ['scaled', 'one']),
      node('hidden', 'MatMul', ['mean', 'kernel']),
      node('y', 'Tanh', ['hidden']),
    ],
    {
      zero: tf.scalar(0, 'int32'),
      one: tf.scalar(1, 'int32'),
      last: tf.scalar(-1, 'int32'),
      flat: tf.tensor1d([-1], 'int32'),
      table: random([VOCABULARY.length, 256], 1, 0.1),
      kernel: random([256, 16], 2, 0.1),
    },
  );
}

/** Texts of three words, of which one is a word of spam or none. */
function mails(count: number): Mail[] {
  return Array.from({length: count}, (_, i) => {
    const spam = i % 2 === 1;
    const words = [WORDS[i % 4]!, WORDS[(spam ? 4 : 0) + (i % 3)]!, WORDS[(3 * i) % 4]!];
    return {text: words.join(' '), spam};
  });
}

test(
  'an encoder behind what no layer computes learns to tell spam, and its graph is written and ' + 'loaded again',
  async () => {
    await useBackend('wasm');
    const graph = await smallEncoder();
    await withoutLeaks(async () => {
      const epochs = {probe: 3, lora: 12, full: 12};
      const data = {train: mails(48), test: mails(24)};
      const task = await spamTask(graph, VOCABULARY, data, {
        epochs,
        rates: {probe: 3e-3, lora: 1e-2},
        batch: 16,
        seeds: [1],
        rank: 4,
      });
      const {lora, again} = await outcomeOf(task);
      expect(lora).toBeGreaterThan(0.9);
      expect(again).toBe(lora);
    });
  },
);

test('a text is cut into the pieces that are likeliest together', () => {
  const cut = makeCutter([
    ...Array.from({length: 6}, (_, i) => [`<${i}>`, 0] as const),
    ['▁', -2],
    ['a', -3],
    ['b', -3],
    ['ab', -4],
    ['▁a', -9],
    ['ba', -8],
  ]);
  // '▁' + 'ab' + 'a' is −9; '▁a' + 'ba' is −17.
  expect(cut(' aba ')).toEqual([6, 9, 7]);
  expect(cut('ab  b')).toEqual([6, 9, 6, 8]);
  // What is in no piece is one unknown, however long.
  expect(cut('a??b')).toEqual([6, 7, 0, 8]);
});
