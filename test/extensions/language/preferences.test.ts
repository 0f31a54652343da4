import {readFileSync} from 'node:fs';
import {Tokenizer} from '@huggingface/tokenizers';
import * as tf from '@tensorflow/tfjs';
import {
  accumulate,
  adam,
  adamW,
  applyLoRA,
  bestAdapter,
  checkpoint,
  disposeModel,
  getAdapter,
  loadAdapter,
  learningRateSchedule,
  LoRAError,
  removeLoRA,
  resume,
  setAdapter,
  sgd,
} from 'tfjs-lora';
import {
  compilePreferences,
  type CompilePreferencesOptions,
  type PreferenceMethodOptions,
  encodePreferences,
  type EncodePreferencesOptions,
  loadGGUF,
  type ChatMessage,
  parsePreferences,
  type PreferenceRecord,
} from 'tfjs-lora/language';
import {loadTransformer} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {sitesOf} from '../../../src/core/rewire/walk';
import {sequenceLogProbs} from '../../../src/extensions/language/logProbs';
import {CHUNK} from '../../../src/extensions/transformers/ops/headInChunks';
import {KeptGradients, numbers, random, withoutLeaks} from '../../helpers';
import {MemoryHandler, mlp} from '../../models';
import {fixture} from '../transformers/fixtures';
import {fileOf} from './ggufFiles';

/** What TRL computed for a batch. */
interface TRLCase {
  loss: number;
  rewards: {chosen: number; rejected: number; margins: number; accuracies?: number};
  gradients: Record<string, number[]>;
}

interface TRLTokens {
  prompt_ids: number[];
  chosen_ids?: number[];
  rejected_ids?: number[];
  completion_ids?: number[];
  KL_completion_ids?: number[];
}

const TRL = JSON.parse(readFileSync('test/fixtures/preferences.json', 'utf8')) as {
  tokenizer: object;
  pairs: PreferenceRecord[];
  texts: PreferenceRecord[];
  thumbs: PreferenceRecord[];
  tokens: Record<'pairs' | 'texts' | 'thumbs', TRLTokens[]>;
  cases: Record<string, TRLCase>;
  curve: {loss: number; margin: number}[];
};

const TOKENIZER = Object.assign(new Tokenizer(TRL.tokenizer, {}), {
  chatTemplate: {
    render({messages, add_generation_prompt: isAsked}: Record<string, unknown>): string {
      const texts = (messages as ChatMessage[]).map(({role, content}) => `<|im_start|>${role}\n${content}<|im_end|>\n`);
      return texts.join('') + (isAsked === true ? '<|im_start|>assistant\n' : '');
    },
  },
});

/** With this seed, the judged answers have the order of TRL, which does not shuffle them. */
const SEED = 4;

const files = fixture('llama');

async function llama(): Promise<{base: tf.LayersModel; model: tf.LayersModel}> {
  const {model: base} = await loadTransformer({config: files.config, weights: files.weights});
  // TRL allows no adapter of the head.
  const {config, weights} = files.adapter;
  const modules = (JSON.parse(config) as {target_modules: string[]}).target_modules.filter(name => name !== 'lm_head');
  const tensors = [...decodeSafetensors(weights).tensors].filter(([name]) => !name.includes('lm_head'));
  const adapter = {
    config: JSON.stringify({...JSON.parse(config), target_modules: modules}),
    weights: encodeSafetensors(Object.fromEntries(tensors) as Parameters<typeof encodeSafetensors>[0]),
  };
  return {base, model: applyLoRA(base, await loadAdapter(adapter, {model: base}))};
}

const encode = (model: tf.LayersModel, records: PreferenceRecord[], options: EncodePreferencesOptions = {}) =>
  encodePreferences(model, TOKENIZER, records, {batchSize: 8, seed: SEED, ...options});

/** Runs a step on one batch, and gives what is logged, with the gradients of the factors by their names in PEFT. */
async function stepOf(
  model: tf.LayersModel,
  data: tf.data.Dataset<tf.TensorContainer>,
  options: PreferenceMethodOptions & Pick<CompilePreferencesOptions, 'method' | 'metrics'>,
): Promise<{logs: Record<string, number>; gradients: Record<string, number[]>}> {
  const optimizer = new KeptGradients(gradient => numbers(tf.transpose(gradient)));
  compilePreferences(model, {...options, optimizer} as CompilePreferencesOptions);
  const {history} = await model.fitDataset(data, {epochs: 1, verbose: 0});
  const gradients = sitesOf(model).flatMap(({path, layer}) =>
    layer.trainableWeights.map(weight => {
      const factor = weight.originalName.slice(path.length + 1);
      const name = `base_model.model.${path.replaceAll('/', '.')}.${factor}.weight`;
      return [name, optimizer.values.get((weight.read() as tf.Variable).name)!] as const;
    }),
  );
  const logs = Object.fromEntries(Object.entries(history).map(([name, [value]]) => [name, value as number]));
  return {logs, gradients: Object.fromEntries(gradients)};
}

const CASES: readonly [
  name: string,
  options: PreferenceMethodOptions & Pick<CompilePreferencesOptions, 'method' | 'metrics'>,
  maxLength?: number,
][] = [
  ['dpo', {}],
  ['dpo, beta', {method: 'dpo', beta: 0.5}],
  ['dpo, labelSmoothing', {method: 'dpo', labelSmoothing: 0.2}],
  ['dpo, short', {method: 'dpo'}, 13],
  ['ipo', {method: 'ipo'}],
  ['ipo, beta', {method: 'ipo', beta: 0.4}],
  ['hinge', {method: 'hinge'}],
  ['hinge, beta', {method: 'hinge', beta: 0.7}],
  ['kto', {method: 'kto'}],
  ['kto, short', {method: 'kto'}, 12],
  ['kto, weights', {method: 'kto', beta: 0.3, desirableWeight: 1.5, undesirableWeight: 0.8}],
  ['orpo', {method: 'orpo'}],
  ['orpo, beta', {method: 'orpo', beta: 0.6}],
  ['simpo', {method: 'simpo'}],
  ['simpo, gamma', {method: 'simpo', beta: 2, simpoGamma: 1.2, cpoAlpha: 0}],
  ['simpo, labelSmoothing', {method: 'simpo', beta: 1.5, labelSmoothing: 0.1, cpoAlpha: 0.5}],
];

test('each case of TRL is tested', () => {
  expect(CASES.map(([name]) => name).sort()).toEqual(Object.keys(TRL.cases).sort());
});

let model: tf.LayersModel;

beforeAll(async () => ({model} = await llama()));

// In chunks: of two rows, or of parts of one.
const wholeChunk = CHUNK.logits;
beforeEach(() => {
  CHUNK.logits = 34 * model.outputs[0]!.shape[2]!;
});

afterAll(() => {
  CHUNK.logits = wholeChunk;
});

test.each(CASES)('the loss, rewards and gradients of %s are those of TRL', async (...[name, options, maxLength]) => {
  const {loss, rewards, gradients} = TRL.cases[name]!;
  const isKTO = options.method === 'kto';
  const isFree = options.method === 'orpo' || options.method === 'simpo';
  const reference = isFree ? 'none' : 'base';
  const data = await encode(model, isKTO ? TRL.thumbs : TRL.pairs, {reference, ...(maxLength && {maxLength})});
  const step = await stepOf(model, data, {...options, metrics: isKTO ? ['margin'] : ['accuracy', 'margin']});
  expect(step.logs.loss).toBeCloseTo(loss, 4);
  expect(step.logs.margin).toBeCloseTo(rewards.margins, 4);
  expect(step.logs.acc).toBe(rewards.accuracies);
  expect(Object.keys(step.gradients).sort()).toEqual(Object.keys(gradients).sort());
  for (const [key, values] of Object.entries(gradients)) {
    const largest = Math.max(...values.map(Math.abs));
    expect(step.gradients[key]).toBeAllClose(values, {rtol: 1e-4, atol: 1e-4 * largest});
  }
});

test('sums of log-probabilities and their gradient are those of composed operations', async () => {
  const logits = random<tf.Rank.R3>([3, 5, 7], 1);
  const targets = tf.tensor2d([
    [1, -100, 6, 0, 2],
    [-100, -100, -100, -100, -100],
    [3, 3, 3, -100, -100],
  ]);
  const composed = (x: tf.Tensor3D) => {
    const oneHot = tf.cast(tf.oneHot(tf.cast(targets, 'int32'), 7), 'float32');
    return tf.sum<tf.Tensor1D>(tf.mul(tf.logSoftmax(x), oneHot), [1, 2]);
  };
  await withoutLeaks(() =>
    tf.tidy(() => {
      const dy = tf.tensor1d([2, 3, -1]);
      const [ours, expected] = [(x: tf.Tensor3D) => sequenceLogProbs([targets], x)[0]!, composed].map(f => {
        const {value, grad} = tf.valueAndGrad(x => tf.sum(tf.mul(f(x as tf.Tensor3D), dy)))(logits);
        return [...numbers(f(logits)), ...numbers(value), ...numbers(grad)];
      });
      expect(ours).toBeAllClose(expected!, {rtol: 1e-5, atol: 1e-6});
    }),
  );
});

describe('on wasm', () => {
  let base: tf.LayersModel;
  let model: tf.LayersModel;

  beforeAll(async () => {
    ({base, model} = await llama());
  });

  /** The tokens of each row, and those of its answer. */
  async function rowsOf(records: PreferenceRecord[], options: EncodePreferencesOptions = {}) {
    const rows: {ids: number[]; answer: number[]}[] = [];
    await (
      await encode(model, records, options)
    ).forEachAsync(({xs, ys}) => {
      const [ids, mask] = (xs as tf.Tensor2D[]).map(each => each.arraySync());
      const targets = (ys as tf.Tensor2D).arraySync();
      ids!.forEach((row, i) => {
        const length = mask![i]!.reduce((sum, value) => sum + value, 0);
        const from = targets[i]![row.length]!;
        expect(targets[i]!.slice(0, length - 1)).toEqual(row.slice(1, length));
        expect(new Set(targets[i]!.slice(length, row.length))).toEqual(new Set(length < row.length ? [-100] : []));
        rows.push({ids: row.slice(0, length), answer: targets[i]!.slice(from, length)});
      });
      tf.dispose([xs, ys] as tf.TensorContainer);
    });
    return rows;
  }

  const byText = (rows: {ids: number[]; answer: number[]}[]) => rows.map(row => JSON.stringify(row)).sort();
  const whole = (prompt: number[], answer: number[]) => ({ids: [...prompt, ...answer].slice(0, -1), answer});

  test.each(['pairs', 'texts'] as const)('the tokens of %s are those of TRL', async kind => {
    const expected = TRL.tokens[kind].flatMap(({prompt_ids: prompt, chosen_ids: chosen, rejected_ids: rejected}) => [
      whole(prompt, chosen!),
      whole(prompt, rejected!),
    ]);
    expect(byText(await rowsOf(TRL[kind]))).toEqual(byText(expected));
  });

  test('the tokens of judged answers are those of TRL, with the same mismatched answers', async () => {
    const expected = TRL.tokens.thumbs.flatMap(
      ({prompt_ids: prompt, completion_ids: own, KL_completion_ids: other}) => [
        whole(prompt, own!),
        whole(prompt, other!),
      ],
    );
    expect(await rowsOf(TRL.thumbs)).toEqual(expected);
  });

  test('sequences are truncated at maxLength, and skipped if nothing of an answer is left', async () => {
    const data = await encode(model, TRL.pairs, {maxLength: 13});
    expect([data.kind, data.size, data.truncated, data.skipped]).toEqual(['pairs', 1, 3, 1]);
    const rows = await rowsOf(TRL.pairs, {maxLength: 13});
    expect(rows.length).toBe(6);
    expect(Math.max(...rows.map(({ids}) => ids.length))).toBe(12);
    await expect(encode(model, TRL.pairs, {maxLength: 3})).rejects.toThrow('No record is left');
  });

  test('ten steps of DPO follow the curve of TRL', async () => {
    const start = getAdapter(model);
    const data = await encode(model, TRL.pairs, {reference: 'base'});
    compilePreferences(model, {optimizer: adam({learningRate: 0.01, epsilon: 1e-8}), metrics: ['margin']});
    const {history} = await model.fitDataset(data, {epochs: 10, verbose: 0});
    expect(history.loss).toBeAllClose(
      TRL.curve.map(({loss}) => loss),
      {rtol: 1e-3, atol: 1e-4},
    );
    expect(history.margin).toBeAllClose(
      TRL.curve.map(({margin}) => margin),
      {rtol: 1e-3, atol: 1e-4},
    );
    setAdapter(model, start);
  });

  test('a learning-rate schedule sets the rate of each step', async () => {
    const start = getAdapter(model);
    const data = await encode(model, TRL.pairs);
    const schedule = () => learningRateSchedule({shape: 'linear', warmup: 1, steps: 4});
    const optimizer = sgd({learningRate: 0.5});
    compilePreferences(model, {optimizer});
    const {history} = await model.fitDataset(data, {epochs: 4, callbacks: [schedule()], verbose: 0});
    setAdapter(model, start);
    const [{xs, ys}] = (await (await encode(model, TRL.pairs)).toArray()) as [{xs: tf.Tensor[]; ys: tf.Tensor}];
    const expected: number[] = [];
    for (let step = 0; step < 4; step++) {
      schedule().set(optimizer, step);
      expected.push((await model.trainOnBatch(xs, ys)) as number);
    }
    tf.dispose([xs, ys]);
    expect(history.loss).toBeAllClose(expected, {rtol: 1e-6, atol: 0});
    expect(expected[3]).toBeLessThan(expected[1]!);
    optimizer.dispose();
    setAdapter(model, start);
  });

  test('the reference is the model as it is, or its base', async () => {
    const current = await stepOf(model, await encode(model, TRL.pairs), {metrics: ['margin']});
    expect(current.logs.loss).toBeCloseTo(Math.LN2, 5);
    expect(current.logs.margin).toBeCloseTo(0, 5);
    const {logs} = await stepOf(model, await encode(model, TRL.pairs, {reference: 'base'}), {metrics: ['margin']});
    expect(Math.abs(logs.margin!)).toBeGreaterThan(1e-3);
  });

  test('training and encoding leak nothing, also when they are aborted or fail', async () => {
    const controller = new AbortController();
    compilePreferences(model, {optimizer: 'sgd', metrics: ['accuracy', 'margin']});
    await model.fitDataset(await encode(model, TRL.pairs), {epochs: 1, verbose: 0});
    await withoutLeaks(async () => {
      const data = await encode(model, TRL.pairs, {reference: 'base', batchSize: 3});
      await model.fitDataset(data, {epochs: 2, validationData: data, verbose: 0});
      const onProgress = ({what, done}: {what: string; done: number}) => {
        if (what === 'computing the reference' && done === 1) controller.abort();
      };
      const aborted = encode(model, TRL.pairs, {signal: controller.signal, onProgress, reference: 'base'});
      await expect(aborted).rejects.toMatchObject({code: 'ERR_ABORTED'});
    });
  });

  test('accumulated gradients, and the best adapter by the margin, as in any fit', async () => {
    const start = getAdapter(model);
    const data = await encode(model, TRL.pairs, {batchSize: 2});
    compilePreferences(model, {
      optimizer: accumulate(adamW({learningRate: 0.02}), 2),
      metrics: ['accuracy', 'margin'],
    });
    const best = bestAdapter({monitor: 'val_margin'});
    const {history} = await model.fitDataset(data, {epochs: 4, validationData: data, callbacks: [best], verbose: 0});
    const margins = history.val_margin as number[];
    expect(best.epoch).toBe(margins.indexOf(Math.max(...margins)));
    expect(margins.at(-1)).toBeGreaterThan(0);
    setAdapter(model, start);
  });

  test.each(['pairs', 'thumbs'] as const)('a run on %s goes on where it ended, with the same losses', async kind => {
    const start = getAdapter(model);
    const run = async (place: MemoryHandler, epochs: number, goesOn = false) => {
      setAdapter(model, start);
      const batches = await encode(model, TRL[kind], {batchSize: 2});
      const optimizer = adam({learningRate: 0.01});
      compilePreferences(model, {method: kind === 'pairs' ? 'dpo' : 'kto', optimizer});
      const at = goesOn ? await resume(model, place, {batches}) : {};
      const callbacks = [checkpoint(place, {batches, everySteps: 1})];
      const {history} = await model.fitDataset(batches, {epochs, verbose: 0, ...at, callbacks});
      optimizer.dispose();
      return history.loss as number[];
    };
    const whole = await run(new MemoryHandler(), 4);
    const place = new MemoryHandler();
    expect([...(await run(place, 2)), ...(await run(place, 4, true))]).toEqual(whole);
    setAdapter(model, start);
  });

  test('a batch that a method cannot use is refused, and so is one without a reference', async () => {
    const [pairs, judged, free] = [
      await encode(model, TRL.pairs),
      await encode(model, TRL.thumbs),
      await encode(model, TRL.pairs, {reference: 'none'}),
    ];
    const fit = (data: tf.data.Dataset<tf.TensorContainer>, method: CompilePreferencesOptions['method']) => {
      compilePreferences(model, {method, optimizer: 'sgd'});
      return model.fitDataset(data, {epochs: 1, verbose: 0});
    };
    await expect(fit(pairs, 'kto')).rejects.toThrow('Method "kto" learns from records {prompt, completion, label}');
    await expect(fit(judged, 'ipo')).rejects.toThrow('Method "ipo" learns from pairs');
    await expect(fit(free, 'dpo')).rejects.toThrow('Method "dpo" needs a reference');
    const chats = tf.data.array([{xs: [tf.ones([2, 4], 'int32'), tf.ones([2, 4], 'int32')], ys: tf.ones([2, 4])}]);
    await expect(fit(chats, 'orpo')).rejects.toThrow('The targets must be those of encodePreferences');
  });

  test('wrong options are refused before anything is computed', async () => {
    const compile = (options: object) => () => compilePreferences(model, {optimizer: 'sgd', ...options});
    expect(compile({method: 'ppo'})).toThrow('method must be one of "dpo", "ipo"');
    expect(compile({method: 'ipo', labelSmoothing: 0.1})).toThrow('Method "ipo" has no option labelSmoothing.');
    expect(compile({labelSmoothing: 0.5})).toThrow('labelSmoothing must be from 0 to below 0.5');
    expect(compile({beta: 0})).toThrow('beta must be a positive number');
    expect(compile({method: 'kto', metrics: ['accuracy']})).toThrow('There is no metric "accuracy" for method "kto".');
    expect(() => compilePreferences(mlp().model, {optimizer: 'sgd'})).toThrow('The model must map tokens and a mask');
    const refused = (records: unknown, options: object = {}) => encode(model, records as PreferenceRecord[], options);
    await expect(refused([])).rejects.toThrow('records must be a list of preferences, got an empty one.');
    await expect(refused([TRL.pairs[0], TRL.thumbs[0]])).rejects.toThrow(
      'Records must be of one kind, but record 0 is a pair and record 1 is an answer with a label.',
    );
    await expect(refused([{prompt: 'a', chosen: 'b'}])).rejects.toThrow(/^Record 0 is not a preference/);
    await expect(refused(TRL.pairs, {reference: 'first'})).rejects.toThrow("reference must be 'current', 'base'");
    await expect(refused(TRL.thumbs, {batchSize: 1})).rejects.toThrow('batchSize must be');
    await expect(refused(TRL.thumbs, {reference: 'none'})).rejects.toThrow('Answers with a label need a reference');
    await expect(encode(base, TRL.pairs, {reference: 'base'})).rejects.toMatchObject({code: 'ERR_NOT_ADAPTED'});
  });

  const METHODS = ['lora', 'dora', 'lora-fa', 'ia3', 'vera', 'loha', 'lokr'] as const;

  test.each(METHODS)('an update by %s learns from pairs', async method => {
    const adapted = applyLoRA(base, {method, ...(method !== 'ia3' && {rank: 2}), targets: [/[qv]_proj$/], seed: 1});
    const data = await encode(adapted, TRL.pairs);
    compilePreferences(adapted, {optimizer: adam({learningRate: 0.05}), metrics: ['margin']});
    const {history} = await adapted.fitDataset(data, {epochs: 3, verbose: 0});
    expect((history.loss as number[])[0]).toBeCloseTo(Math.LN2, 4);
    expect((history.margin as number[]).at(-1)).toBeGreaterThan(0);
  });

  test('a base in blocks learns from pairs', async () => {
    const {model: quantized, tokenizer} = await loadGGUF(fileOf('llama'), {quantized: true});
    const adapted = applyLoRA(quantized, {rank: 2, targets: 'linear', seed: 1});
    const pairs = [{prompt: 'the fox', chosen: ' jumps', rejected: ' over the lazy dog'}];
    const data = await encodePreferences(adapted, tokenizer, pairs);
    compilePreferences(adapted, {optimizer: adam({learningRate: 0.01}), metrics: ['margin']});
    const {history} = await adapted.fitDataset(data, {epochs: 3, verbose: 0});
    expect((history.loss as number[])[0]).toBeCloseTo(Math.LN2, 4);
    expect((history.margin as number[]).at(-1)).toBeGreaterThan(0);
    disposeModel(removeLoRA(adapted));
  });
});

describe('records', () => {
  const ASKED: ChatMessage[] = [{role: 'user', content: 'a'}];
  const answer = (content: string): ChatMessage[] => [{role: 'assistant', content}];

  test('are read from JSON lines in the forms that TRL reads', () => {
    const records = [
      {prompt: 'a', chosen: 'b', rejected: 'c'},
      {prompt: ASKED, chosen: answer('b'), rejected: answer('c')},
      {messages: ASKED, chosen: 'b', rejected: answer('c')},
      {chosen: [...ASKED, ...answer('b')], rejected: [...ASKED, ...answer('c')]},
      {prompt: 'a', completion: 'b', label: false},
    ];
    expect(parsePreferences(records.map(record => JSON.stringify(record)).join('\r\n\n'))).toEqual(records);
  });

  test('that are none are refused with their line', () => {
    const refused = (text: string) => () => parsePreferences(text);
    expect(refused('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{')).toThrow(/^Line 2 is not JSON: /);
    for (const line of [
      '{"prompt": "a", "chosen": "b"}',
      '{"prompt": "a", "completion": "b", "label": 1}',
      '{"prompt": "a", "chosen": [{"role": "assistant", "content": "b"}], "rejected": "c"}',
      '{"chosen": "a", "rejected": [{"role": "assistant", "content": "b"}]}',
      'null',
    ]) {
      expect(refused(line)).toThrow(LoRAError);
      expect(refused(line)).toThrow(/^Line 1 is not a preference\. Expected /);
    }
    expect(refused('\n')).toThrow('The text has no records.');
  });
});
