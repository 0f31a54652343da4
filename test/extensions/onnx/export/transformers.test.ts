import * as tf from '@tensorflow/tfjs';
import {disposeModel} from '../../../../src/index';
import {fromONNX, toONNX} from '../../../../src/onnx';
import {loadTransformer} from '../../../../src/transformers';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';
import {fixture, inputsOf} from '../../transformers/fixtures';

beforeAll(() => useBackend('cpu'));

// `npm run check -- onnx` runs models of every family in ONNX Runtime. These are imported again, for the sizes of their
// inputs: the importer does not know all operations with open sizes.
const MODELS = [
  ...['albertClasses', 'bertSpans', 'clipTextPooled', 'deitTaught', 'dinov2Classes', 'distilbert', 'electraTiedWords'],
  ...['gpt2', 'gteClasses', 'modernbert', 'mpnetTokenClasses', 'new', 'nomicBert', 'robertaSpans', 'siglip'],
  ...['t5', 'vitClasses', 'debertaSpans', 'gemma2Tied', 'mobilebertTiedWords', 'siglip2Pooled'],
  ...['astClasses', 'hubertClasses', 'wav2vec2CTC', 'whisperTiedText'],
];

test.each(MODELS)('%s: what is written computes what the model computes', async name => {
  await withoutLeaks(async () => {
    const {config, weights, tied, pooling, expected} = fixture(name);
    const {model} = await loadTransformer({config, weights, tied, pooling, tokenizer: false});
    const x = inputsOf(expected);
    const inputShapes = Object.fromEntries(model.inputNames.map((input, i) => [input, x[i]!.shape.slice(1)]));
    const again = await fromONNX(await toONNX(model), {inputShapes});
    const [wanted, actual] = [model, again].map(one => one.predict(x) as tf.Tensor) as [tf.Tensor, tf.Tensor];
    const values = numbers(wanted);
    expect(actual.shape).toEqual(wanted.shape);
    expect(numbers(actual)).toBeAllClose(values, {rtol: 0, atol: 1e-5 * Math.max(...values.map(Math.abs))});
    tf.dispose([x, wanted, actual]);
    [again, model].forEach(disposeModel);
  });
});

test.each([
  ['nomicBertDynamic', 'Different angles for long texts (dynamic RoPE) cannot be written'],
  ['modernbertYarn', 'Different angles for long texts (dynamic RoPE) cannot be written'],
])('%s is refused by the names of its layers', async (name, reason) => {
  const {config, weights, tied, pooling} = fixture(name);
  const {model} = await loadTransformer({config, weights, tied, pooling, tokenizer: false});
  await expect(toONNX(model)).rejects.toThrow(reason);
});
