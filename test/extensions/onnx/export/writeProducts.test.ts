import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel} from '../../../../src/index';
import {readOnnx} from '../../../../src/extensions/onnx/file/readOnnx';
import {fromONNX, toONNX} from '../../../../src/onnx';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';
import {stirFactors} from '../../../models';
import {bytesOf, predicted, readCases} from '../cases';

beforeAll(() => useBackend('cpu'));

const CASES = new Map(readCases('operations').map(each => [each.name, each]));
const QUANTIZED = [
  ...['DequantizeLinear', 'DequantizeLinear along an axis', 'MatMulInteger', 'MatMulNBits'],
  ...['MatMulNBits with scales of float32', 'MatMulNBits with zeros'],
];

/** Expects what an adapted model computes, which is not what its base does. */
function expectAdapted(actual: tf.Tensor, expected: tf.Tensor, base: tf.Tensor): void {
  const values = numbers(expected);
  const largest = Math.max(...values.map(Math.abs));
  expect(numbers(actual)).toBeAllClose(values, {rtol: 0, atol: 1e-5 * largest});
  expect(numbers(base)).not.toBeAllClose(values, {rtol: 0, atol: 1e-3 * largest});
}

describe.each([true, false])('with {merge: %s}', merge => {
  test.each(QUANTIZED)('%s: what is written computes what the adapted model computes', async name => {
    const each = CASES.get(name)!;
    const file = bytesOf(each);
    await withoutLeaks(async () => {
      const base = await fromONNX(file);
      const model = applyLoRA(base, {rank: 1, alpha: 3, seed: 1});
      stirFactors(model);
      const [before, expected] = [predicted(base, each), predicted(model, each)];
      const written = await toONNX(model, file, {merge});
      const {initializers, nodes} = readOnnx(written).graph;
      // Weights in few bits stay where the update is beside them, and only there.
      const hasIntegers = [...initializers.values()].some(({type, size}) => [2, 3].includes(type) && size > 8);
      const dequantizes = nodes.some(({op}) => op === 'DequantizeLinear');
      expect(hasIntegers).toBe(!merge || dequantizes);
      const again = await fromONNX(written);
      const actual = predicted(again, each);
      expectAdapted(actual[0]!, expected[0]!, before[0]!);
      tf.dispose([before, expected, actual]);
      [again, model, base].forEach(disposeModel);
    });
  });
});

test('a quantized model that did not change is written as the same bytes', async () => {
  for (const name of ['MatMulNBits', 'MatMulInteger']) {
    const file = bytesOf(CASES.get(name)!);
    const model = await fromONNX(file);
    expect(Buffer.compare(await toONNX(model, file), file)).toBe(0);
  }
});

test('an update that is not a product cannot be written separately', async () => {
  const file = bytesOf(CASES.get('DequantizeLinear')!);
  const base = await fromONNX(file);
  const model = applyLoRA(base, {rank: 1, method: 'dora'});
  await withoutLeaks(async () => {
    await expect(toONNX(model, file, {merge: false})).rejects.toThrow('is no product A·B');
    await expect(toONNX(model, file, {merge: 'no' as never})).rejects.toThrow('merge must be true or false');
  });
});

test.each(['ConvInteger', 'QLinearConv', 'QLinearMatMul'])(
  '%s, once adapted, becomes an operation on floats between those that quantize',
  async name => {
    const each = CASES.get(name)!;
    const file = bytesOf(each);
    await withoutLeaks(async () => {
      const base = await fromONNX(file);
      const model = applyLoRA(base, {rank: 1, alpha: 3, seed: 1});
      stirFactors(model);
      await expect(toONNX(model, file, {merge: false})).rejects.toThrow('computes with integers in the file');
      const [before, expected] = [predicted(base, each), predicted(model, each)];
      const written = await toONNX(model, file);
      const {nodes, initializers} = readOnnx(written).graph;
      expect(nodes.map(({op}) => op)).not.toContain(name);
      expect([...initializers.values()].filter(({type, size}) => [2, 3].includes(type) && size > 8)).toEqual([]);
      const again = await fromONNX(written);
      const actual = predicted(again, each);
      expectAdapted(actual[0]!, expected[0]!, before[0]!);
      tf.dispose([before, expected, actual]);
      [again, model, base].forEach(disposeModel);
    });
  },
);
