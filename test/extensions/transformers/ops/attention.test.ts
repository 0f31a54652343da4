import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import type {AttentionInputs, AttentionSettings} from '../../../../src/extensions/transformers/kernels/transformer';
import {attention} from '../../../../src/extensions/transformers/ops/attention';
import '../../../../src/transformers';
import {BACKENDS, numbers, random, useBackend, withoutLeaks} from '../../../helpers';

interface Sizes {
  batch: number;
  queries: number;
  keys: number;
  size: number;
  keyValueHeads: number;
  group: number;
}

/** Which keys a query sees by their positions, and the soft cap of the scores. */
type Order = Pick<AttentionSettings, 'causal' | 'window' | 'softCap'>;

function settingsFor({keyValueHeads, group, size}: Sizes, order: Order): AttentionSettings {
  return {heads: keyValueHeads * group, keyValueHeads, scale: 1 / Math.sqrt(size), ...order};
}

function inputsFor({batch, queries, keys, size, keyValueHeads, group}: Sizes): [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D] {
  return [
    random<tf.Rank.R3>([batch, queries, keyValueHeads * group * size], 1),
    random<tf.Rank.R3>([batch, keys, keyValueHeads * size], 2),
    random<tf.Rank.R3>([batch, keys, keyValueHeads * size], 3),
  ];
}

/**
 * Attention as the paper has it, in operations of tfjs that have gradients of their own, a head of keys for each of
 * queries.
 */
function plainAttention(
  q: tf.Tensor3D,
  k: tf.Tensor3D,
  v: tf.Tensor3D,
  mask: tf.Tensor | null,
  {heads, keyValueHeads, scale, causal, window, softCap}: AttentionSettings,
  bias?: tf.Tensor,
): tf.Tensor {
  const [batch, queries, width] = q.shape;
  const keys = k.shape[1];
  const size = width / heads;
  const group = heads / keyValueHeads;
  const seen = tf.tidy(() => {
    const ones = tf.ones([batch, 1, queries, keys]);
    const order = Array.from({length: queries}, (_, query) =>
      Array.from({length: keys}, (_, key) => {
        const position = query + keys - queries;
        const isNear = window == null || Math.abs(key - position) < window;
        return isNear && (!causal || key <= position) ? 1 : 0;
      }),
    );
    const all = tf.mul(ones, tf.tensor2d(order));
    return mask ? tf.mul(all, tf.reshape(mask, [batch, 1, 1, keys])) : all;
  });
  const split = (x: tf.Tensor3D, count: number) =>
    tf.transpose(tf.reshape(x, [batch, x.shape[1], count, size]), [0, 2, 1, 3]);
  const repeated = (x: tf.Tensor3D) => {
    const byHead = tf.reshape(split(x, keyValueHeads), [batch * keyValueHeads, 1, keys * size]);
    return tf.reshape(tf.tile(byHead, [1, group, 1]), [batch, heads, keys, size]);
  };
  const scaled = tf.mul(tf.matMul(split(q, heads), repeated(k), false, true), scale);
  const products = softCap == null ? scaled : tf.mul(tf.tanh(tf.div(scaled, softCap)), softCap);
  const scores = bias === undefined ? products : tf.add(products, tf.tile(bias, [batch / bias.shape[0], 1, 1, 1]));
  const weights = tf.mul(tf.softmax(tf.add(scores, tf.mul(tf.sub(1, seen), -1e9))), seen);
  return tf.reshape(tf.transpose(tf.matMul(weights, repeated(v)), [0, 2, 1, 3]), [batch, queries, width]);
}

/** The result and the gradients in the inputs for a random gradient of the result. */
function withGradients(tensors: tf.Tensor[], compute: (...tensors: tf.Tensor[]) => tf.Tensor): number[][] {
  const y = compute(...tensors);
  const dy = random(y.shape, 9);
  const gradients = tf.grads((...xs: tf.Tensor[]) => tf.sum(tf.mul(compute(...xs), dy)))(tensors);
  return [y, ...gradients].map(tensor => [...tensor.dataSync()]);
}

async function expected(sizes: Sizes, order: Order, mask: number[] | null, by = 'cpu'): Promise<number[][]> {
  await useBackend(by);
  return tf.tidy(() => {
    const masks = mask && tf.tensor(mask, [sizes.batch, sizes.keys]);
    return withGradients(inputsFor(sizes), (q, k, v) =>
      plainAttention(q as tf.Tensor3D, k as tf.Tensor3D, v as tf.Tensor3D, masks, settingsFor(sizes, order)),
    );
  });
}

const tolerance = {rtol: 1e-4, atol: 2e-5};

/** @param by the backend of the plain operations. On cpu large ones take long. */
async function expectPlain(
  backend: string,
  sizes: Sizes,
  order: Order,
  mask: number[] | null,
  by = 'cpu',
): Promise<void> {
  const wanted = await expected(sizes, order, mask, by);
  await useBackend(backend);
  await withoutLeaks(() =>
    tf.tidy(() => {
      const masks = mask && tf.tensor(mask, [sizes.batch, sizes.keys]);
      const actual = withGradients(inputsFor(sizes), (q, k, v) =>
        attention({q, k, v} as AttentionInputs, masks, settingsFor(sizes, order)),
      );
      actual.forEach((values, i) => expect(values).toBeAllClose(wanted[i]!, tolerance));
    }),
  );
}

describe.each(BACKENDS)('on %s attention', backend => {
  test('gives for one token its value', async () => {
    await useBackend(backend);

    const [q, k, v] = inputsFor({batch: 1, queries: 1, keys: 1, size: 5, keyValueHeads: 2, group: 1});
    const y = attention({q, k, v}, null, {heads: 2, keyValueHeads: 2, scale: 3, causal: true});
    expect([...y.dataSync()]).toBeAllClose([...v.dataSync()]);
  });

  test('weighs two keys by hand', async () => {
    await useBackend(backend);

    const q = tf.tensor3d([2], [1, 1, 1]);
    const k = tf.tensor3d([1, -1], [1, 2, 1]);
    const v = tf.tensor3d([10, 20], [1, 2, 1]);
    const y = attention({q, k, v}, null, {heads: 1, keyValueHeads: 1, scale: 0.5, causal: false});
    const weight = Math.exp(1) / (Math.exp(1) + Math.exp(-1));
    expect([...y.dataSync()]).toBeAllClose([10 * weight + 20 * (1 - weight)]);
  });

  test('computes what plain operations compute, and its gradients, whatever the sizes', async () => {
    const sizes = fc.record({
      batch: fc.integer({min: 1, max: 3}),
      queries: fc.integer({min: 1, max: 11}),
      keys: fc.integer({min: 1, max: 13}),
      size: fc.integer({min: 1, max: 11}),
      keyValueHeads: fc.integer({min: 1, max: 2}),
      group: fc.integer({min: 1, max: 3}),
    });
    await fc.assert(
      fc.asyncProperty(
        sizes,
        fc.boolean(),
        fc.option(fc.integer({min: 1, max: 14})),
        fc.option(fc.constantFrom(0.03, 0.5, 20)),
        fc.boolean(),
        fc.infiniteStream(fc.constantFrom(0, 1, 1)),
        async (chosen, causal, window, softCap, masked, bits) => {
          const {batch, keys, queries} = chosen;
          const fitting = {...chosen, queries: causal ? Math.min(queries, keys) : queries};
          const mask = masked ? Array.from({length: batch * keys}, () => bits.next().value as number) : null;
          await expectPlain(backend, fitting, {causal, window, softCap}, mask);
        },
      ),
      {numRuns: 40},
    );
  });

  test.each([false, true])(
    'a query that may see nothing gets zeros and gives no gradient (causal: %s)',
    async causal => {
      const order = {causal};
      const sizes = {batch: 2, queries: 3, keys: 3, size: 4, keyValueHeads: 1, group: 2};
      await expectPlain(backend, sizes, order, [0, 0, 0, 1, 1, 0]);
      await useBackend(backend);

      const [q, k, v] = inputsFor(sizes);
      const y = attention({q, k, v}, tf.tensor([0, 0, 0, 1, 1, 0], [2, 3]), settingsFor(sizes, order));
      expect([...tf.slice(y, 0, 1).dataSync()]).toEqual(new Array(24).fill(0));
    },
  );

  test.each([
    ['a bias', 1],
    ['a bias for every second example', 2],
    ['a bias for each example', 4],
  ])('adds %s, and gives its gradient', async (_, examples) => {
    for (const order of [{causal: false}, {causal: true, window: 3}, {causal: true, softCap: 0.4}]) {
      const sizes = {batch: 4, queries: 5, keys: 7, size: 3, keyValueHeads: 2, group: 2};
      const settings = settingsFor(sizes, order);
      const mask = Array.from({length: 28}, (_, i) => Number(i !== 3 && i !== 13 && i !== 20));
      const withBias = async (by: string, compute: typeof plainAttention) => {
        await useBackend(by);
        return tf.tidy(() => {
          const masks = tf.tensor(mask, [4, 7]);
          const inputs = [...inputsFor(sizes), random<tf.Rank.R4>([examples, 4, 5, 7], 4)];
          return withGradients(inputs, (q, k, v, bias) =>
            compute(q as tf.Tensor3D, k as tf.Tensor3D, v as tf.Tensor3D, masks, settings, bias),
          );
        });
      };
      const wanted = await withBias('cpu', plainAttention);
      const actual = await withBias(backend, (q, k, v, masks, given, bias) =>
        attention({q, k, v, bias: bias!}, masks, given),
      );
      expect(actual).toHaveLength(5);
      actual.forEach((values, i) => expect(values).toBeAllClose(wanted[i]!, tolerance));
    }
  });

  test('keeps examples in one row apart, and gives the gradient of a bias that they share', async () => {
    const sizes = {batch: 2, queries: 5, keys: 5, size: 3, keyValueHeads: 2, group: 2};
    const settings = settingsFor(sizes, {causal: false});
    const examples = [[0, 0, 1, 1, 1], [0, 1, 1, 1, 2]]; // prettier-ignore
    const hidden = examples.map(row => [row.map(query => row.map(key => (query === key ? 0 : -1e9)))]);
    const withBias = async (by: string, compute: typeof plainAttention) => {
      await useBackend(by);
      return tf.tidy(() =>
        withGradients([...inputsFor(sizes), random<tf.Rank.R4>([1, 4, 5, 5], 4)], (q, k, v, bias) =>
          compute(q as tf.Tensor3D, k as tf.Tensor3D, v as tf.Tensor3D, null, settings, bias),
        ),
      );
    };
    const wanted = await withBias('cpu', (q, k, v, mask, given, bias) =>
      plainAttention(q, k, v, mask, given, tf.add(bias!, tf.tensor4d(hidden))),
    );
    const actual = await withBias(backend, (q, k, v, _, given, bias) =>
      attention({q, k, v, bias: bias!}, tf.concat([tf.ones([2, 5]), tf.tensor2d(examples)], 1), given),
    );
    actual.forEach((values, i) => expect(values).toBeAllClose(wanted[i]!, tolerance));
  });

  test('of one packed tensor computes what it computes of its three parts', async () => {
    const sizes = {batch: 2, queries: 5, keys: 5, size: 3, keyValueHeads: 2, group: 2};
    const order = {causal: true, window: 3};
    const [y, ...gradients] = await expected(sizes, order, null);
    await useBackend(backend);

    const packed = tf.concat(inputsFor(sizes), 2);
    const [actual, gradient] = withGradients([packed], x =>
      attention({packed: x as tf.Tensor3D}, null, settingsFor(sizes, order)),
    );
    expect(actual!).toBeAllClose(y!, tolerance);
    const parts = [12, 6, 6].map((width, i) => tf.tensor(gradients[i]!, [2, 5, width]));
    expect(gradient!).toBeAllClose([...tf.concat(parts, 2).dataSync()], tolerance);
  });

  test('keeps nothing of the size of queries times keys for the backward pass', async () => {
    await useBackend(backend);
    const [q, k, v] = inputsFor({batch: 1, queries: 96, keys: 96, size: 2, keyValueHeads: 1, group: 1});
    const settings = {heads: 1, keyValueHeads: 1, scale: 1, causal: false};
    let held = 0;
    const before = tf.memory().numBytes;
    const gradient = tf.grad(x => {
      const y = attention({q: x as tf.Tensor3D, k, v}, null, settings);
      held = tf.memory().numBytes - before;
      return tf.sum(y);
    })(q);
    expect(held).toBeLessThan(4 * 96 * 96);
    tf.dispose([q, k, v, gradient]);
  });
});

describe('on wasm more queries than are held at a time', () => {
  test.each<[order: string, Order, queries: number]>([
    ['that see all keys', {causal: false}, 700],
    ['that see those before them', {causal: true}, 700],
    ['of which the first have many before them', {causal: true}, 300],
    ['that see a few', {causal: true, window: 5}, 700],
    ['that see more of them than are held', {causal: true, window: 301}, 700],
    ['that see both sides', {causal: false, window: 90}, 700],
    ['with a soft cap', {causal: true, window: 90, softCap: 0.3}, 700],
    ['that see both sides, the first with many before them', {causal: false, window: 33}, 301],
  ])('give what plain operations give: %s', async (_, order, queries) => {
    const sizes = {batch: 1, queries, keys: 700, size: 2, keyValueHeads: 1, group: 2};
    await expectPlain('wasm', sizes, order, null, 'wasm');
    const masked = Array.from({length: 700}, (_, i) => (i % 7 === 3 || (i > 100 && i < 120) ? 0 : 1));
    await expectPlain('wasm', sizes, order, masked, 'wasm');
  });
});

test('a window wider than the text changes no bit', async () => {
  await useBackend('wasm');

  const sizes = {batch: 1, queries: 9, keys: 9, size: 3, keyValueHeads: 1, group: 1};
  const [q, k, v] = inputsFor(sizes);
  const of = (window: number | null) =>
    attention({q, k, v}, null, settingsFor(sizes, {causal: true, window})).dataSync();
  expect(of(9)).toEqual(of(null));
  expect(of(8)).not.toEqual(of(null));
});

test.each([3, 16, 22, 64])(
  'on wasm one query gets the bits that it gets among others, heads of %i values',
  async size => {
    await useBackend('wasm');

    for (const keys of [2, 7, 8, 41]) {
      for (const [window, softCap] of [[null], [5], [13], [5, 0.2]] as const) {
        const sizes = {batch: 2, queries: 2, keys, size, keyValueHeads: 2, group: 3};
        const [q, k, v] = inputsFor(sizes);
        const mask = tf.tensor2d(
          Array.from({length: 2 * keys}, (_, i) => (i % 6 === 1 ? 0 : 1)),
          [2, keys],
        );
        const lastOf = (x: tf.Tensor3D) => tf.slice3d(x, [0, x.shape[1] - 1, 0], [-1, 1, -1]);
        const settings = settingsFor(sizes, {causal: true, window, softCap});
        const among = attention({q, k, v}, mask, settings);
        const alone = attention({q: lastOf(q), k, v}, mask, settings);
        expect(numbers(alone)).toEqual(numbers(lastOf(among)));
      }
    }
  },
);
