import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, compileModel, disposeModel, fitOnFeatures, trainableVariables} from 'tfjs-lora';
import {
  ctcLoss,
  type CTCLossOptions,
  encodeSounds,
  encodeTranscripts,
  transcribe,
  type TranscribeOptions,
  type TranscriptPiece,
} from 'tfjs-lora/sound';
import {loadTransformer} from 'tfjs-lora/transformers';
import {wordsIn} from '../../../src/extensions/sound/ctcTranscript';
import {CharacterTokenizer} from '../../../src/extensions/transformers/load/characterTokenizer';
import {tokenizerFiles} from '../../../src/extensions/transformers/load/peers';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {fixture, inputsOf} from '../transformers/fixtures';
import 'tfjs-lora/node';
import {temporaryFolder} from '../../temporaryFolder';

/** JSON has only finite numbers. */
type Value = number | 'nan' | 'inf' | '-inf';

interface CTCCase {
  shape: [number, number, number];
  logits: Value[];
  targets: number[][];
  lengths: number[] | null;
  blank: number;
  losses: Value[];
  zeroed: Value[];
  gradients: Value[];
}

/** What `make_ctc.py` computed with PyTorch in 64 bits. */
const {cases} = JSON.parse(readFileSync(join(__dirname, '../../fixtures/ctc.json'), 'utf8')) as {cases: CTCCase[]};

function padded(targets: readonly number[][]): tf.Tensor2D {
  const length = Math.max(...targets.map(each => each.length));
  const values = targets.flatMap(each => [...each, ...Array<number>(length - each.length).fill(-100)]);
  return tf.tensor2d(values, [targets.length, length], 'int32');
}

function valueOf(value: Value): number {
  return typeof value === 'number' ? value : {nan: NaN, inf: Infinity, '-inf': -Infinity}[value];
}

/** Expects the same infinities and NaN, and numbers that are close to the largest. */
function expectValues(
  actual: readonly number[],
  given: readonly Value[],
  tolerance: {rtol: number; atol: number},
): void {
  const expected = given.map(valueOf);
  const notFinite = (values: readonly number[]) => values.map(value => (Number.isFinite(value) ? 0 : value));
  expect(notFinite(actual)).toEqual(notFinite(expected));
  expect(actual.filter(Number.isFinite)).toBeAllClose(expected.filter(Number.isFinite), tolerance);
}

test.each(cases.map((each, i) => [i, JSON.stringify(each.targets), each] as const))(
  'case %i, targets %s, has the losses and gradients of PyTorch',
  async (_i, _targets, {shape, logits: values, targets, lengths, blank, losses, zeroed, gradients}) => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const options: CTCLossOptions = {blank, ...(lengths && {inputLengths: tf.tensor1d(lengths, 'int32')})};
        const logits = tf.tensor3d(values.map(valueOf), shape);
        expectValues(numbers(ctcLoss(padded(targets), logits, options)), losses, {rtol: 1e-5, atol: 1e-5});
        const each = (x: tf.Tensor) => ctcLoss(padded(targets), x, {...options, zeroInfinity: true});
        expectValues(numbers(each(logits)), zeroed, {rtol: 1e-5, atol: 1e-5});
        const grad = tf.grad((x: tf.Tensor) => tf.sum(tf.mul(each(x), tf.range(1, targets.length + 1))))(logits);
        const largest = Math.max(...gradients.map(valueOf).filter(Number.isFinite).map(Math.abs));
        expectValues(numbers(grad), gradients, {rtol: 0, atol: 1e-5 * largest});
      }),
    );
  },
);

test('an optimizer may make and cast the targets and lengths within a step', async () => {
  const kernel = tf.variable(random([4, 4], 1));
  const xs = random([1, 5, 4], 2);
  const targets = tf.tensor2d([[1, 2, 3]]);
  const lengths = tf.tensor1d([4]);
  const loss = (own: (made: tf.Tensor) => tf.Tensor) => () => {
    const options = {inputLengths: own(lengths) as tf.Tensor1D};
    const logits = tf.reshape(tf.matMul(tf.reshape(xs, [5, 4]), kernel), [1, 5, 4]);
    return tf.sum<tf.Scalar>(ctcLoss(own(targets), logits, options));
  };
  const gradientOf = (own: (made: tf.Tensor) => tf.Tensor) => {
    const {value, grads} = tf.variableGrads(loss(own), [kernel]);
    const values = numbers(grads[kernel.name]!);
    tf.dispose([value, grads]);
    return values;
  };
  const expected = gradientOf(outside => outside);
  await withoutLeaks(() => {
    expect(gradientOf(outside => tf.cast(tf.add(outside, 0), 'int32'))).toEqual(expected);
  });
});

test('a model trains with it', async () => {
  await useBackend('wasm');
  const kernel = tf.variable(tf.zeros([2, 3]));
  const xs = tf.tensor2d(Array.from({length: 8}, (_, i) => (i < 4 ? [1, 0] : [0, 1])));
  const loss = () => tf.sum<tf.Scalar>(ctcLoss(tf.tensor2d([[1, 2]]), tf.expandDims(tf.matMul(xs, kernel))));
  const optimizer = tf.train.adam(1);
  // At first all strings of 8 frames are equally probable; 210 of them spell the target.
  const steps = Array.from({length: 12}, () => optimizer.minimize(loss, true)!.dataSync()[0]!);
  expect(steps[0]).toBeCloseTo(Math.log(3 ** 8 / 210), 4);
  expect(steps.at(-1)).toBeLessThan(steps[0]! / 3);
});

test.each([
  [[[1, 0]], {}, 'Target 1 of example 0 is 0. It must be a class from 0 to 2 other than the blank, 0, or -100 for'],
  [[[1, 3]], {}, 'Target 1 of example 0 is 3.'],
  [[[-100, 1]], {}, 'Target 1 of example 0 is after padding.'],
  [[[1], [2]], {}, 'Logits must be [batch, frames, classes] and targets [batch, length], got [1, 4, 3] and [2, 1].'],
  [[[1]], {blank: 3}, 'blank is 3, but the logits have 3 classes.'],
  [[[1]], {blank: -1}, 'blank must be a whole number, 0 or more, got -1.'],
  [[[1]], {zero: true}, 'There is no option "zero".'],
])('targets %j with options %j are refused', async (targets, options, message) => {
  await useBackend('cpu');
  const refused = () => ctcLoss(tf.tensor2d(targets), tf.zeros([1, 4, 3]), options as CTCLossOptions);
  await withoutLeaks(() =>
    tf.tidy(() => {
      expect(refused).toThrow(message);
    }),
  );
});

interface TokenizerCase {
  vocabulary: Record<string, number>;
  config: Record<string, unknown>;
  encoded: [text: string, ids: number[]][];
  decoded: [ids: number[], text: string][];
  /** For each of `decoded`: the words with their frames. */
  words: [text: string, from: number, to: number][][];
}

const {tokenizers} = JSON.parse(readFileSync('test/fixtures/ctc.json', 'utf8')) as {tokenizers: TokenizerCase[]};

describe.each(tokenizers.map((each, i) => [i, each] as const))('tokenizer %i', (_, given) => {
  const tokenizer = new CharacterTokenizer(given.vocabulary, given.config);

  test.each(given.encoded)('encodes %j as transformers does', (text, ids) => {
    expect(tokenizer.encode(text).ids).toEqual(ids);
  });

  test.each(given.decoded)('decodes %j as transformers does', (ids, text) => {
    expect(tokenizer.decode(ids)).toBe(text);
  });

  test('finds the words of transformers, with the frames that they begin and end at', () => {
    const {pad_token: padding = '<pad>'} = given.config as {pad_token?: string};
    const config = {pad_token_id: given.vocabulary[padding]};
    const model = {getUserDefinedMetadata: () => ({hub: {config}})};
    const space = tokenizer.encode(' ').ids[0];
    // Offsets of transformers have no lower case.
    const plain = new CharacterTokenizer(given.vocabulary, {...given.config, do_lower_case: false});
    const found = given.decoded.map(([ids]) =>
      wordsIn(ids, model as unknown as tf.LayersModel, {decode: own => plain.decode(own), space}).map(
        ({text, from, to}) => [text, from, to],
      ),
    );
    expect(found).toEqual(given.words);
  });
});

const CTC = ['wav2vec2CTC', 'hubertCTC'];
const VOCABULARY = {'<pad>': 0, '<unk>': 1, '|': 2, A: 3, B: 4, C: 5, D: 6};

async function load(name: string) {
  const {config, weights} = fixture(name);
  return loadTransformer({config, weights, vocabulary: VOCABULARY, tokenizerConfig: {}});
}

test.each(CTC)('the loss of %s is that of transformers, whose padding counts for nothing', async name => {
  const {expected} = fixture(name);
  await withoutLeaks(async () => {
    const {model} = await load(name);
    compileModel(model, {optimizer: 'sgd'});
    const inputs = inputsOf(expected);
    const targets = tf.tensor2d(expected.labels!, undefined, 'int32');
    const loss = model.evaluate(inputs, targets) as tf.Scalar;
    expect((await loss.data())[0]).toBeCloseTo(expected.loss!, 4);
    tf.dispose([...inputs, targets, loss]);
    disposeModel(model);
  });
});

describe('on cpu', () => {
  beforeAll(() => useBackend('cpu'));
  async function piecesOf(name: string, options: TranscribeOptions = {}): Promise<TranscriptPiece[]> {
    const {model, tokenizer} = await load(name);
    const clip = tf.slice(tf.tensor(fixture(name).expected.sound!.values, fixture(name).expected.sound!.shape), 0, 1);
    const pieces: TranscriptPiece[] = [];
    for await (const piece of transcribe(model, tokenizer, clip, options)) {
      pieces.push(piece);
    }
    clip.dispose();
    disposeModel(model);
    return pieces;
  }

  test.each(CTC)('%s is transcribed by the likeliest character of each frame', async name => {
    const {base, shape} = fixture(name).expected;
    const [, frames, classes] = shape as [number, number, number];
    const likeliest = Array.from({length: frames}, (_, t) => {
      const logits = base.slice(t * classes, (t + 1) * classes);
      return logits.indexOf(Math.max(...logits));
    });
    const text = new CharacterTokenizer(VOCABULARY).decode(likeliest);
    expect((await piecesOf(name)).map(piece => piece.text).join('')).toBe(text);
    const words = await piecesOf(name, {timestamps: true});
    expect(words.map(piece => piece.text)).toEqual(text.split(' ').filter(word => word !== ''));
    // Strides of 3, 2 and 1, at 16 kHz.
    words.forEach(({start, end}) => [start, end].forEach(time => expect((time! * 16_000) % 6).toBeCloseTo(0)));
  });

  test.each([true, false])('encoded sounds have the inputs of the model, with padding told apart: %s', async isTold => {
    const {model} = await load('wav2vec2CTC');
    const preprocessor = {feature_extractor_type: 'Wav2Vec2FeatureExtractor', return_attention_mask: isTold};
    const sounds = [100, 80].map(length => ({samples: new Float32Array(length).fill(0.5), sampleRate: 16_000}));
    const {inputs, features, attentionMask} = await encodeSounds(model, sounds, {preprocessor});
    expect(inputs).toEqual([features, attentionMask]);
    expect(numbers(tf.sum(attentionMask!, 1))).toEqual([100, isTold ? 80 : 100]);
    expect((model.predict(inputs) as tf.Tensor).shape[0]).toBe(2);
  });

  test('an adapted model learns transcripts, also on features that are computed once', async () => {
    const {model, tokenizer} = await load('wav2vec2CTC');
    const {inputs: noInputs, targets} = encodeTranscripts(model, tokenizer, ['AB', 'D']);
    expect(noInputs).toEqual([]);
    expect(targets.arraySync()).toEqual([
      [3, 4],
      [6, -100],
    ]);
    const inputs = inputsOf(fixture('wav2vec2CTC').expected);
    const train = async (isOnFeatures: boolean) => {
      const adapted = applyLoRA(model, {rank: 2, seed: 1, targets: [/v_proj$/, 'lm_head']});
      compileModel(adapted, {optimizer: tf.train.adam(0.05)});
      const args = {epochs: 4, verbose: 0, shuffle: false} as const;
      const run = isOnFeatures ? fitOnFeatures(adapted, inputs, targets, args) : adapted.fit(inputs, targets, args);
      const {history} = await run;
      disposeModel(adapted);
      return history.loss as number[];
    };
    const plain = await train(false);
    expect(plain.at(-1)).toBeLessThan(plain[0]! - 0.5);
    expect(await train(true)).toBeAllClose(plain, {rtol: 1e-4, atol: 1e-5});
  });

  test('a folder has the tokenizer in its vocab.json, and gets it back', async () => {
    const {config, weights} = fixture('hubertCTC');
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'config.json'), config);
    writeFileSync(join(folder, 'model.safetensors'), weights);
    writeFileSync(join(folder, 'vocab.json'), JSON.stringify(VOCABULARY));
    writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify({do_lower_case: true}));
    const {model, tokenizer} = await loadTransformer(folder);
    expect(tokenizer.decode([3, 3, 0, 3, 2, 4])).toBe('aa b');
    expect(JSON.parse(tokenizerFiles(tokenizer)!['vocab.json']!)).toEqual(VOCABULARY);
    disposeModel(model);
  });

  test('a body gets a new head for the characters of a language, which trains in full', async () => {
    const {config, weights} = fixture('wav2vec2');
    const labels = ['a', 'b', 'ß', ' ', '[UNK]', '[PAD]'];
    const loading = {config, weights, architecture: 'Wav2Vec2ForCTC', labels};
    const {model, tokenizer, config: own} = await loadTransformer(loading);
    expect([own.vocab_size, own.pad_token_id, own.architectures]).toEqual([6, 5, ['Wav2Vec2ForCTC']]);
    expect(model.outputs[0]!.shape.at(-1)).toBe(6);
    expect(encodeTranscripts(model, tokenizer, ['aß b']).targets.arraySync()).toEqual([[0, 2, 3, 1]]);
    const adapted = applyLoRA(model, {rank: 1, targets: [/q_proj$/]});
    expect(trainableVariables(adapted).map(({shape}) => shape)).toContainEqual([8, 6]);
    compileModel(adapted, {optimizer: 'sgd'});
    await expect(loadTransformer({...loading, labels: ['a', 'b']})).rejects.toThrow("labels must include '<pad>'");
  });

  test('refuses characters that the vocabulary lacks, and options of a Whisper', async () => {
    const {model, tokenizer} = await load('wav2vec2CTC');
    expect(() => encodeTranscripts(model, tokenizer, ['ABE é'])).toThrow(
      'The vocabulary of the model lacks "E", "é" in "ABE é". Spell texts with its characters',
    );
    expect(() => encodeTranscripts(model, tokenizer, ['A'], {language: 'en'})).toThrow('the model is for CTC');
    expect(() => encodeTranscripts(model, tokenizer, [])).toThrow('texts must be a list of texts');

    expect(() => transcribe(model, tokenizer, tf.ones([1, 40]), {maxTokens: 3})).toThrow('maxTokens is for a Whisper');
    expect(() => transcribe(model, tokenizer, tf.ones([2, 40]))).toThrow('[1, samples], got [2, 40]');
    const vocabulary = {en: {A: 1}};
    const {config, weights} = fixture('wav2vec2CTC');
    const nested = await loadTransformer({config, weights, vocabulary});
    expect(() => nested.tokenizer).toThrow('vocab.json must have an id for each token');
  });
});
