import * as tf from '@tensorflow/tfjs';
import {readOnnx} from '../../../../src/extensions/onnx/file/readOnnx';
import {disposeModel} from '../../../../src/index';
import {toONNX} from '../../../../src/onnx';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';
import {stir} from '../../../models';
import {MASKED, type MaskedCase} from './maskedModels';
import {inputsOf} from './models';

beforeAll(() => useBackend('cpu'));

/** What tfjs predicts for token ids, some of which are 0, or `undefined` if it throws. */
function predicted(model: tf.LayersModel, each: MaskedCase): number[] | undefined {
  return tf.tidy(() => {
    try {
      return numbers(model.predict(inputsOf(model, each, 3)) as tf.Tensor);
    } catch {
      return undefined;
    }
  });
}

/** Whether a recurrent operation of a file gets the lengths of its sequences, or a softmax hides values. */
function readsMask(file: Uint8Array): boolean {
  const {nodes} = readOnnx(file).graph;
  const isSum = (name: string | undefined) => nodes.some(({op, outputs}) => op === 'Add' && outputs[0] === name);
  return nodes.some(
    ({op, inputs}) =>
      (/^(?:LSTM|GRU|RNN)$/.test(op) && (inputs[4] ?? '') !== '') ||
      (op === 'Softmax' && isSum(inputs[0]) && nodes.some(node => node.op === 'Sub')),
  );
}

/** tfjs runs these, with a part of the mask of all steps on each step, and with states at masked steps. */
const REFUSED = /timeDistributed LSTM|: states of a decoder/;

test.each(MASKED)('$name: the file skips the steps that tfjs skips, or is refused', async each => {
  await withoutLeaks(async () => {
    const [model, plain] = [each.make(), each.make(false)];
    // Drawn without a seed, embeddings may all stay below a threshold, and then a mask changes nothing.
    stir(model);
    plain.setWeights(model.getWeights());
    const [expected, unmasked] = [predicted(model, each), predicted(plain, each)];
    if (expected === undefined || REFUSED.test(each.name)) {
      await expect(toONNX(model)).rejects.toThrow(
        /Layer ".+": .*(?:eave out the mask|reads no mask|Leave one of them out)/,
      );
    } else {
      const differs = expected.some((value, i) => Math.abs(value - unmasked![i]!) > 1e-6);
      expect(readsMask(await toONNX(model))).toBe(differs);
    }
    expect(readsMask(await toONNX(plain))).toBe(false);
    [model, plain].forEach(disposeModel);
  });
});
