import * as tf from '@tensorflow/tfjs';
import {
  Attention,
  type AttentionArgs,
  FusedLayerNormalization,
  GatedActivation,
  Gelu,
  PositionEmbedding,
  RMSNormalization,
  type Rotary,
  SequencePooling,
  TypeEmbedding,
} from 'tfjs-lora/transformers';
import {numbers, random, withoutLeaks} from '../../../helpers';
import {reloaded} from '../../../models';
import {Scaling} from '../../../../src/extensions/transformers/layers/scaling';

const three = (positions: number, width: number, keyWidth = width) => [
  random<tf.Rank.R3>([2, positions, width], 1),
  random<tf.Rank.R3>([2, positions, keyWidth], 2),
  random<tf.Rank.R3>([2, positions, keyWidth], 3),
];

describe('attention', () => {
  test.each<[string, AttentionArgs]>([
    ['with plain positions', {heads: 2, causal: true, cache: true}],
    [
      'with rotary positions and shared keys',
      {heads: 4, keyValueHeads: 2, causal: true, cache: true, rotary: {base: 50}},
    ],
    ['with a window', {heads: 2, causal: true, cache: true, window: 2}],
  ])('that goes position by position, %s, gives what it gives at once', async (_, args) => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const [q, k, v] = three(5, 8, args.keyValueHeads === undefined ? 8 : 4) as [
          tf.Tensor3D,
          tf.Tensor3D,
          tf.Tensor3D,
        ];
        const atOnce = new Attention({...args, cache: false});
        const stepwise = new Attention(args);
        const whole = atOnce.apply([q, k, v]) as tf.Tensor3D;
        let past = [tf.zeros([2, 0, k.shape[2]]), tf.zeros([2, 0, v.shape[2]])];
        const parts = [2, 1, 1, 1].reduce<{from: number; parts: tf.Tensor3D[]}>(
          ({from, parts: former}, count) => {
            const at = (x: tf.Tensor3D) => tf.slice(x, [0, from, 0], [2, count, -1]);
            const [y, ...cache] = stepwise.apply([at(q), at(k), at(v), ...past]) as tf.Tensor3D[];
            past = cache;
            return {from: from + count, parts: [...former, y!]};
          },
          {from: 0, parts: []},
        ).parts;
        expect(numbers(tf.concat(parts, 1))).toBeAllClose(numbers(whole));
        expect(past[0]!.shape).toEqual([2, 5, k.shape[2]]);
      }),
    );
  });

  test('rotated by the same angles, it depends on distances only', () => {
    const [q, k] = [random<tf.Rank.R3>([1, 1, 6], 1), random<tf.Rank.R3>([1, 1, 6], 2)];
    const layer = new Attention({heads: 1, causal: true, cache: true, rotary: {base: 10}});
    // One key two positions back: the weight of it against its own stays the same wherever both stand.
    const outputs = [0, 7].map(shift => {
      const before = tf.zeros([1, shift, 6]);
      const first = layer.apply([q, k, tf.ones([1, 1, 6]), before, before]) as tf.Tensor[];
      const mask = tf.concat([tf.zeros([1, shift]), tf.ones([1, 2])], 1);
      const [y] = layer.apply([q, k, tf.zeros([1, 1, 6]), mask, first[1]!, first[2]!]) as tf.Tensor[];
      return numbers(y!);
    });
    expect(outputs[1]!).toBeAllClose(outputs[0]!);
  });
});

describe('attention', () => {
  test.each<[object, RegExp]>([
    [{heads: 0}, /heads must be a positive integer, got 0/],
    [{heads: 4, keyValueHeads: 3}, /keyValueHeads must divide heads, 4, got 3/],
    [{heads: 1, scale: NaN}, /scale must be a number/],
    [{heads: 1, rotary: {base: -1}}, /rotary.base must be a positive number/],
    [{heads: 1, bias: true, packed: true}, /Leave out packed and cache/],
    [{heads: 1, bias: true, cache: true}, /Leave out packed and cache/],
  ])('refuses %j', (args, message) => {
    expect(() => new Attention(args as AttentionArgs)).toThrow(message);
  });

  test('refuses inputs that do not fit each other, and makes nothing', async () => {
    const inputs = three(3, 8);
    await withoutLeaks(() => {
      expect(() => new Attention({heads: 3}).apply(inputs)).toThrow(/3 heads of queries.*do not match/);
      expect(() => new Attention({heads: 2}).apply(inputs.slice(0, 2))).toThrow(/takes \[q, k, v\].*got 2 inputs/);
      const mask = tf.ones([2, 4]);
      expect(() => new Attention({heads: 2}).apply([...inputs, mask])).toThrow(/a mask \[2, 4\]/);
      expect(() => new Attention({heads: 2, bias: true}).apply([...inputs, mask])).toThrow(
        /The bias of attention ".*" must have the shape \[n, 2, 3, 3\], where n divides the batch, 2, got \[2, 4\]/,
      );
      expect(() => new Attention({heads: 2, bias: true}).apply(inputs)).toThrow(/\[q, k, v, bias\].*got 3 inputs/);
      mask.dispose();
    });
  });

  test('is the same after it went through a file', async () => {
    const inputs = [tf.input({shape: [null, 8]}), tf.input({shape: [null, 4]}), tf.input({shape: [null, 4]})];
    const rotary = {frequencies: [1, 0.3], interleaved: true};
    const layer = new Attention({heads: 2, keyValueHeads: 1, causal: true, rotary, scale: 0.3});
    const model = tf.model({inputs, outputs: layer.apply(inputs) as tf.SymbolicTensor});
    const loaded = await reloaded(model);

    const given = three(3, 8, 4);
    expect(numbers(loaded.predict(given) as tf.Tensor)).toEqual(numbers(model.predict(given) as tf.Tensor));
  });
});

describe('layers of transformers', () => {
  test('without weights leave nothing behind', async () => {
    const x = random([2, 3, 4], 1);
    const mask = tf.tensor2d([1, 1, 0, 0, 0, 0], [2, 3]);
    await withoutLeaks(() => {
      for (const [layer, inputs] of [
        [new Gelu(), x],
        [new Gelu({approximate: true}), x],
        [new GatedActivation(), [x, x]],
        [new GatedActivation({activation: 'gelu'}), [x, x]],
        [new SequencePooling({mode: 'mean'}), [x, mask]],
      ] as [tf.layers.Layer, tf.Tensor][]) {
        (layer.apply(inputs) as tf.Tensor).dispose();
      }
    });
  });

  test.each<['mean' | 'first' | 'last', number[]]>([
    ['mean', [2.5, 25, 0, 0]],
    ['first', [2, 20, 0, 0]],
    ['last', [3, 30, 0, 0]],
  ])('pooling by %s leaves out what is masked', (mode, expected) => {
    const x = tf.tensor3d([1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60, 7, 70, 8, 80], [2, 4, 2]);
    const mask = tf.tensor2d([0, 1, 1, 0, 0, 0, 0, 0], [2, 4]);
    expect(numbers(new SequencePooling({mode}).apply([x, mask]) as tf.Tensor)).toBeAllClose(expected);
  });

  test('pooling by the last position leaves out the token that fills up, even where the mask shows it', () => {
    const x = tf.tensor3d([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [3, 4, 1]);
    const mask = tf.tensor2d([1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1], [3, 4]);
    const tokens = tf.tensor2d([5, 9, 5, 9, 9, 5, 7, 5, 9, 9, 9, 9], [3, 4], 'int32');
    const pooling = new SequencePooling({mode: 'last', padding: 9});
    // The last 5 before a 9; the last 7, since the mask hides the 5; the first position of a text that is all 9.
    expect(numbers(pooling.apply([x, mask, tokens]) as tf.Tensor)).toEqual([3, 7, 9]);
    expect(() => pooling.apply([x, mask])).toThrow(
      /a mask and tokens, \[batch, positions\]; got \[3, 4, 1\], \[3, 4\]/,
    );
  });

  test('positions by tokens count on at those that do not fill up, and the table learns by them', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const x = tf.zeros([2, 4, 1]);
        const tokens = tf.tensor2d([2, 5, 2, 6, 7, 7, 2, 2], [2, 4], 'int32');
        const positions = new PositionEmbedding({rows: 7, offset: 3, padding: 2});
        positions.apply([x, tokens]);
        positions.setWeights([tf.tensor2d([0, 10, 20, 30, 40, 50, 60], [7, 1])]);
        // A token that fills up has row 2, the others rows 3, 4, … in their order.
        expect(numbers(positions.apply([x, tokens]) as tf.Tensor)).toEqual([20, 30, 20, 40, 30, 40, 20, 20]);
        const {grads} = tf.variableGrads(() => tf.sum<tf.Scalar>(positions.apply([x, tokens]) as tf.Tensor));
        expect(Object.values(grads).map(numbers)).toEqual([[0, 0, 4, 2, 2, 0, 0]]);
        expect(() => positions.apply(x)).toThrow(
          /derives positions from tokens, \[batch, positions\], as a second input; got none/,
        );
        positions.dispose();
      }),
    );
  });

  test('pooling without a mask counts all positions', () => {
    const x = tf.tensor3d([1, 2, 6], [1, 3, 1]);
    const of = (mode: 'mean' | 'first' | 'last') => numbers(new SequencePooling({mode}).apply(x) as tf.Tensor)[0];
    expect([of('mean'), of('first'), of('last')]).toEqual([expect.closeTo(3, 5), 1, 6]);
  });

  test('positions and types are rows of a table', () => {
    const x = tf.zeros([1, 2, 3]);
    const positions = new PositionEmbedding({rows: 4, offset: 1});
    positions.apply(x);
    const table = random([4, 3], 1);
    positions.setWeights([table]);
    expect(numbers(positions.apply(x) as tf.Tensor)).toEqual(numbers(tf.slice(table, [1, 0], [2, 3])));
    expect(() => positions.apply(tf.zeros([1, 4, 3]))).toThrow(/has 3 positions, and the sequence has 4/);
    const types = new TypeEmbedding({rows: 4});
    types.apply(x);
    types.setWeights([table]);
    expect(numbers(types.apply(x) as tf.Tensor)).toEqual(numbers(tf.tile(tf.slice(table, 0, 1), [2, 1])));
    expect(numbers(types.apply([x, tf.tensor2d([[3, 2]])]) as tf.Tensor)).toEqual(numbers(tf.gather(table, [3, 2])));
  });

  test('a layer normalization computes what the stock one computes', () => {
    const x = random([2, 3, 7], 1);
    const stock = tf.layers.layerNormalization({epsilon: 0.01});
    const ours = new FusedLayerNormalization({epsilon: 0.01});
    [stock, ours].forEach(layer => layer.apply(x));
    const weights = [random([7], 2), random([7], 3)];
    [stock, ours].forEach(layer => layer.setWeights(weights));
    expect(numbers(ours.apply(x) as tf.Tensor)).toBeAllClose(numbers(stock.apply(x) as tf.Tensor));
  });

  test('the mean square of a row is 1 after its normalization', () => {
    const y = new RMSNormalization({epsilon: 0}).apply(random([2, 50], 1)) as tf.Tensor;
    expect(numbers(tf.mean(tf.square(y), -1))).toBeAllClose([1, 1]);
  });

  test('its weight may be what is added to one, after it was rebuilt too', () => {
    const x = random([2, 3, 6], 1);
    const [plain, layer] = [new RMSNormalization(), new RMSNormalization({addsOne: true})];
    const again = new RMSNormalization(layer.getConfig());
    expect(numbers(layer.apply(x) as tf.Tensor)).toBeAllClose(numbers(plain.apply(x) as tf.Tensor));
    again.apply(x);
    const weight = random([6], 2);
    plain.setWeights([tf.add(weight, 1)]);
    [layer, again].forEach(one => one.setWeights([weight]));
    const dy = random(x.shape, 3);
    const computed = (one: RMSNormalization) => {
      const {value, grads} = tf.variableGrads(() => tf.sum<tf.Scalar>(tf.mul(one.apply(x) as tf.Tensor, dy)));
      return [value, ...Object.values(grads)].flatMap(numbers);
    };
    for (const one of [layer, again]) {
      expect(computed(one)).toBeAllClose(computed(plain));
    }
  });

  test('a layer normalization without a bias adds nothing', () => {
    const x = random([2, 3, 7], 1);
    const epsilon = 1e-5;
    const stock = tf.layers.layerNormalization({center: false, epsilon});
    const ours = new FusedLayerNormalization({bias: false, epsilon});
    const again = new FusedLayerNormalization(ours.getConfig());
    const layers = [stock, ours, again];
    layers.forEach(layer => layer.apply(x));
    layers.forEach(layer => layer.setWeights([numbers(random([7], 2))].map(values => tf.tensor1d(values))));
    const [wanted, ...actual] = layers.map(layer => numbers(layer.apply(x) as tf.Tensor));
    actual.forEach(values => expect(values).toBeAllClose(wanted!));
  });

  test('a gate packed with its values computes the same as separate inputs', () => {
    const [gate, up] = [random([2, 3, 4], 1), random([2, 3, 4], 2)];
    const layer = new GatedActivation({packed: true, activation: 'gelu'});
    const again = new GatedActivation(layer.getConfig());
    const apart = new GatedActivation({activation: 'gelu'}).apply([gate, up]) as tf.Tensor;
    for (const one of [layer, again]) {
      expect(numbers(one.apply(tf.concat([gate, up], 2)) as tf.Tensor)).toEqual(numbers(apart));
    }
    expect(layer.computeOutputShape([null, null, 8])).toEqual([null, null, 4]);
    expect(() => layer.apply(random([2, 3, 5], 1))).toThrow(/takes a gate and values/);
  });

  test('a scaling multiplies', () => {
    const layer = new Scaling({factor: -2.5});
    const again = new Scaling(layer.getConfig() as {factor: number});
    for (const one of [layer, again]) {
      expect(numbers(one.apply(tf.tensor1d([1, -2])) as tf.Tensor)).toEqual([-2.5, 5]);
    }
  });

  test('longer texts are rotated by other angles at every position, and a scale multiplies what is rotated', () => {
    const [q, k, v] = three(4, 4) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
    const of = (rotary: Rotary, count: number) =>
      numbers(new Attention({heads: 1, rotary}).apply([q, k, v].map(x => tf.slice(x, 0, [2, count, 4]))) as tf.Tensor);
    const rotary = {frequencies: [1, 0.5], longer: {places: 3, frequencies: [0.3, 0.1]}};
    expect(of(rotary, 3)).toEqual(of({frequencies: [1, 0.5]}, 3));
    expect(of(rotary, 4)).toEqual(of({frequencies: [0.3, 0.1]}, 4));
    const grown = new Attention({heads: 1, rotary: {frequencies: [1, 0.5]}, scale: 4 / 2}); // 2² · 1/√4
    expect(of({frequencies: [1, 0.5], scale: 2}, 4)).toBeAllClose(numbers(grown.apply([q, k, v]) as tf.Tensor));
  });

  const chosen: Rotary = {frequencies: [1, 0.5], longer: {places: 3, frequencies: [0.3, 0.1]}};
  const grown: Rotary = {base: 9, scale: 1.5, longer: {places: 3, factor: 2}};

  test.each<[string, Rotary, packed: boolean]>([
    ['chosen by its length', chosen, false],
    ['chosen by its length, interleaved', {...chosen, interleaved: true}, true],
    ['of a base that grows with it', grown, false],
    ['of a base that grows with it', grown, true],
  ])(
    'each text of a batch is rotated by the angles %s, %j, as it would alone, packed: %s',
    async (_, rotary, packed) => {
      await withoutLeaks(() =>
        tf.tidy(() => {
          // From the first position that is shown to the last: 7, 3, 5 with one hidden between, and 4.
          const spans = [
            [0, 7],
            [2, 5],
            [1, 6],
            [0, 4],
          ] as const;
          const mask = tf.tensor2d(
            spans.map(([from, end], text) =>
              [...Array(7).keys()].map(position =>
                position >= from && position < end && !(text === 2 && position === 3) ? 1 : 0,
              ),
            ),
          );
          const layer = new Attention({heads: 2, causal: true, packed, rotary});
          const x = random<tf.Rank.R3>([4, 7, 24], 1);
          const weights = random<tf.Rank.R3>([4, 7, 8], 2);
          const result = (z: tf.Tensor3D, shown: tf.Tensor) =>
            layer.apply([...(packed ? [z] : tf.split(z, 3, 2)), shown]) as tf.Tensor3D;
          const shown = tf.expandDims<tf.Tensor3D>(mask, 2);
          const all = result(x, mask);
          const gradient = tf.grad(z => tf.sum(tf.mul(tf.mul(result(z as tf.Tensor3D, mask), weights), shown)))(x);
          spans.forEach(([from, end], text) => {
            const of = <T extends tf.Tensor>(y: T) => tf.slice(y, [text, from], [1, end - from]);
            const alone = result(of(x), of(mask));
            expect(numbers(tf.mul(of(all), of(shown)))).toBeAllClose(numbers(tf.mul(alone, of(shown))));
            const gradientAlone = tf.grad(z =>
              tf.sum(tf.mul(tf.mul(result(z as tf.Tensor3D, of(mask)), of(weights)), of(shown))),
            )(of(x));
            expect(numbers(of(gradient))).toBeAllClose(numbers(gradientAlone));
          });
        }),
      );
    },
  );

  test('the base grows with a text as in transformers', () => {
    // Of 5 positions of 3, by the factor 2: 9 · (2 · 5/3 − 1)^(4/2) = 49 for heads of 4 numbers.
    const [q, k, v] = three(5, 4) as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
    const of = (rotary: Rotary) => numbers(new Attention({heads: 1, rotary}).apply([q, k, v]) as tf.Tensor);
    expect(of({base: 9, longer: {places: 3, factor: 2}})).toBeAllClose(of({base: 49}));
    expect(of({base: 9, longer: {places: 5, factor: 2}})).toEqual(of({base: 9}));
  });

  test('so is that of each piece of a row that it normalizes by itself, after it was rebuilt too', () => {
    const layer = new RMSNormalization({epsilon: 0, size: 10});
    const again = new RMSNormalization(layer.getConfig());
    for (const one of [layer, again]) {
      const pieces = tf.reshape(one.apply(random([2, 3, 50], 1)) as tf.Tensor, [30, 10]);
      expect(numbers(tf.mean(tf.square(pieces), -1))).toBeAllClose(new Array<number>(30).fill(1));
      expect(one.weights.map(({shape}) => shape)).toEqual([[10]]);
    }
  });

  test.each<[() => unknown, RegExp]>([
    [() => new SequencePooling({mode: 'middle' as 'mean'}), /mode must be 'mean', 'first' or 'last', got "middle"/],
    [() => new Scaling({factor: NaN}), /factor must be a number, got NaN/],
    [() => new Attention({heads: 1, window: 0}), /window must be a positive integer, got 0/],
    [() => new Attention({heads: 1, rotary: {scale: 0}}), /rotary\.scale must be a positive number, got 0/],
    [
      () => new Attention({heads: 1, rotary: {frequencies: [1], longer: {places: 2, frequencies: [1, 2]}}}),
      /rotary\.longer must have as many frequencies/,
    ],
    [
      () => new Attention({heads: 1, rotary: {longer: {places: 2, factor: 0}}}),
      /rotary\.longer needs a positive factor and heads of more than 2 values, got \{"places":2,"factor":0\}/,
    ],
    [() => new GatedActivation({activation: 'relu' as 'silu'}), /activation must be 'silu' or 'gelu', got "relu"/],
    [() => new RMSNormalization({epsilon: -1}), /epsilon must be a number of at least 0, got -1/],
    [() => new RMSNormalization({size: 0}), /size must be a positive integer, got 0/],
    [
      () => new RMSNormalization({size: 4}).apply(tf.input({shape: [3, 6]})),
      /normalizes pieces of 4 values; got \[null, 3, 6\]/,
    ],
    [() => new PositionEmbedding({rows: 0}), /rows must be a whole number, 1 or more, got 0/],
    [() => new RMSNormalization().apply(tf.input({shape: [null, null]})), /with a known last axis/],
  ])('what cannot be is refused: %s', (make, message) => {
    expect(make).toThrow(message);
  });
});
