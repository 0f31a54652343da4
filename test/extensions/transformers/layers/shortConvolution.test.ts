import * as tf from '@tensorflow/tfjs';
import {ShortConvolution} from '../../../../src/extensions/transformers/layers/shortConvolution';
import {PositionalConvolution} from '../../../../src/extensions/transformers/layers/soundFrames';
import {differentiate, expectGradients, numbers, random} from '../../../helpers';
import {reloaded} from '../../../models';
import 'tfjs-lora/transformers';
import 'tfjs-lora';

const [BATCH, POSITIONS, WIDTH] = [2, 5, 3];
const PADDED = [
  [1, 1, 1, 1, 0],
  [0, 0, 1, 1, 1],
];
const PACKED = [
  [1, 1, 1, 1, 1],
  [1, 1, 1, 1, 0],
];
/** The numbers of examples: three in the first row, two in the second. */
const EXAMPLES = [
  [0, 0, 1, 1, 2],
  [0, 1, 1, 1, 1],
];

/** The convolution as products with matrices, in operations of tfjs that have gradients. */
function plain(
  {packed, kernel, bias}: Record<string, tf.Tensor>,
  mask = PADDED.map(row => row.map(() => 1)),
  examples = PADDED.map(row => row.map(() => 0)),
): tf.Tensor {
  const [before, after, values] = tf.split(packed!, 3, 2) as [tf.Tensor, tf.Tensor, tf.Tensor];
  const product = tf.mul(tf.mul(before, values), tf.expandDims(tf.tensor2d(mask), 2));
  const taps = Array.from({length: kernel!.shape[0]}, (_, i) => tf.slice(kernel!, [i, 0, 0], [1, 1, -1]));
  const parts = taps.map((tap, i) => {
    const from = examples.map(row =>
      row.map((own, position) => {
        const at = position - (taps.length - 1 - i);
        return row.map((other, earlier) => Number(earlier === at && other === own));
      }),
    );
    return tf.mul(tf.matMul(tf.tensor3d(from), product), tap);
  });
  return tf.mul(after, tf.add(tf.addN(parts), bias!));
}

const MASKS: Record<string, {mask?: number[][]; examples?: number[][]}> = {
  'without a mask': {},
  'with hidden positions': {mask: PADDED},
  'with several examples a row': {mask: PACKED, examples: EXAMPLES},
};

describe('a short convolution', () => {
  test.each(Object.keys(MASKS))('and its gradients are those of plain operations, %s', name => {
    const {mask, examples} = MASKS[name]!;
    for (const taps of [1, 3, 7]) {
      const layer = new ShortConvolution({taps, useBias: true});
      const shown = mask && tf.tensor2d(mask.map((row, i) => [...row, ...(examples?.[i] ?? [])]));
      layer.build([BATCH, POSITIONS, 3 * WIDTH]);
      const inputs = {
        packed: random([BATCH, POSITIONS, 3 * WIDTH], 1),
        kernel: random([taps, 1, WIDTH], 2),
        bias: random([WIDTH], 3),
      };
      const own = ({packed, ...weights}: Record<string, tf.Tensor>) => {
        for (const [name, value] of Object.entries(weights)) {
          Object.assign(layer.variables, {[name]: {variable: {read: () => value}}});
        }
        return layer.call(shown === undefined ? packed! : [packed!, shown], {});
      };
      const ways = [own, (given: Record<string, tf.Tensor>) => plain(given, mask, examples)];
      const [actual, expected] = ways.map(compute => differentiate(inputs, compute).map(numbers));
      expectGradients(actual!, expected!);
    }
  });

  test('keeps its inputs alone for the backward pass, and leaves nothing', () => {
    const layer = new ShortConvolution({taps: 3});
    const x = random([BATCH, POSITIONS, 3 * WIDTH], 1);
    layer.build(x.shape);
    const before = tf.memory().numTensors;
    const {value, grads} = tf.variableGrads(() => tf.sum<tf.Scalar>(layer.call(x, {})));
    tf.dispose([value, grads]);
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('a short convolution is saved and loaded', async () => {
  const x = tf.input({shape: [null, 3 * WIDTH]});
  const y = new ShortConvolution({taps: 2, useBias: true}).apply(x) as tf.SymbolicTensor;
  const model = tf.model({inputs: x, outputs: y});
  const loaded = await reloaded(model);
  const [expected, found] = [model, loaded].map(each => numbers(each.apply(tf.ones([1, 4, 3 * WIDTH])) as tf.Tensor));
  expect(found).toEqual(expected);
});

test('a short convolution refuses what does not fit', () => {
  expect(() => new ShortConvolution({taps: 0})).toThrow('taps must be');
  const layer = new ShortConvolution({taps: 2});
  expect(() => layer.build([null, 4, 8])).toThrow('takes [batch, positions, 3·width]');
  layer.build([null, 4, 9]);
  expect(() => layer.call([tf.ones([1, 4, 9]), tf.ones([1, 5])], {})).toThrow('has 4 positions and a mask [1, 5]');
});

test('a positional convolution of all channels is a plain one, and so are its gradients', () => {
  const x = random<tf.Rank.R3>([2, 5, 4], 1);
  const layer = new PositionalConvolution({size: 3, groups: 1});
  layer.apply(x);
  const [direction, magnitude] = layer.weights.map(weight => weight.read()) as [tf.Variable, tf.Variable];
  magnitude.assign(tf.tensor3d([2, 0.5, 3], [3, 1, 1]));
  const plain = () => {
    const norms = tf.sqrt(tf.sum(tf.square(direction), [1, 2], true));
    const kernel = tf.mul<tf.Tensor3D>(direction, tf.div(magnitude, norms));
    return tf.conv1d(x, kernel, 1, 'same');
  };
  const dy = random([2, 5, 4], 2);
  const outcome = (f: () => tf.Tensor) => {
    const {grads} = tf.variableGrads(() => tf.sum(tf.mul(f(), dy)), [direction, magnitude]);
    return [f(), grads[direction.name]!, grads[magnitude.name]!].flatMap(numbers);
  };
  expect(outcome(() => layer.apply(x) as tf.Tensor)).toBeAllClose(outcome(plain));
});
