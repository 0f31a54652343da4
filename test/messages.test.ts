import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  compileModel,
  getAdapter,
  LoRAError,
  replaceHead,
  summarizeLoRA,
} from '../src/index';
import {embed} from '../src/transformers';
import {useBackend} from './helpers';

beforeAll(() => useBackend('cpu'));

const network = () =>
  tf.sequential({
    layers: [tf.layers.dense({units: 4, inputShape: [3], name: 'body'}), tf.layers.dense({units: 2, name: 'out'})],
  });

test.each<[string, (model: never) => unknown, string]>([
  [
    'compileModel(model)',
    model => (compileModel as (model: tf.LayersModel) => void)(model),
    'The options are missing. For example: compileModel(model, {optimizer: adam({learningRate: 1e-3})}).',
  ],
  ['compileModel(model, {})', model => compileModel(model, {} as never), 'compileModel needs an optimizer, such as'],
  [
    'embed(model, texts)',
    model => embed(model, ['a'] as never, undefined as never),
    'tokenizer must have a function encode',
  ],
])('%s gets a message of this library', async (_, call, message) => {
  const model = network();
  let error: unknown;
  try {
    await call(model as never);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(LoRAError);
  expect((error as Error).message).toContain(message);
});

test('an adapter says what it is', () => {
  const base = network();
  const textOf = (model: tf.LayersModel) => {
    const adapter = getAdapter(model);
    adapter.dispose();
    return String(adapter);
  };
  // [3, 2] and [2, 4], [4, 2] and [2, 2]
  expect(textOf(applyLoRA(base, {rank: 2, targets: ['body', 'out']}))).toBe(
    'LoRA adapter: 2 layers of rank 2, 26 parameters',
  );
  const headed = replaceHead(base, [tf.layers.dense({units: 5, name: 'new'})], {after: 'body'});
  expect(textOf(applyLoRA(headed, {targets: 'head'}))).toBe(
    'LoRA adapter: 0 layers, 1 trained in full, a new head after body, 25 parameters',
  );
});

test('a budget for an untrained adapter says that it is untrained', async () => {
  const model = applyLoRA(network(), {rank: 2, targets: ['body', 'out']});
  const adapter: Adapter = getAdapter(model);
  await expect(combineAdapters(adapter, {budget: 40})).rejects.toThrow('The updates are all 0, as before training');
  await expect(combineAdapters(adapter, {budget: 2})).rejects.toThrow('budget must be at least 6, which is what');
});

test('replaceHead proposes a place, and shows the last layers with weights', () => {
  const input = tf.input({shape: [4]});
  const dense = (name: string) => tf.layers.dense({units: 4, name});
  let x = input;
  for (let i = 0; i < 50; i++) {
    x = dense(`layer${i}`).apply(x) as tf.SymbolicTensor;
  }
  const sum = tf.layers
    .add({name: 'sum'})
    .apply([
      dense('left').apply(x) as tf.SymbolicTensor,
      dense('right').apply(x) as tf.SymbolicTensor,
    ]) as tf.SymbolicTensor;
  const model = tf.model({inputs: input, outputs: sum});
  expect(() => replaceHead(model, 3)).toThrow(
    "Name the last layer to keep, such as {after: 'layer49'}. The last layers with weights: layer46 (Dense), " +
      'layer47 (Dense), layer48 (Dense), layer49 (Dense), left (Dense), right (Dense).',
  );
});

test('a summary folds layers of one class whose reasons differ in shapes alone', () => {
  class Odd extends tf.layers.Layer {
    static readonly className = 'OddToFold';
    override build([, width]: number[]): void {
      this.addWeight('table', [width!, 2], 'float32', tf.initializers.zeros());
      this.built = true;
    }

    override call(x: tf.Tensor | tf.Tensor[]): tf.Tensor {
      return [x].flat()[0]!;
    }

    override computeOutputShape(shape: tf.Shape): tf.Shape {
      return shape;
    }
  }
  tf.serialization.registerClass(Odd);
  const layers = [3, 4, 5].flatMap((units, i) => [
    tf.layers.dense({units, name: `dense${i}`, ...(i === 0 && {inputShape: [3]})}),
    new Odd({name: `odd${i}`}),
  ]);
  const lines = String(summarizeLoRA(applyLoRA(tf.sequential({layers}), {targets: [/dense/]}))).split('\n');
  expect(lines.filter(line => line.includes('OddToFold'))).toEqual([
    'not adapted: odd0, odd1, odd2: LoRA does not know the class OddToFold.',
  ]);
});
