import * as tf from '@tensorflow/tfjs';
import {disposeModel} from '../../../../src/index';
import {fromONNX} from '../../../../src/onnx';
import {withoutLeaks} from '../../../helpers';
import {bytesOf, expectOutputs, predicted, readCases} from '../cases';

// The random graphs are those of test/python/make_onnx_random.py. `npm run check -- onnx` draws others.
const CASES = new Map([...readCases('operations'), ...readCases('random')].map(each => [each.name, each]));

test.each([...CASES.keys()])('%s gives what ONNX Runtime gives', async name => {
  const each = CASES.get(name)!;
  await withoutLeaks(async () => {
    const model = await fromONNX(bytesOf(each));
    const outputs = predicted(model, each);
    expectOutputs(outputs, each.outputs);
    tf.dispose(outputs);
    disposeModel(model);
  });
});
