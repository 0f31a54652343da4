import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  type CombineOptions,
  getAdapter,
  type LoRAConfig,
  LoRAError,
  replaceHead,
  scaleAdapter,
  setAdapter,
  type WeightedAdapter,
} from 'tfjs-lora';
import {makeAdapter} from '../../../src/core/adapter/adapter';
import {numbers, withoutLeaks} from '../../helpers';
import {mlp, predictions, stirFactors} from '../../models';
import {plus, product, times, updateOf, written} from './adapters';

// Updates of [3, 2] kernels. ONE: s = 2/1 of rank 1; TWO: s = 1/√2·… of rank 2.
const ONE = {a: [[1], [2], [3]], b: [[1, -1]], alpha: 2};
const TWO = {
  a: [
    [1, 0],
    [0, 1],
    [1, 1],
  ],
  b: [
    [1, 2],
    [3, 4],
  ],
  alpha: Math.SQRT2,
  rankStabilized: true,
};
const ONE_UPDATE = [
  [2, -2],
  [4, -4],
  [6, -6],
];
const TWO_UPDATE = [
  [1, 2],
  [3, 4],
  [4, 6],
];

function entries(weights: number[], ...adapters: Adapter[]): WeightedAdapter[] {
  return adapters.map((adapter, i) => ({adapter, weight: weights[i]!}));
}

test('the exact sum is that of the updates, over different ranks, alphas and ways of scaling', async () => {
  const sum = await combineAdapters(entries([0.5, -3], written({x: ONE}), written({x: TWO})));
  expect(updateOf(sum, 'x').flat()).toBeAllClose(plus(times(ONE_UPDATE, 0.5), times(TWO_UPDATE, -3)).flat());
});

test('ranks add up, and a sum above min(fan-in, fan-out) is rewritten without loss', async () => {
  const wide = {a: [[1], [2]], b: [[1, 2, 3, 4]]};
  expect((await combineAdapters(entries([1, 1], written({x: wide}), written({x: wide})))).config.layers.x!.rank).toBe(
    2,
  );
  for (const [layer, update] of [
    [TWO, TWO_UPDATE],
    [wide, product(wide.a, wide.b)],
  ] as const) {
    const three = await combineAdapters(entries([1, 2, 3], ...[1, 2, 3].map(() => written({x: layer}))));
    expect(three.config.layers.x!.rank).toBe(2);
    expect(updateOf(three, 'x').flat()).toBeAllClose(times(update, 6).flat());
  }
});

test('a layer that one adapter alone has is scaled by its weight, even if negative, and keeps its rank', async () => {
  const sum = await combineAdapters(entries([2, -1], written({x: ONE}), written({y: TWO})));
  expect(updateOf(sum, 'x').flat()).toBeAllClose(times(ONE_UPDATE, 2).flat());
  expect(updateOf(sum, 'y').flat()).toBeAllClose(times(TWO_UPDATE, -1).flat());
  expect(sum.config.layers.y).toMatchObject({rank: 2, rankStabilized: true});
});

test('by svd the best approximation of the sum is kept', async () => {
  // 3·(1, 0)·(1, 0)ᵀ + 2·(0, 1)·(0, 1)ᵀ: of rank 1 the first is the best.
  const parts = entries([3, 2], written({x: {a: [[1], [0]], b: [[1, 0]]}}), written({x: {a: [[0], [1]], b: [[0, 1]]}}));
  const best = await combineAdapters(parts, {rank: 1});
  expect(updateOf(best, 'x').flat()).toBeAllClose([3, 0, 0, 0]);
  expect(best.config.layers.x).toMatchObject({rank: 1, alpha: 1});
  const whole = await combineAdapters(parts, {rank: 8});
  expect(updateOf(whole, 'x').flat()).toBeAllClose([3, 0, 0, 2]);
  expect(whole.config.layers.x!.rank).toBe(2);
});

test.each([
  // Trimmed to 2 of 4: [4, -3, 0, 0], [0, 5, 2, 0], [0, -4, 3, 0]. Signs by total: +, −, +; by number of signs: +, −,
  // +.
  ['total', [4, -3.5, 2.5, 0]],
  ['frequency', [4, -3.5, 2.5, 0]],
] as const)(
  'by ties entries are trimmed, a sign is elected by %s, and those of it are averaged',
  async (sign, expected) => {
    const updates = [
      [4, -3, 1, 0.5],
      [1, 5, 2, 0.5],
      [1, -4, 3, 0.5],
    ];
    const parts = updates.map(([p, q, r, s]) => ({
      adapter: written({
        x: {
          a: [
            [1, 0],
            [0, 1],
          ],
          b: [
            [p!, q!],
            [r!, s!],
          ],
        },
      }),
      weight: 1,
    }));
    const merged = await combineAdapters(parts, {method: 'ties', density: 0.5, majoritySign: sign, rank: 2});
    expect(updateOf(merged, 'x').flat()).toBeAllClose(expected);
  },
);

test('the sum of values and their number elect different signs', async () => {
  // The second entry: −1, −1, 5. Their sum is positive, most of them are negative.
  const parts = [-1, -1, 5].map(q => ({adapter: written({x: {a: [[1]], b: [[2, q]]}}), weight: 1}));
  for (const [majoritySign, second] of [
    ['total', 5],
    ['frequency', -1],
  ] as const) {
    const merged = await combineAdapters(parts, {method: 'ties', density: 1, majoritySign, rank: 1});
    expect(updateOf(merged, 'x').flat()).toBeAllClose([2, second]);
  }
});

test('by ties updates are merged with their scaling, and at least one entry is kept', async () => {
  // s = 2/1: twice [3, 4, 6, 8].
  const parts = entries([1], written({x: {a: [[1], [2]], b: [[3, 4]], alpha: 2}}));
  const all = await combineAdapters(parts, {method: 'ties', density: 1, rank: 1});
  expect(updateOf(all, 'x').flat()).toBeAllClose([6, 8, 12, 16]);
  const largest = await combineAdapters(parts, {method: 'ties', density: 0.1, rank: 1});
  expect(updateOf(largest, 'x').flat()).toBeAllClose([0, 0, 0, 16]);
});

test('by ties without a rank factors are merged each by themselves, as PEFT does', async () => {
  // Weights √(w·s): √(2·2) = 2 for the first, √(1·9) = 3 for the second.
  const parts = entries(
    [2, 1],
    written({x: {a: [[1], [4]], b: [[3, -1]], alpha: 2}}),
    written({x: {a: [[2], [-1]], b: [[1, 2]], alpha: 9}}),
  );
  const {config, tensors} = await combineAdapters(parts, {method: 'ties', density: 1});
  expect(config.layers.x).toMatchObject({rank: 1, alpha: 1});
  // A: (2·1 + 3·2)/2, and 4 outvotes −1: 2·4. B: (2·3 + 3·1)/2, and 2 outvotes −1: 3·2.
  expect(numbers(tensors['x/lora_A']!)).toBeAllClose([4, 8]);
  expect(numbers(tensors['x/lora_B']!)).toBeAllClose([4.5, 6]);
});

test('by dare entries are dropped at random, the same for the same seed, and the others rescaled', async () => {
  const ones = Array.from({length: 40}, () => new Array<number>(50).fill(1));
  const adapter = written({x: {a: ones.map(() => [1]), b: [ones[0]!]}});
  const merge = (seed: number) =>
    combineAdapters(entries([3], adapter), {method: 'dare', density: 0.25, seed, rank: 40});
  const [first, again, other] = [await merge(1), await merge(1), await merge(2)].map(each =>
    updateOf(each, 'x').flat(),
  );
  expect(again).toEqual(first);
  expect(other).not.toBeAllClose(first!, {atol: 1});
  const kept = first!.filter(value => Math.abs(value - 12) < 1e-3).length; // 3 / 0.25
  expect(kept + first!.filter(value => Math.abs(value) < 1e-3).length).toBe(2000);
  expect(Math.abs(kept - 500)).toBeLessThan(100); // five standard deviations
  const all = await combineAdapters(entries([3, -1], adapter, adapter), {method: 'dare', density: 1});
  // Factors by themselves: (√3·1 + 1·1)·(√3·1 − 1·1) = 2
  expect(updateOf(all, 'x').flat()).toBeAllClose(ones.flat().map(() => 2));
});

test('a combination sets and applies as the sum of what its adapters add to the kernels', async () => {
  const {model, inputs} = mlp();
  const donors = [
    {rank: 2, alpha: 3},
    {rank: 3, rankStabilized: true},
  ].map((config, i) => {
    const donor = applyLoRA(model, config);
    stirFactors(donor, 10 * i);
    return getAdapter(donor);
  });
  const sum = await combineAdapters(entries([0.7, -0.4], ...donors));
  const adapted = applyLoRA(model, {rank: 1});
  setAdapter(adapted, sum);
  const byHand = mlp().model;
  for (const name of ['hidden', 'head']) {
    const layer = byHand.getLayer(name);
    const [kernel, bias] = layer.getWeights() as [tf.Tensor2D, tf.Tensor];
    const updates = donors.map((donor, i) => times(updateOf(donor, name), [0.7, -0.4][i]!));
    layer.setWeights([tf.tensor2d(plus(kernel.arraySync(), ...updates)), bias]);
  }
  expect(predictions(adapted, inputs)[0]).toBeAllClose(predictions(byHand, inputs)[0]!);
  expect(predictions(applyLoRA(model, sum), inputs)).toEqual(predictions(adapted, inputs));
});

test.each<CombineOptions>([{}, {method: 'ties', density: 0.5}, {method: 'dare', density: 0.5}])(
  'combining with %j leaves nothing but its result',
  async options => {
    const parts = entries([1, 2], written({x: TWO, y: ONE}), written({x: TWO}));
    await withoutLeaks(async () => (await combineAdapters(parts, options)).dispose());
  },
);

test.each<CombineOptions>([{rank: 1}, {method: 'ties', density: 0.5, rank: 2}])(
  'compressing with %j leaves nothing but its result',
  async options => {
    const parts = entries([1, 2], written({x: TWO, y: ONE}), written({x: TWO}));
    await withoutLeaks(async () => (await combineAdapters(parts, options)).dispose());
  },
);

test('one adapter alone is compressed by itself, and is not changed', async () => {
  const adapter = written({x: TWO, y: ONE});
  const whole = await combineAdapters(adapter, {rank: 8});
  expect(updateOf(whole, 'x').flat()).toBeAllClose(TWO_UPDATE.flat());
  const {tensors, config} = await combineAdapters(adapter, {rank: 1});
  expect(tensors['x/lora_A']!.shape).toEqual([3, 1]);
  expect(config.layers.x!.rank).toBe(1);
  expect(updateOf(adapter, 'x').flat()).toBeAllClose(TWO_UPDATE.flat());
});

describe('combineAdapters', () => {
  test('gives exact sums of any sizes, ranks and weights', async () => {
    const size = fc.integer({min: 1, max: 5});
    const value = fc.integer({min: -8, max: 8});
    const layer = (m: number, n: number) =>
      fc.integer({min: 1, max: Math.min(m, n)}).chain(rank =>
        fc.record({
          a: fc.array(fc.array(value, {minLength: rank, maxLength: rank}), {minLength: m, maxLength: m}),
          b: fc.array(fc.array(value, {minLength: n, maxLength: n}), {minLength: rank, maxLength: rank}),
          alpha: fc.double({min: 0, max: 4, noNaN: true}),
          rankStabilized: fc.boolean(),
        }),
      );
    const parts = fc.tuple(size, size).chain(([m, n]) =>
      fc.array(fc.record({layer: layer(m, n), weight: fc.double({min: -3, max: 3, noNaN: true})}), {
        minLength: 1,
        maxLength: 4,
      }),
    );
    await fc.assert(
      fc.asyncProperty(parts, async drawn => {
        const given = drawn.map(({layer, weight}) => ({adapter: written({x: layer}), weight}));
        const expected = plus(...given.map(({adapter, weight}) => times(updateOf(adapter, 'x'), weight)));
        const sum = await combineAdapters(given);
        const scale = Math.max(1, ...expected.flat().map(Math.abs));
        expect(updateOf(sum, 'x').flat()).toBeAllClose(expected.flat(), {atol: 2e-5 * scale});
        const {rank} = sum.config.layers.x!;
        expect(rank).toBe(
          Math.min(
            drawn.reduce((total, {layer}) => total + layer.b.length, 0),
            expected.length,
            expected[0]!.length,
          ),
        );
        [...given.map(({adapter}) => adapter), sum].forEach(each => each.dispose());
      }),
      {numRuns: 200},
    );
  });

  test('gives each kernel of a layer that has several the rank that it can hold', async () => {
    const make = (rank: number) => {
      const small = Math.min(rank, 2);
      const [a, b] = [tf.ones([4, rank]), tf.ones([rank, 6])];
      const [ra, rb] = [tf.ones([2, small]), tf.ones([small, 6])];
      const config = {className: 'LSTM', rank, alpha: rank, rankStabilized: false, freezeBaseLayer: true};
      const tensors = {
        'x/kernel/lora_A': a,
        'x/kernel/lora_B': b,
        'x/recurrent_kernel/lora_A': ra,
        'x/recurrent_kernel/lora_B': rb,
      };
      return makeAdapter({layers: {x: config}, trainable: []}, tensors);
    };
    const parts = entries([1, 2], make(1), make(3));
    for (const each of [await combineAdapters(parts), await combineAdapters(parts, {rank: 3})]) {
      const {rank} = each.config.layers.x!;
      expect(each.tensors['x/kernel/lora_B']!.shape).toEqual([rank, 6]);
      expect(each.tensors['x/recurrent_kernel/lora_B']!.shape).toEqual([2, 6]);
      // 1·1 + 2·3, and 1·1 + 2·2 where the rank is 2
      expect(updateOf(each, 'x', 'kernel/').flat()).toBeAllClose(new Array(24).fill(7));
      expect(updateOf(each, 'x', 'recurrent_kernel/').flat()).toBeAllClose(new Array(12).fill(5));
    }
  });

  test('takes layers that are brought in full from the one adapter that brings them', async () => {
    const whole = (value: number) =>
      makeAdapter({layers: {}, trainable: ['head']}, {'head/kernel': tf.fill([2, 2], value)});
    const sum = await combineAdapters(entries([1, 0.5], written({x: ONE}), whole(3)));
    expect(sum.config.trainable).toEqual(['head']);
    expect(numbers(sum.tensors['head/kernel']!)).toEqual([3, 3, 3, 3]);
    const clash = () => combineAdapters(entries([1, 1], whole(3), whole(4)));
    await expect(clash).rejects.toThrow('head/kernel: trained in full in more than one adapter');
    await expect(clash).rejects.toThrow(
      'Fully trained weights cannot be added. Only one of the adapters may have any.',
    );
    const same = whole(5);
    expect(numbers((await combineAdapters(entries([1, 1], same, same))).tensors['head/kernel']!)).toEqual([5, 5, 5, 5]);
  });

  test('reports at once all that does not go together, and makes nothing', async () => {
    const head = {at: 'pool', layers: [{className: 'Dense', config: {name: 'new', units: 3}}]};
    const one = written({x: ONE, y: ONE});
    const other = written({x: {...ONE, className: 'Conv1D'}, y: {a: [[1], [2]], b: [[1, -1]]}, z: {...ONE, rank: 2}});
    const third = makeAdapter({layers: {}, trainable: ['z'], head}, {'z/kernel': tf.ones([1])});
    const fourth = makeAdapter({layers: {}, trainable: [], head: {...head, at: 'flat'}}, {'w/kernel': tf.ones([1])});
    const before = tf.memory().numTensors;
    const combine = () => combineAdapters(entries([1, 1, 1, 1], one, other, third, fourth));
    await expect(combine).rejects.toThrow(LoRAError);
    for (const line of [
      'x: Dense in one adapter, Conv1D in another',
      'y: kernels of shape [3, 2] in one adapter, [2, 2] in another',
      'z: adapted in one adapter, trained in full in another',
      'adapter 1: z: factors of rank 1, and 2 in the config',
      'adapter 3: w/kernel: belongs to no layer of the adapter',
      'one adapter has a new head after "pool": new (Dense), another a new head after "flat": new (Dense)',
    ]) {
      await expect(combine).rejects.toThrow(line);
    }
    other.dispose();
    await expect(combine).rejects.toThrow('Entry 1: The adapter was disposed: its x/lora_A is no longer there.');
    expect(tf.memory().numTensors).toBe(before - 6);
  });

  test.each<[object, string]>([
    [{method: 'cat'}, 'There is no method "cat". The methods are: exact, ties, dare.'],
    [{method: 'ties'}, "Method 'ties' needs an option such as density: 0.2."],
    [{method: 'dare', density: 0}, 'density must be above 0 and at most 1, got 0.'],
    [{density: 0.5}, 'Method \'exact\' has no option "density". It has: rank, budget, signal'],
    [
      {method: 'ties', density: 0.5, seed: 1},
      'Method \'ties\' has no option "seed". It has: density, majoritySign, rank',
    ],
    [{method: 'ties', density: 0.5, majoritySign: 'most'}, "majoritySign must be 'total' or 'frequency'"],
    [{method: 'dare', density: 0.5, seed: 0.5}, 'seed must be an integer, got 0.5.'],
    [{method: 'ties', density: 0.5}, "x: ranks 1, 2. 'ties' and 'dare' merge factors, which must be of one rank."],
  ])('refuses the options %j', async (options, message) => {
    const parts = entries([1, 1], written({x: ONE}), written({x: TWO}));
    await expect(combineAdapters(parts, options as CombineOptions)).rejects.toThrow(LoRAError);
    await expect(combineAdapters(parts, options as CombineOptions)).rejects.toThrow(message);
  });

  test('rejects what it cannot compress', async () => {
    const parts = entries([1, -1], written({x: ONE}), written({x: TWO}));
    const before = tf.memory().numTensors;
    for (const [options, message] of [
      [{rank: 0}, 'rank must be a whole number, 1 or more, got 0.'],
      [{budget: 0}, 'budget must be a number above 0, got 0.'],
      [null, 'The options must be an object'],
      [{rank: 1, density: 0.5}, 'Method \'exact\' has no option "density". It has: rank'],
      [{rank: 1, method: 'ties', density: 1}, 'needs positive weights'],
    ] as const) {
      await expect(combineAdapters(parts, options as CombineOptions)).rejects.toThrow(message);
    }
    await expect(combineAdapters(null as unknown as Adapter, {rank: 1})).rejects.toThrow('Pass a list of adapters');
    expect(tf.memory().numTensors).toBe(before);
  });

  test('combines an adapter of 10,000 layers within the time that a test has', async () => {
    const layers = Object.fromEntries(Array.from({length: 10_000}, (_, i) => [`layer${i}`, ONE]));
    const adapter = written(layers);
    expect(Object.keys((await combineAdapters(entries([1], adapter))).config.layers)).toHaveLength(10_000);
  });

  test('refuses what is no list of adapters with weights', async () => {
    await expect(combineAdapters([])).rejects.toThrow('which is not empty');
    await expect(combineAdapters([{adapter: written({x: ONE}), weight: NaN}, {} as WeightedAdapter])).rejects.toThrow(
      'Entry 0: weight must be a finite number, got NaN.\nEntry 1: Expected an adapter, as getAdapter and ' +
        'loadAdapter return it, got undefined.',
    );
  });
});

describe('what comes in full', () => {
  /** An adapter of layer x with its bias, or of that bias alone. */
  function withBias(value: number, {alone = false} = {}): Adapter {
    const {config, tensors} = written({x: {...ONE, trainBias: true}});
    const bias = {'x/bias': tf.fill([2], value)};
    return alone
      ? makeAdapter({layers: {}, trainable: [], biases: ['x']}, bias)
      : makeAdapter(config, {...tensors, ...bias});
  }

  test.each([
    ['an adapted layer', () => entries([2, 1], written({x: TWO}), withBias(3)), undefined],
    ['an adapted layer, which comes first', () => entries([1, 2], withBias(3), written({x: TWO})), undefined],
    [
      'a layer that another adapter adapts',
      () => entries([2, 1], written({x: TWO}), withBias(3, {alone: true})),
      undefined,
    ],
    ['a layer that none adapts', () => entries([2, 1], written({y: TWO}), withBias(3, {alone: true})), ['x']],
  ])('the bias of %s is taken as it is, whatever the weight', async (_, parts, alone) => {
    for (const sum of [await combineAdapters(parts()), await combineAdapters(parts(), {rank: 2})]) {
      expect(numbers(sum.tensors['x/bias']!)).toEqual([3, 3]);
      expect(sum.config.biases).toEqual(alone);
      expect(sum.config.layers.x?.trainBias).toBe(alone ? undefined : true);
    }
  });

  test('biases of two adapters do not add up, unless they are the same', async () => {
    for (const one of [withBias(3), withBias(3, {alone: true})]) {
      const combine = () => combineAdapters(entries([1, 1], one, withBias(4)));
      await expect(combine).rejects.toThrow('x/bias: trained in full in more than one adapter');
      await expect(combine).rejects.toThrow('Only one of the adapters may have any.');
    }
    const one = withBias(5);
    const twice = await combineAdapters(entries([1, 0.5], one, scaleAdapter(one, 2)));
    expect(numbers(twice.tensors['x/bias']!)).toEqual([5, 5]);
    expect(updateOf(twice, 'x').flat()).toBeAllClose(times(ONE_UPDATE, 2).flat());
  });

  test('a combination with biases of models sets and applies', async () => {
    const {model, inputs} = mlp();
    const [one, other] = [{bias: 'all'}, {}].map((config, i) => {
      const donor = applyLoRA(model, {...config, rank: 2, targets: ['head']} as LoRAConfig);
      stirFactors(donor, 10 * i);
      return donor;
    }) as [tf.LayersModel, tf.LayersModel];
    one.getLayer('hidden').trainableWeights.forEach(bias => bias.write(tf.fill(bias.shape as number[], 0.25)));
    const sum = await combineAdapters(entries([1, -1], getAdapter(one), getAdapter(other)));
    expect(sum.config.biases).toEqual(['hidden']);
    expect(sum.config.layers.head!.trainBias).toBe(true);
    const byHand = mlp().model;
    byHand.getLayer('hidden').setWeights([byHand.getLayer('hidden').getWeights()[0]!, tf.fill([6], 0.25)]);
    const [kernel, bias] = byHand.getLayer('head').getWeights() as [tf.Tensor2D, tf.Tensor];
    const updates = [one, other].map((donor, i) => times(updateOf(getAdapter(donor), 'head'), i === 0 ? 1 : -1));
    byHand.getLayer('head').setWeights([tf.tensor2d(plus(kernel.arraySync(), ...updates)), bias]);
    expect(predictions(applyLoRA(model, sum), inputs)[0]).toBeAllClose(predictions(byHand, inputs)[0]!);
    setAdapter(one, sum);
    expect(predictions(one, inputs)[0]).toBeAllClose(predictions(byHand, inputs)[0]!);
    expect(() => setAdapter(other, sum)).toThrow('hidden: with its bias in the adapter, which the model keeps frozen');
  });

  test('a head goes along with its weights, from one adapter or from several that share them', async () => {
    const {model, inputs} = mlp();
    const adapted = applyLoRA(replaceHead(model, [tf.layers.dense({units: 3, name: 'classes'})]), {rank: 2});
    stirFactors(adapted);
    const own = getAdapter(adapted);
    const without = getAdapter(applyLoRA(model, {rank: 2, targets: ['hidden']}));
    for (const parts of [entries([1, 3], own, without), entries([0.5, 0.5], own, own)]) {
      const sum = await combineAdapters(parts);
      expect(sum.config.head).toEqual(own.config.head);
      expect(predictions(applyLoRA(model, sum), inputs)[0]).toBeAllClose(predictions(adapted, inputs)[0]!);
    }
  });

  test('updates of other weights of a layer do not go together', async () => {
    const named = (...names: string[]) =>
      makeAdapter(
        {
          layers: {
            x: {
              ...written({x: ONE}).config.layers.x!,
              className: 'Own',
              weights: names.map(name => ({name, outAxes: 1})),
            },
          },
          trainable: [],
        },
        Object.fromEntries(
          names.flatMap(name => {
            const prefix = names.length > 1 ? `x/${name}/` : 'x/';
            return [[`${prefix}lora_A`, tf.tensor2d(ONE.a)] as const, [`${prefix}lora_B`, tf.tensor2d(ONE.b)] as const];
          }),
        ),
      );
    await expect(combineAdapters(entries([1, 1], named('p'), named('q')))).rejects.toThrow(
      'x: updates p in one adapter, q in another',
    );
    await expect(combineAdapters(entries([1, 1], named('p', 'q'), named('p')))).rejects.toThrow(
      'x: updates p, q in one adapter, p in another',
    );
    const sum = await combineAdapters(entries([1, 2], named('p', 'q'), named('q', 'p')));
    expect(updateOf(sum, 'x', 'p/').flat()).toBeAllClose(times(ONE_UPDATE, 3).flat());
    expect(sum.config.layers.x!.weights).toEqual([
      {name: 'p', outAxes: 1},
      {name: 'q', outAxes: 1},
    ]);
  });
});
