import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  compileModel,
  convertToLoRA,
  disposeModel,
  exportPEFT,
  getAdapter,
  loadAdapter,
  mergeLoRA,
  scaleAdapter,
  setAdapter,
  summarizeLoRA,
  toSafetensors,
  trainableVariables,
  withAdapter,
} from 'tfjs-lora';
import {quantizeBase} from 'tfjs-lora/quantized';
import {addTokens, loadTransformer, trainableTokens} from 'tfjs-lora/transformers';
import {CHUNK} from '../../../src/extensions/transformers/ops/headInChunks';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {numbers, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {fixture, wordTokenizer} from './fixtures';

/** What PyTorch computed with an adapter of PEFT. */
interface Expected {
  base: string;
  ids: number[][];
  logits: number[];
  weights: number[];
  gradient: number[];
}

const FOLDER = 'test/fixtures/tokens';
const NAMES = ['tied', 'untied', 'added', 'addedUntied', 'alone', 'aloneUntied'];
const EMBEDDING = 'model/embed_tokens';

function tokensFixture(name: string) {
  const text = (file: string) => readFileSync(join(FOLDER, name, file), 'utf8');
  return {
    config: text('adapter_config.json'),
    weights: new Uint8Array(readFileSync(join(FOLDER, name, 'adapter_model.safetensors'))),
    expected: JSON.parse(text('expected.json')) as Expected,
  };
}

/** The base of an adapter, with more tokens where it has rows for some. */
async function baseOf(name: string, tokens = 0): Promise<tf.LayersModel> {
  const {config, weights} = fixture(name);
  const rows = (JSON.parse(config) as {vocab_size: number}).vocab_size;
  const tokenizerJson = wordTokenizer(['[UNK]', ...Array.from({length: rows - 1}, (_, i) => `w${i + 1}`)]);
  const {model, tokenizer} = await loadTransformer({config, weights, tokenizerJson});
  if (tokens <= rows) {
    return model;
  }
  const added = addTokens(
    model,
    tokenizer,
    Array.from({length: tokens - rows}, (_, i) => `<new ${i}>`),
  );
  disposeModel(model);
  return added.model;
}

const inputsOf = ({ids}: Pick<Expected, 'ids'>) => {
  const tokens = tf.tensor2d(ids, undefined, 'int32');
  return [tokens, tf.onesLike(tokens)];
};

const logitsOf = (model: tf.LayersModel, given: Pick<Expected, 'ids'>) =>
  tf.tidy(() => numbers(model.predict(inputsOf(given)) as tf.Tensor));

test.each(NAMES)('an adapter of PEFT computes what it does in PyTorch: %s', async name => {
  const {config, weights, expected} = tokensFixture(name);
  const base = await baseOf(expected.base, expected.logits.length / expected.ids.flat().length);
  const model = applyLoRA(base, await loadAdapter({config, weights}, {model: base}));
  expect(logitsOf(model, expected)).toBeAllClose(expected.logits, {atol: 1e-4, rtol: 1e-4});
  const deltas = trainableVariables(model).filter(({name: own}) => own.includes('token_deltas'));
  const gradient = tf.tidy(() => {
    const loss = () => {
      const logits = model.apply(inputsOf(expected), {training: true}) as tf.Tensor;
      return tf.sum<tf.Scalar>(tf.mul(logits, tf.tensor(expected.weights, logits.shape)));
    };
    const {grads} = tf.variableGrads(loss, deltas);
    return deltas.flatMap(({name: own}) => numbers(grads[own]!));
  });
  expect(gradient).toBeAllClose(expected.gradient, {atol: 1e-4, rtol: 1e-4});

  // What is written is what was read, with the tokens by the path of their module.
  const written = await exportPEFT(model);
  const [own, given] = [written.weights, weights].map(bytes => decodeSafetensors(bytes).tensors);
  expect([...own!.keys()].sort()).toEqual([...given!.keys()].sort());
  given!.forEach(({shape, data}, key) => {
    expect(own!.get(key)!.shape).toEqual(shape);
    expect([...own!.get(key)!.data!]).toBeAllClose([...data!], {atol: 1e-6, rtol: 1e-6});
  });
  const asked = JSON.parse(config) as Record<string, unknown>;
  const [indices] = Object.values(written.config.trainable_token_indices ?? {}) as number[][];
  const modules = name.endsWith('Untied') ? ['model.embed_tokens', 'lm_head'] : ['model.embed_tokens'];
  if (name.startsWith('alone')) {
    const {peft_type, token_indices} = asked;
    expect(written.config).toMatchObject({peft_type, token_indices, target_modules: modules});
  } else {
    expect(written.config.trainable_token_indices).toEqual(Object.fromEntries(modules.map(each => [each, indices])));
    expect(
      [asked.trainable_token_indices]
        .flatMap(each => Object.values<unknown>(each as Record<string, unknown>))
        .slice(0, 2),
    ).toEqual(name === 'tied' || name === 'added' ? indices : modules.map(() => indices));
  }

  const merged = mergeLoRA(model);
  expect(merged.layers.map(layer => layer.getClassName())).toEqual(base.layers.map(layer => layer.getClassName()));
  expect(logitsOf(merged, expected)).toBeAllClose(expected.logits, {atol: 1e-4, rtol: 1e-4});
});

test('only the rows of the tokens train, in the tied head too', async () => {
  const base = await baseOf('llamaTied');
  const given = {ids: [[1, 3, 11, 7]]};
  const before = logitsOf(base, given);
  const model = applyLoRA(base, trainableTokens(base, [3, 11]));
  expect(logitsOf(model, given)).toEqual(before);
  expect(trainableVariables(model).map(({shape}) => shape)).toEqual([[2, 8]]);
  model.compile({optimizer: tf.train.sgd(0.5), loss: 'meanSquaredError'});
  const [inputs, targets] = [inputsOf(given), tf.ones([1, 4, 13])];
  await model.trainOnBatch(inputs, targets);
  tf.dispose([inputs, targets]);
  const merged = mergeLoRA(model);
  const [was, is] = [base, merged].map(
    each => each.getLayer('model/embed_tokens').getWeights()[0]!.arraySync() as number[][],
  );
  expect(is!.flatMap((row, token) => (row.every((value, i) => value === was![token]![i]) ? [] : [token]))).toEqual([
    3, 11,
  ]);
  expect(logitsOf(model, given)).toBeAllClose(logitsOf(merged, given), {atol: 1e-5, rtol: 1e-5});
  withAdapter(model, null, () => {
    expect(logitsOf(model, given)).toEqual(before);
  });
});

test('a quantized table trains its tokens as floats would', async () => {
  const base = await baseOf('llamaTied');
  const quantized = await quantizeBase(base, {bits: 8, targets: ['Embedding']});
  const {config, weights, expected} = tokensFixture('tied');
  const model = applyLoRA(quantized, await loadAdapter({config, weights}, {model: quantized}));
  // PEFT's rows are taken as they are, whatever the base lost.
  const merged = mergeLoRA(model);
  const row = (each: tf.LayersModel) => numbers(tf.slice(each.getLayer(EMBEDDING).getWeights()[0]!, [3, 0], [1, 8]));
  const plain = mergeLoRA(applyLoRA(base, await loadAdapter({config, weights}, {model: base})));
  expect(row(merged)).toBeAllClose(row(plain), {atol: 1e-6, rtol: 1e-6});
  expect(logitsOf(model, expected)).toBeAllClose(logitsOf(merged, expected), {atol: 1e-4, rtol: 1e-4});
});

describe('as a value', () => {
  let base: tf.LayersModel;
  const given = {ids: [[1, 3, 11, 7]]};

  beforeAll(async () => {
    base = await baseOf('llamaTied');
  });

  /** An adapter whose tokens have changed. */
  function changed(tokens: readonly number[]): Adapter {
    const model = applyLoRA(base, trainableTokens(base, tokens, {lora: {rank: 2, targets: [/q_proj$/], seed: 1}}));
    trainableVariables(model).forEach((variable, i) =>
      tf.tidy(() => variable.assign(tf.randomNormal(variable.shape, 0, 0.3, 'float32', 3 + i))),
    );
    const adapter = getAdapter(model);
    disposeModel(model);
    return adapter;
  }

  test('it survives a file, also in half precision, and so does the adapted model', async () => {
    const adapter = changed([12, 0]);
    const read = await loadAdapter(await toSafetensors(adapter, {dtype: 'float16'}));
    expect(read.config.layers[EMBEDDING]).toMatchObject({method: 'tokens', tokens: [12, 0]});
    const model = applyLoRA(base, adapter);
    const expected = logitsOf(model, given);
    const loaded = await reloaded(model);
    expect(logitsOf(loaded, given)).toEqual(expected);
    setAdapter(loaded, read);
    expect(logitsOf(loaded, given)).toBeAllClose(expected, {atol: 1e-2});
  });

  test('another adapter may train other tokens, and nothing leaks', async () => {
    const [one, other] = [changed([3, 11]), changed([7])];
    await withoutLeaks(() => {
      const model = applyLoRA(base, one);
      const first = logitsOf(model, given);
      setAdapter(model, other);
      const second = logitsOf(model, given);
      const alone = applyLoRA(base, other);
      expect(second).toEqual(logitsOf(alone, given));
      expect(second).not.toEqual(first);
      setAdapter(model, one);
      expect(logitsOf(model, given)).toEqual(first);
      const none = scaleAdapter(one, 0);
      setAdapter(model, none);
      expect(logitsOf(model, given)).toEqual(logitsOf(base, given));
      none.dispose();
      one.dispose = () => undefined; // the models adopt it
      other.dispose = () => undefined;
      [alone, model].forEach(disposeModel);
    });
    await expect(convertToLoRA(base, {adapter: one})).rejects.toThrow('"lm_head" uses the tokens that train');
    await expect(combineAdapters([{adapter: one, weight: 1}])).rejects.toThrow('tokens, whose updates cannot be added');
  });

  test('a loss in chunks of positions trains the rows of a tied head too', async () => {
    const {logits} = CHUNK;
    const trained: number[][] = [];
    for (const most of [logits, 13]) {
      CHUNK.logits = most;
      const model = applyLoRA(base, trainableTokens(base, [3, 11]));
      compileModel(model, {optimizer: tf.train.sgd(1)});
      const [inputs, targets] = [inputsOf(given), tf.tensor2d([[3, 11, 7, 3]])];
      await model.trainOnBatch(inputs, targets);
      trained.push(numbers(trainableVariables(model)[0]!));
      tf.dispose([inputs, targets]);
      disposeModel(model);
    }
    CHUNK.logits = logits;
    expect(trained[1]).toBeAllClose(trained[0]!, {atol: 1e-6});
    expect(trained[0]!.every(value => value !== 0)).toBe(true);
  });

  test('with an untied head, it converts to LoRA, and the summary names the method', async () => {
    const untied = await baseOf('llama');
    const {config, weights} = tokensFixture('untied');
    const model = applyLoRA(untied, await loadAdapter({config, weights}, {model: untied}));
    expect(String(summarizeLoRA(model))).toMatch(/embed_tokens .*tokens/);
    const {adapter, error} = await convertToLoRA(model, {rank: 3});
    expect(error).toBeLessThan(1e-5);
    const plain = applyLoRA(untied, adapter);
    expect(logitsOf(plain, given)).toBeAllClose(logitsOf(model, given), {atol: 1e-4});
  });

  test('what cannot be is refused by name, and leaves nothing', async () => {
    await withoutLeaks(() => {
      expect(() => trainableTokens(base, [])).toThrow('tokens must be a list of different token ids');
      expect(() => trainableTokens(base, [3, 3])).toThrow('got [3,3]');
      expect(() => trainableTokens(base, [13])).toThrow('has 13 tokens, and there is none with id 13');
      expect(() => trainableTokens(base, [1], {layer: 'wte'})).toThrow(
        'There is no Embedding "wte". The model has: "model/embed_tokens"',
      );
      expect(() => trainableTokens(base, [1], {lora: {targets: ['Embedding']}})).toThrow(
        'the token embedding. Exclude it',
      );
      expect(() => trainableTokens(base, [1], {lora: {targets: ['lm_head']}})).toThrow('the output head tied to it');
    });
    const adapter = trainableTokens(base, [3]);
    const gamma = {'model/norm/gamma': tf.ones([8])};
    const withNorm = {
      ...adapter,
      config: {...adapter.config, trainable: ['model/norm']},
      tensors: {...adapter.tensors, ...gamma},
    } as Adapter;
    await expect(exportPEFT(base, {adapter: withNorm})).rejects.toThrow('other weights train too. Add LoRA to it');
    tf.dispose(gamma);
    const layer = adapter.config.layers[EMBEDDING]!;
    const withTokens = (tokens: unknown) =>
      ({...adapter, config: {...adapter.config, layers: {[EMBEDDING]: {...layer, tokens}}}}) as Adapter;
    expect(() => applyLoRA(base, withTokens([13]))).toThrow('has 13 rows, and there is none for token 13');
    expect(() => applyLoRA(base, withTokens([-1]))).toThrow('tokens must be 1 different token ids');
    expect(() => applyLoRA(base, withTokens([1, 2]))).toThrow('tokens must be 1 different token ids');
    expect(() => applyLoRA(base, withTokens(undefined))).toThrow('takes the tokens that train');
  });

  test('files of PEFT that do not fit are refused', async () => {
    const {config, weights} = tokensFixture('tied');
    const withIndices = (indices: unknown) => ({...(JSON.parse(config) as object), trainable_token_indices: indices});
    const imported = (indices: unknown) => loadAdapter({config: withIndices(indices), weights}, {model: base});
    await expect(imported([3])).rejects.toThrow('lists 1 tokens for it');
    await expect(imported([3, 40])).rejects.toThrow('tokens up to 40 of width 8, but the layer has 13');
    await expect(imported({lm_head: [3, 11]})).rejects.toThrow('lists 0 tokens for it');
    await expect(imported([3, 3])).rejects.toThrow('tokens must be 2 different token ids, got [3,3]');
    await expect(imported([-1, 3])).rejects.toThrow('tokens must be 2 different token ids');
    await expect(imported('all')).rejects.toThrow('not a list of token ids');
    await expect(imported([0.5, 1])).rejects.toThrow('not a list of token ids');
  });
});
