import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, checkpoint, compileModel, disposeModel, replaceHead, resume} from 'tfjs-lora';
import {
  classify,
  type ClassifyOptions,
  encodeExamples,
  type EncodeExamplesOptions,
  encodeTexts,
  loadTransformer,
  type TextExample,
  type Tokenizer,
} from 'tfjs-lora/transformers';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {MemoryHandler} from '../../models';
import {type Expectation, fixture} from './fixtures';

/** A tokenizer whose texts are token ids. */
const ids: Pick<Tokenizer, 'encode'> = {
  encode: (text, {text_pair: pair} = {}) => {
    const tokensOf = (part: string) => (part.match(/\d+/g) ?? []).map(Number);
    const [first, second] = [tokensOf(text), tokensOf(pair ?? '')];
    return {ids: [...first, ...second], token_type_ids: [...first.map(() => 0), ...second.map(() => 1)]};
  },
};

async function bert(changes: object = {}, options: object = {}): Promise<tf.LayersModel> {
  const {config, weights} = fixture('bertClasses');
  const changed = {...(JSON.parse(config) as object), ...changes};
  return (await loadTransformer({config: JSON.stringify(changed), weights, tokenizer: false, ...options})).model;
}

const NAMES = {id2label: {0: 'bad', 1: 'fair', 2: 'good'}};
let expected: Expectation;
let texts: string[];
let model: tf.LayersModel;
beforeAll(async () => {
  await useBackend('cpu');
  ({expected} = fixture('bertClasses'));
  texts = expected.ids.map((row, i) => row.filter((_, j) => expected.mask[i]![j] === 1).join(' '));
  model = await bert(NAMES);
});

/** The scores of each text from PyTorch's logits, by the names of the classes. */
function scoresBy(score: (logit: number, logits: readonly number[]) => number): Record<string, number>[] {
  return texts.map((_, row) => {
    const logits = expected.base.slice(3 * row, 3 * row + 3);
    return Object.fromEntries(logits.map((logit, i) => [['bad', 'fair', 'good'][i]!, score(logit, logits)]));
  });
}
const softmaxes = () =>
  scoresBy((logit, logits) => Math.exp(logit) / logits.reduce((sum, value) => sum + Math.exp(value), 0));

async function expectScores(scored: tf.LayersModel, wanted: Record<string, number>[], options: ClassifyOptions = {}) {
  await withoutLeaks(async () => {
    const results = await classify(scored, ids, texts, options);
    results.forEach((result, row) => {
      const best = Object.entries(wanted[row]!).sort(([, one], [, other]) => other - one);
      expect(result.map(({label}) => label)).toEqual(best.map(([label]) => label));
      expect(result.map(({score}) => score)).toBeAllClose(best.map(([, score]) => score), {rtol: 1e-5, atol: 1e-6}); // prettier-ignore
    });
    expect(results).toHaveLength(texts.length);
  });
}

describe('classify', () => {
  test('gives the softmax of the logits of PyTorch, the best class first', async () => {
    await expectScores(model, softmaxes());
    await expectScores(model, softmaxes(), {batchSize: 2});
  });

  test('gives the best classes alone', async () => {
    const [[best, ...others] = []] = await classify(model, ids, [texts[2]!], {topK: 1});
    expect([best!.label, others]).toEqual(['fair', []]);
  });

  test('gives sigmoids where classes do not exclude each other', async () => {
    const multi = await bert({...NAMES, problem_type: 'multi_label_classification'});
    await expectScores(
      multi,
      scoresBy(logit => 1 / (1 + Math.exp(-logit))),
    );
  });

  test('takes the scores of a head that ends in a softmax as they are', async () => {
    const ended = tf.model({
      inputs: model.inputs,
      outputs: tf.layers.softmax({}).apply(model.outputs[0]!) as tf.SymbolicTensor,
    });
    await expectScores(ended, softmaxes(), {labels: ['bad', 'fair', 'good']});
  });

  test('needs the names of the classes of a new head', async () => {
    const headed = replaceHead(model, [tf.layers.dense({units: 2, name: 'new'})]);
    await expect(classify(headed, ids, texts)).rejects.toThrow("model's 2 classes are not known");
    await expect(classify(headed, ids, texts, {labels: ['a']})).rejects.toThrow('labels must be 2 different names');
    const [[best] = []] = await classify(headed, ids, texts, {labels: ['a', 'b']});
    expect(['a', 'b']).toContain(best!.label);
    disposeModel(headed);
  });

  test('refuses what is not of classes', async () => {
    const {config, weights} = fixture('bert');
    const {model: body} = await loadTransformer({config, weights, tokenizer: false});
    await expect(classify(body, ids, texts)).rejects.toThrow('The model must have one output of classes');
    const regression = await bert({problem_type: 'regression'});
    await expect(classify(regression, ids, texts)).rejects.toThrow('a regression');
    const active = replaceHead(model, [tf.layers.dense({units: 2, name: 'new', activation: 'tanh'})]);
    await expect(classify(active, ids, texts, {labels: ['a', 'b']})).rejects.toThrow('ends in the activation tanh');
    disposeModel(active);
  });
});

const EXAMPLES: TextExample[] = [
  {text: '5 6 7', label: 'good'},
  {text: '8', label: 'bad'},
  {text: ['9 10', '11'], label: 1},
  {text: '12 13', label: 'bad'},
];

describe('encodeExamples', () => {
  test('makes the inputs of the model and class indices, in batches', async () => {
    await withoutLeaks(async () => {
      const typed = await bert(NAMES, {tokenTypes: true});
      const options: EncodeExamplesOptions = {batchSize: 3, seed: 1, padToMultipleOf: 4, maxLength: 2};
      const data = await encodeExamples(typed, ids, EXAMPLES, options);
      expect([data.size, data.seed]).toEqual([2, 1]);
      const rows: unknown[] = [];
      await data.forEachAsync(({xs, ys}) => {
        const inputs = (xs as tf.Tensor2D[]).map(tensor => tensor.arraySync());
        numbers(ys as tf.Tensor).forEach((label, i) => rows.push([label, ...inputs.map(input => input[i])]));
        tf.dispose([xs, ys] as tf.TensorContainer);
      });
      expect(rows).toHaveLength(4);
      expect(rows).toEqual(
        expect.arrayContaining([
          [2, [5, 6, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]],
          [0, [8, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]],
          [1, [9, 10, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]],
          [0, [12, 13, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]],
        ]),
      );
      disposeModel(typed);
    });
  });

  test('has a loss that is that of fit with all inputs at once, and a run that goes on where it ended', async () => {
    const losses = async (epochs: number, file: MemoryHandler, goesOn = false) => {
      const adapted = applyLoRA(model, {rank: 2, seed: 1});
      compileModel(adapted, {optimizer: adam({learningRate: 0.02})});
      const batches = await encodeExamples(adapted, ids, EXAMPLES, {batchSize: 2, seed: 1});
      const run = goesOn ? await resume(adapted, file, {batches}) : {};
      const callbacks = [checkpoint(file, {batches})];
      const {history} = await adapted.fitDataset(batches, {epochs, verbose: 0, callbacks, ...run});
      disposeModel(adapted);
      return history.loss as number[];
    };
    const longer = await losses(3, new MemoryHandler());
    const file = new MemoryHandler();
    expect([...(await losses(1, file)), ...(await losses(3, file, true))]).toEqual(longer);

    const adapted = applyLoRA(model, {rank: 2, seed: 1});
    compileModel(adapted, {optimizer: 'sgd'});
    const {inputs} = encodeTexts(adapted, ids, EXAMPLES.map(({text}) => text)); // prettier-ignore
    const loss = adapted.evaluate(inputs, tf.tensor1d([2, 0, 1, 0])) as tf.Scalar;
    const batches = await encodeExamples(adapted, ids, EXAMPLES);
    const {history} = await adapted.fitDataset(batches, {epochs: 1, verbose: 0});
    expect(history.loss![0]).toBeCloseTo(numbers(loss)[0]!, 5);
    disposeModel(adapted);
  });

  test('names the record and the field of each fault', async () => {
    const encode = (records: unknown, options = {}, trained = model) =>
      encodeExamples(trained, ids, records as TextExample[], options);
    await expect(encode([EXAMPLES[0], {text: 1, label: 'worse'}, {text: 'a', label: 3}, {text: 'a'}])).rejects.toThrow(
      [
        'Record 1: text must be a string or a pair of strings, got a number.',
        'Record 1: label must be one of "bad", "fair", "good", got "worse".',
        'Record 2: label must be a class from 0 to 2, got 3.',
        'Record 3: label must be the name of a class or its index, got undefined.',
      ].join('\n'),
    );
    await expect(encode('text')).rejects.toThrow("records must be a list such as [{text: 'a text', label: 0}]");
    const multi = await bert({problem_type: 'multi_label_classification'});
    await expect(encode(EXAMPLES, {}, multi)).rejects.toThrow('"multi_label_classification"');
    const headed = replaceHead(model, [tf.layers.dense({units: 2, name: 'new'})]);
    await expect(encode([{text: '5', label: 'a'}], {}, headed)).rejects.toThrow('Pass them as labels');
    const data = await encode([{text: '5', label: 'b'}], {labels: ['a', 'b']}, headed);
    await data.forEachAsync(({ys}) => expect(numbers(ys as tf.Tensor)).toEqual([1]));
    disposeModel(headed);
  });
});

test('encoded texts have the inputs of the model, token types included', async () => {
  const typed = await bert({}, {tokenTypes: true});
  for (const [trained, count] of [[model, 2] as const, [typed, 3] as const]) {
    const {inputs, inputIds, attentionMask, tokenTypeIds} = encodeTexts(trained, ids, [['5', '6'], '7']);
    expect(inputs).toEqual([inputIds, attentionMask, tokenTypeIds].slice(0, count));
    compileModel(trained, {optimizer: 'sgd'});
    await trained.fit(inputs, tf.tensor1d([0, 1]), {epochs: 1, verbose: 0});
  }
});
