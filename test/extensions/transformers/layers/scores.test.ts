import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, registerAdaptable, trainableVariables} from 'tfjs-lora';
import {DistanceScores, DistanceTable} from '../../../../src/extensions/transformers/layers/distanceScores';
import {HiddenPositions} from '../../../../src/extensions/transformers/layers/hiddenPositions';
import {ContinuousWindowBias, WindowBias} from '../../../../src/extensions/transformers/layers/windowScores';
import {numbers, random, useBackend, withoutLeaks} from '../../../helpers';
import {reloaded, stirFactors} from '../../../models';
import 'tfjs-lora/transformers';

type DistanceScoresArgs = ConstructorParameters<typeof DistanceScores>[0];

/**
 * Rows that PyTorch has for distances from 0 on, by the farthest one: `make_log_bucket_position(distance, 8, farthest +
 * 1)` of transformers. Beyond the farthest they may go back.
 */
const OF_8: Readonly<Record<number, readonly number[]>> = {
  19: [0, 1, 2, 3, 4, 5, 5, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 8],
  4: [0, 1, 2, 3, 4],
  3: [0, 1, 2, 3, 4, 2, 0, -1, -3, -4, -5, -6, -7, -8, -9, -9, -10, -11, -11, -12, -12],
  0: [0, 1, 2, 3, 4, 4, 4],
};

function rowOf(distance: number, {span, farthest = null}: DistanceScoresArgs): number {
  const far = Math.abs(distance);
  const row = span + Math.sign(distance) * (farthest === null ? far : OF_8[farthest]![far]!);
  return Math.min(Math.max(row, 0), 2 * span - 1);
}

/** By the formula, number by number. */
function plainScores(x: number[][][], table: number[][], args: DistanceScoresArgs): number[] {
  const {heads, ofKeys = false} = args;
  const size = table[0]!.length / heads;
  const scale = args.scale ?? 1 / Math.sqrt(size);
  const positions = [...x[0]!.keys()];
  return x.flatMap(example =>
    [...Array(heads).keys()].flatMap(head =>
      positions.flatMap(i =>
        positions.map(j => {
          const row = table[rowOf(i - j, args)]!;
          const own = example[ofKeys ? j : i]!;
          const products = [...Array(size).keys()].map(at => own[head * size + at]! * row[head * size + at]!);
          return scale * products.reduce((sum, product) => sum + product, 0);
        }),
      ),
    ),
  );
}

describe('scores for distances', () => {
  test.each<[DistanceScoresArgs, positions: number]>([
    [{heads: 2, span: 3}, 7],
    [{heads: 1, span: 9, scale: 0.3}, 4],
    [{heads: 2, span: 3, ofKeys: true}, 7],
    [{heads: 1, span: 8, farthest: 19}, 21],
    [{heads: 3, span: 8, farthest: 19, ofKeys: true, scale: 2}, 21],
    [{heads: 1, span: 8, farthest: 4}, 5],
    [{heads: 2, span: 8, farthest: 3}, 21],
    [{heads: 1, span: 8, farthest: 3, ofKeys: true}, 21],
    [{heads: 1, span: 8, farthest: 0}, 7],
    [{heads: 2, span: 4}, 1],
  ])('of %j and %i positions are products with the rows for distances', async (args, positions) => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const width = args.heads * 2;
        const x = random([2, positions, width], 1);
        const table = random([1, 2 * args.span, width], 2);
        const y = new DistanceScores(args).apply([x, table]) as tf.Tensor;
        expect(y.shape).toEqual([2, args.heads, positions, positions]);
        const wanted = plainScores(x.arraySync() as number[][][], (table.arraySync() as number[][][])[0]!, args);
        expect(numbers(y)).toBeAllClose(wanted, {rtol: 1e-5, atol: 1e-6});
      }),
    );
  });

  test.each([false, true])('have gradients in both, of keys: %s', ofKeys => {
    const layer = new DistanceScores({heads: 1, span: 2, ofKeys, scale: 1});
    const x = tf.tensor3d([[[1], [10], [100]]]);
    const table = tf.tensor3d([[[2], [3], [5], [7]]]);
    const [dx, dTable] = tf.grads((...inputs: tf.Tensor[]) => tf.sum(layer.apply(inputs) as tf.Tensor))([x, table]);
    // The rows of a query at i for keys at 0, 1, 2: 5 3 2, 7 5 3, 7 7 5. With keys the columns.
    expect(numbers(dx!)).toEqual(ofKeys ? [19, 15, 10] : [10, 15, 19]);
    // −2, −1, 0, and from 1 on.
    expect(numbers(dTable!)).toEqual(ofKeys ? [100, 110, 111, 12] : [1, 11, 111, 210]);
  });

  test('and their table are saved and loaded', async () => {
    const x = tf.input({shape: [null, 4]});
    const table = new DistanceTable({rows: 16}).apply(x) as tf.SymbolicTensor;
    const args = {heads: 2, span: 8, farthest: 19, ofKeys: true, scale: 0.5};
    const model = tf.model({
      inputs: x,
      outputs: new DistanceScores(args).apply([x, table]) as tf.SymbolicTensor,
    });
    const loaded = await reloaded(model);
    const input = random([1, 5, 4], 3);
    const [expected, found] = [model, loaded].map(each => numbers(each.apply(input) as tf.Tensor));
    expect(found).toEqual(expected);
    expect(model.outputShape).toEqual([null, 2, null, null]);
  });

  test('hidden positions are zeros, or the mean of the values', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const layer = new HiddenPositions();
        const states = tf.tensor3d([[[1, 2], [3, 4], [5, 6]]]); // prettier-ignore
        const values = tf.tensor3d([[[10, 1], [20, 2], [60, 3]]]); // prettier-ignore
        const mask = tf.tensor2d([[1, 0, 1]], undefined, 'int32');
        expect(numbers(layer.apply([states, mask]) as tf.Tensor)).toEqual([1, 2, 0, 0, 5, 6]);
        expect(numbers(layer.apply([states, mask, values]) as tf.Tensor)).toEqual([1, 2, 30, 2, 5, 6]);
        expect(() => layer.apply([states, tf.ones([1, 2])])).toThrow('takes states, [batch, positions, width], a mask');
      }),
    );
  });
});

test.each([
  [{heads: 0, span: 3}, 'heads must be'],
  [{heads: 1, span: 0}, 'span must be'],
  [{heads: 1, span: 1, farthest: 9}, 'span must be'],
  [{heads: 1, span: 8, farthest: -1}, 'farthest must be'],
  [{heads: 1, span: 8, scale: NaN}, 'scale must be a number'],
])('%j is refused', (args, message) => {
  expect(() => new DistanceScores(args)).toThrow(message);
});

test('distances that have no row are refused', () => {
  const layer = new DistanceScores({heads: 1, span: 8, farthest: 4, name: 'c2p'});
  expect(() => layer.apply([tf.ones([1, 6, 2]), tf.ones([1, 16, 2])])).toThrow(
    '"c2p" has rows for distances up to 4, but positions are up to 5 apart. Cut the texts to 5 tokens.',
  );
});

test('a table of another size is refused', () => {
  const layer = new DistanceScores({heads: 2, span: 3});
  expect(() => layer.apply([tf.ones([1, 4, 6]), tf.ones([1, 4, 6])])).toThrow('and a table, [1, 6, 6]; got');
});

const WINDOWS = {size: 2, shift: 1, heads: 2, name: 'bias'};
const LAYERS: Record<string, () => tf.layers.Layer> = {
  WindowBias: () => new WindowBias(WINDOWS),
  ContinuousWindowBias: () => new ContinuousWindowBias(WINDOWS),
};

/** A layer to adapt, and one whose scores the model returns. */
function modelOf(layer: tf.layers.Layer): tf.LayersModel {
  const x = tf.input({shape: [null, null, 3]});
  const features = tf.layers.dense({units: 3, name: 'dense'}).apply(x) as tf.SymbolicTensor;
  return tf.model({inputs: x, outputs: [features, layer.apply(features) as tf.SymbolicTensor]});
}

function scores(model: tf.LayersModel, [height, width]: [number, number] = [4, 6]): number[] {
  return tf.tidy(() => numbers((model.predict(tf.ones([1, height, width, 3])) as tf.Tensor[])[1]!));
}

function setWeights(layer: tf.layers.Layer, seed: number): void {
  tf.tidy(() => layer.setWeights(layer.weights.map(({shape}, i) => random(shape as number[], seed + i))));
}

describe.each(Object.entries(LAYERS))('the frozen weights of a %s', (_, make) => {
  test('are gathered once, and again after a change of the weights, the size of images or the backend', async () => {
    await withoutLeaks(async () => {
      const base = modelOf(make());
      setWeights(base.getLayer('bias'), 1);
      const model = applyLoRA(base, {rank: 1, targets: ['dense']});
      const kernels = async () => (await tf.profile(() => void scores(model))).kernelNames;
      expect(await kernels()).toContain('GatherV2');
      expect(await kernels()).not.toContain('GatherV2');
      expect(scores(model)).toEqual(scores(base));
      expect(scores(model, [6, 4])).toEqual(scores(base, [6, 4]));
      expect(scores(model, [6, 4])).not.toEqual(scores(model));
      for (const each of [base, model]) {
        setWeights(each.getLayer('bias'), 5);
      }
      expect(scores(model)).toEqual(scores(base));
      const before = scores(model);
      await useBackend('cpu');
      expect(scores(model)).toBeAllClose(before);
      await useBackend('wasm');
      expect(scores(model)).toEqual(before);
      [model, base].forEach(disposeModel);
    });
  });

  test('have their gradients, and scores that follow them, if they train in full', async () => {
    await withoutLeaks(() => {
      const base = modelOf(make());
      const model = applyLoRA(base, {rank: 1, targets: ['dense'], trainInFull: ['bias']});
      const loss = (of: tf.LayersModel) =>
        tf.tidy(() => {
          const [, y] = of.apply(tf.ones([1, 4, 6, 3]), {training: true}) as [tf.Tensor, tf.Tensor];
          return tf.sum<tf.Scalar>(tf.mul(y, random(y.shape, 3)));
        });
      const gradients = (of: tf.LayersModel) =>
        tf.tidy(() => {
          const weights = of.getLayer('bias').trainableWeights.map(weight => weight.read() as tf.Variable);
          const {grads} = tf.variableGrads(() => loss(of), weights);
          return weights.map(({name}) => numbers(grads[name]!));
        });
      expect(gradients(model)).toEqual(gradients(base));
      const before = scores(model);
      const optimizer = tf.train.sgd(0.1);
      optimizer.minimize(() => loss(model), false, trainableVariables(model));
      expect(scores(model)).not.toEqual(before);
      optimizer.dispose();
      [model, base].forEach(disposeModel);
    });
  });
});

test('an adapter on the network of a continuous bias changes the scores, and so does another one', () => {
  registerAdaptable('tfjs-lora/transformers>ContinuousWindowBias', {weights: ['kernel_1']});
  const base = modelOf(LAYERS.ContinuousWindowBias!());
  const model = applyLoRA(base, {rank: 1, targets: ['bias']});
  expect(scores(model)).toEqual(scores(base));
  const known = [scores(base)];
  for (const seed of [1, 2]) {
    stirFactors(model, seed);
    known.forEach(before => expect(scores(model)).not.toEqual(before));
    known.push(scores(model));
  }
});
