import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, disposeModel, LoRAError} from 'tfjs-lora';
import {numbers, withoutLeaks} from '../../helpers';

const {layers} = tf;

/** A Keras model that ends in logits. */
function classifier(): tf.Sequential {
  const kernelInitializer = tf.initializers.glorotUniform({seed: 1});
  return tf.sequential({
    layers: [
      layers.dense({units: 4, activation: 'tanh', inputShape: [3], kernelInitializer}),
      layers.dense({units: 3, kernelInitializer}),
    ],
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
    ['ranking', 'tfjs-lora/transformers'],
  ] as const)('the loss %s is refused with the entry point that has it', (loss, entry) => {
    const compile = () => compileModel(classifier(), {optimizer: 'sgd', loss});
    expect(compile).toThrow(LoRAError);
    expect(compile).toThrow(`The loss "${loss}" is in another entry point. Import it: import '${entry}';`);
  });

  test('a loss that does not exist is refused with those that do', () => {
    const compile = (loss: unknown) => () => compileModel(classifier(), {optimizer: 'sgd', loss: loss as 'ctc'});
    expect(compile('constructor')).toThrow(
      'loss must be a function, one of "crossEntropy", "ctc", "spans", "pairs", "sigmoidPairs", "ranking", or one ' +
        'of Keras: meanSquaredError, ',
    );
    expect(compile('constructor')).toThrow('Got "constructor".');
    expect(compile(7)).toThrow('Got 7.');
    expect(compile([])).toThrow('Got an array.');
    expect(compile(['meanSquaredError', 'crossEntropy'])).toThrow('Several outputs take functions and losses of Keras');
  });

  test('losses and metrics of Keras are those of model.compile, also for several outputs', () => {
    const input = tf.input({shape: [1]});
    const outputs = ['one', 'other'].map(
      name =>
        layers.dense({units: 1, useBias: false, name, kernelInitializer: 'ones'}).apply(input) as tf.SymbolicTensor,
    );
    const model = tf.model({inputs: input, outputs});
    const [x, zeros] = [tf.tensor2d([[1], [3]]), tf.zeros([2, 1])];
    const evaluated = () => (model.evaluate(x, [zeros, zeros]) as tf.Scalar[]).flatMap(numbers);
    const args = {
      optimizer: 'sgd',
      loss: {one: 'meanSquaredError', other: 'meanAbsoluteError'},
      metrics: {one: 'mae', other: 'mse'},
    } as const;
    model.compile(args);
    const [names, expected] = [model.metricsNames, evaluated()];
    compileModel(model, args);
    expect(model.metricsNames).toEqual(names);
    expect(evaluated()).toEqual(expected);
    // (1² + 3²) / 2 and (1 + 3) / 2. tfjs returns the first loss before the sum.
    expect(expected[1]).toBeCloseTo(7);
    compileModel(model, {optimizer: 'sgd', loss: ['meanAbsoluteError', tf.losses.meanSquaredError]});
    expect(evaluated()[1]).toBeCloseTo(7);
    const one = tf.model({inputs: input, outputs: outputs[0]!});
    compileModel(one, {optimizer: 'sgd', loss: tf.losses.meanSquaredError, metrics: ['mae']});
    expect((one.evaluate(x, zeros) as tf.Scalar[]).flatMap(numbers)).toBeAllClose([5, 2]);
  });

  test.each<[what: string, options: object, message: string]>([
    ['smoothing', {labelSmoothing: 0.1}, 'labelSmoothing does not apply to a loss of Keras.'],
    ['class weights', {classWeights: [1, 2]}, 'classWeights does not apply to a loss of Keras.'],
    ['a target that does not count', {ignoreIndex: 0}, 'ignoreIndex does not apply to a loss of Keras.'],
    [
      'a metric of logits',
      {metrics: ['mae', 'f1']},
      'There is no metric "f1" for a loss of Keras. There are accuracy,',
    ],
    ['no metric', {metrics: null}, 'There is no metric null for a loss of Keras.'],
  ])('a loss of Keras with %s is an error', (_, options, message) => {
    const compile = () => compileModel(classifier(), {optimizer: 'sgd', loss: 'meanSquaredError', ...options});
    expect(compile).toThrow(LoRAError);
    expect(compile).toThrow(message);
  });

  test.each([
    ['softmax', 'a loss that fits, such as "sparseCategoricalCrossentropy".'],
    ['sigmoid', 'a loss that fits, such as "binaryCrossentropy".'],
    ['tanh', 'a loss that fits.'],
  ] as const)('an output that ends in %s is no logits: the error names the ways out', (activation, end) => {
    const model = tf.sequential({layers: [layers.dense({units: 3, activation, inputShape: [2], name: 'end'})]});
    const compile = () => compileModel(model, {optimizer: 'sgd'});
    expect(compile).toThrow(LoRAError);
    expect(compile).toThrow(
      `The loss "crossEntropy" takes logits, but the output of the model ends in the activation ${activation} of layer ` +
        '"end". Give the model a head without an activation: replaceHead(base, [tf.layers.dense({units: 3})]), since a ' +
        `number of classes makes a softmax. Or call model.compile with ${end}`,
    );
  });

  test('a function as loss takes no settings of the classes, and no target to ignore without a metric by name', () => {
    const loss = tf.losses.meanSquaredError;
    const compile = (options: object) => () => compileModel(classifier(), {optimizer: 'sgd', loss, ...options});
    expect(compile({focalGamma: 2})).toThrow('focalGamma does not apply to a function as loss.');
    expect(compile({ignoreIndex: -1})).toThrow('ignoreIndex does not apply to a function, as loss or as metric');
    expect(compile({ignoreIndex: -1, metrics: ['accuracy']})).not.toThrow();
  });

  test('metrics by output are refused for a loss of logits', () => {
    const compile = () => compileModel(classifier(), {optimizer: 'sgd', metrics: {dense: 'accuracy'}});
    expect(compile).toThrow('metrics by output are for losses of Keras.');
  });
});
