import * as tf from '@tensorflow/tfjs';
import {disposeModel} from '../../../../src/index';
import {fromONNX} from '../../../../src/onnx';
import {useBackend, withoutLeaks} from '../../../helpers';
import {bytesOf, expectOutputs, predicted, readCases} from '../cases';

// Drawn by test/python/make_onnx_random.py. `npm run check -- onnx` draws others.

beforeAll(() => useBackend('cpu'));

const CASES = new Map(readCases('random').map(each => [each.name, each]));

test.each([...CASES.keys()])('a random graph gives what ONNX Runtime gives, %s', async name => {
  const each = CASES.get(name)!;
  await withoutLeaks(async () => {
    const model = await fromONNX(bytesOf(each));
    const outputs = predicted(model, each);
    expectOutputs(outputs, each.outputs);
    tf.dispose(outputs);
    disposeModel(model);
  });
});
