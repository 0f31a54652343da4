import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  disposeModel,
  getAdapter,
  LoRAError,
  predictWith,
  setAdapter,
  withAdapter,
} from 'tfjs-lora';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {baseWeights, mlp, multi, predictions, stirFactors} from '../../models';

/** Adapters of different ranks for a model. */
function adaptersFor(model: tf.LayersModel, ranks: number[]): Adapter[] {
  return ranks.map((rank, i) => {
    const donor = applyLoRA(model, {rank});
    stirFactors(donor, 10 * i);
    const adapter = getAdapter(donor);
    disposeModel(donor);
    return adapter;
  });
}

function rowsOf(tensor: tf.Tensor): number[][] {
  const values = numbers(tensor);
  const width = values.length / tensor.shape[0];
  return Array.from({length: tensor.shape[0]}, (_, i) => values.slice(i * width, (i + 1) * width));
}

test('each row is predicted under its own adapter, as by itself; the former adapter is back then', async () => {
  const {model, inputs} = mlp();
  const [one, other] = adaptersFor(model, [1, 3]) as [Adapter, Adapter];
  const adapted = applyLoRA(model, {rank: 2});
  stirFactors(adapted, 70);
  const before = predictions(adapted, inputs);
  const x = random<tf.Rank.R2>([7, 5], 3);
  const adapters = [other, null, one, other, one, null, other];
  await withoutLeaks(() => {
    const together = predictWith(adapted, x, adapters, {batchSize: 2}) as tf.Tensor;
    rowsOf(together).forEach((row, i) => {
      const alone = tf.tidy(() =>
        withAdapter(adapted, adapters[i]!, () => numbers(adapted.predict(tf.slice(x, i, 1)) as tf.Tensor)),
      );
      expect(row).toBeAllClose(alone);
    });
    together.dispose();
  });
  expect(predictions(adapted, inputs)).toEqual(before);
  expect(baseWeights(adapted)).toEqual(baseWeights(model));
});

test('several inputs and outputs go together', () => {
  const {model, inputs} = multi();
  const [one, other] = adaptersFor(model, [1, 2]) as [Adapter, Adapter];
  const adapted = applyLoRA(model, {rank: 2});
  const under = (adapter: Adapter) =>
    withAdapter(adapted, adapter, () => (adapted.predict(inputs) as tf.Tensor[]).map(rowsOf));
  const expected = [under(other), under(one)];
  const outputs = predictWith(adapted, inputs, [one, other, other, one]) as tf.Tensor[];
  expect(outputs).toHaveLength(2);
  outputs.forEach((output, i) => {
    rowsOf(output).forEach((row, j) => {
      expect(row).toBeAllClose(expected[j === 1 || j === 2 ? 0 : 1]![i]![j]!);
    });
  });
  const same = predictWith(adapted, inputs, [one, one, one, one]) as tf.Tensor[];
  expect(same.map(numbers)).toEqual(under(one).map(rows => rows.flat()));
});

test('what does not fit is refused, and nothing is changed', async () => {
  await useBackend('cpu');
  const {model, inputs} = mlp();
  const [one] = adaptersFor(model, [2]) as [Adapter];
  const adapted = applyLoRA(model, {rank: 2, targets: ['head']});
  stirFactors(adapted, 70);
  const before = predictions(adapted, inputs);
  const x = inputs[0]!;
  await withoutLeaks(() => {
    expect(() => predictWith(adapted, x, [null, null])).toThrow(LoRAError);
    expect(() => predictWith(adapted, x, [null, null])).toThrow('for each of the 4 rows, got 2.');
    expect(() => predictWith(adapted, x, [null, null, null, one])).toThrow('hidden: adapted in the adapter');
    expect(() => predictWith(adapted, x, [null, null, null, 'one' as unknown as null])).toThrow(
      'adapters[3]: Expected an adapter',
    );
    const own = getAdapter(adapted);
    const broken = {...own, config: {...own.config}};
    setAdapter(adapted, broken);
    // A wrong input makes `predict` itself fail, under the second adapter.
    const wrong = tf.ones([4, 6]);
    expect(() => predictWith(adapted, wrong, [null, own, null, own])).toThrow();
    tf.dispose(wrong);
    own.dispose();
  });
  expect(predictions(adapted, inputs)).toEqual(before);
  expect(() => predictWith(model, x, [null, null, null, null])).toThrow('The model has no LoRA layers.');
});

test('several inputs must have a row each for each adapter', async () => {
  await useBackend('cpu');
  const {model, inputs} = multi();
  const adapted = applyLoRA(model, {rank: 1});
  const own = getAdapter(adapted);
  const [first, second] = inputs as [tf.Tensor, tf.Tensor];
  const short = tf.slice(second, 0, 3);
  const long = tf.concat([second, second]);
  for (const adapters of [
    [own, null, own, null],
    [own, own, own, own],
  ]) {
    await withoutLeaks(() => {
      expect(() => predictWith(adapted, [first, short], adapters)).toThrow(LoRAError);
      expect(() => predictWith(adapted, [first, short], adapters)).toThrow('the same number of rows, got 4, 3.');
      expect(() => predictWith(adapted, [first, long], adapters)).toThrow('the same number of rows, got 4, 8.');
    });
  }
  const list = [[1, 2, 3]] as unknown as tf.Tensor;
  expect(() => predictWith(adapted, list, [own])).toThrow(LoRAError);
  expect(() => predictWith(adapted, list, [own])).toThrow('or a list of tensors for several inputs, got an array');
});
