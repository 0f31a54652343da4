import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, disposeModel, LoRAError} from 'tfjs-lora';
import {numbers, useBackend, withoutLeaks} from '../../helpers';

beforeAll(() => useBackend('cpu'));

const {layers} = tf;

/** A Keras model that ends in logits. */
function classifier(): tf.Sequential {
  return tf.sequential({
    layers: [layers.dense({units: 4, activation: 'relu', inputShape: [3]}), layers.dense({units: 3})],
  });
}

describe('compileModel of the main entry point alone', () => {
  test('computes the mean cross-entropy and the accuracy of the logits of a Keras model', () => {
    const model = tf.sequential({layers: [layers.activation({activation: 'linear', inputShape: [2]})]});
    compileModel(model, {optimizer: 'sgd', metrics: ['accuracy']});
    const logits = tf.tensor2d([[0, 0], [Math.log(3), 0], [0, 0]]); // prettier-ignore
    const [loss, accuracy] = model.evaluate(logits, tf.tensor1d([1, 0, -100])) as tf.Scalar[];
    expect(numbers(loss!)).toBeAllClose([(Math.log(2) + Math.log(4 / 3)) / 2]); // the third does not count
    expect(numbers(accuracy!)).toEqual([0.5]);
  });

  test('trains an adapted Keras model on class indices', async () => {
    await withoutLeaks(async () => {
      const base = classifier();
      const model = applyLoRA(base, {rank: 2, seed: 1});
      const optimizer = adam({learningRate: 0.1});
      compileModel(model, {optimizer, metrics: 'accuracy'});
      const [x, y] = [tf.eye(3), tf.tensor1d([0, 1, 2])];
      const {history} = await model.fit(x, y, {epochs: 60, verbose: 0});
      expect(history.acc!.at(-1)).toBe(1);
      tf.dispose([x, y]);
      [model, base].forEach(disposeModel);
      optimizer.dispose();
    });
  });

  test.each([
    ['ctc', 'tfjs-lora/sound'],
    ['spans', 'tfjs-lora/transformers'],
    ['pairs', 'tfjs-lora/transformers'],
    ['sigmoidPairs', 'tfjs-lora/transformers'],
  ] as const)('the loss %s is refused with the entry point that has it', (loss, entry) => {
    const compile = () => compileModel(classifier(), {optimizer: 'sgd', loss});
    expect(compile).toThrow(LoRAError);
    expect(compile).toThrow(`The loss "${loss}" is in another entry point. Import it: import '${entry}';`);
  });

  test('a loss that does not exist is refused with those that do', () => {
    const compile = (loss: unknown) => () => compileModel(classifier(), {optimizer: 'sgd', loss: loss as 'ctc'});
    const names = '"crossEntropy", "ctc", "spans", "pairs", "sigmoidPairs"';
    expect(compile('constructor')).toThrow(`loss must be a function or one of ${names}, got "constructor".`);
    expect(compile(7)).toThrow(`loss must be a function or one of ${names}, got a number.`);
  });
});
