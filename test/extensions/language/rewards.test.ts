import {readFileSync} from 'node:fs';
import {Tokenizer} from '@huggingface/tokenizers';
import * as tf from '@tensorflow/tfjs';
import {
  adam,
  type Adapter,
  applyLoRA,
  disposeModel,
  getAdapter,
  keepIfBetter,
  loadAdapter,
  type LoRAConfig,
  LoRAError,
  setAdapter,
  sgd,
} from 'tfjs-lora';
import {
  generateTexts,
  type RewardFunction,
  type RewardLoss,
  type RewardOptions,
  trainOnRewards,
} from 'tfjs-lora/language';
import {loadTransformer, trainableTokens} from 'tfjs-lora/transformers';
import {sitesOf} from '../../../src/core/rewire/walk';
import {stateOfOptimizer} from '../../../src/core/training/optimizerState';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {advantagesOf} from '../../../src/extensions/language/rewards/advantages';
import {compilePolicy, type PolicySettings} from '../../../src/extensions/language/rewards/compilePolicy';
import {tokenWeights} from '../../../src/extensions/language/rewards/policyLoss';
import {answerLogProbs, type JudgedSample, rewardBatch} from '../../../src/extensions/language/rewards/rewardBatches';
import {drawsOf, sampleAnswers} from '../../../src/extensions/language/rewards/sampleAnswers';
import {languageParts} from '../../../src/extensions/language/session';
import {CHUNK} from '../../../src/extensions/transformers/ops/headInChunks';
import {KeptGradients, numbers, withoutLeaks} from '../../helpers';
import {MemoryHandler} from '../../models';
import {fixture} from '../transformers/fixtures';

/** What TRL computed for a batch. */
interface TRLCase {
  advantages: number[];
  loss: number;
  kl?: number;
  entropy: number;
  clipped: number;
  gradients: number[][];
}

/** Answers that a model is trained on, and what TRL computed for them. */
interface TRLCases {
  prompts: number[][];
  answers: number[][][];
  rewards: number[][][];
  /** Of the factors, in TRL's order. */
  names: string[];
  cases: Record<string, TRLCase>;
}

/** A model whose weights a formula gives, by the shapes of its tensors and of its adapter's. */
interface RandomModel extends TRLCases {
  seed: number;
  config: object;
  adapter: object;
  weights: Record<string, number[]>;
  factors: Record<string, number[]>;
}

const TRL = JSON.parse(readFileSync('test/fixtures/rewards.json', 'utf8')) as TRLCases & {
  weights: number[];
  maxTokens: number;
  advantages: Record<string, number[]>;
  models: RandomModel[];
  curve: {losses: number[]; factors: number[][]};
};

const {tokenizer: words} = JSON.parse(readFileSync('test/fixtures/preferences.json', 'utf8')) as {tokenizer: object};
const TOKENIZER = new Tokenizer(words, {});

const files = fixture('llama');

/** A model with an adapter, the order of TRL's factors, and the answers that it is trained on. */
interface Policy {
  model: tf.LayersModel;
  names: readonly string[];
  rows: readonly {ids: number[]; from: number; answer: number[]}[];
}

const rowsOf = ({prompts, answers}: TRLCases) =>
  prompts.flatMap((prompt, i) =>
    (answers[i] ?? []).map(answer => ({ids: [...prompt, ...answer], from: prompt.length, answer})),
  );

let base: tf.LayersModel;
let model: tf.LayersModel;
let policy: Policy;

beforeAll(async () => {
  ({model: base} = await loadTransformer({config: files.config, weights: files.weights}));
  // TRL allows no adapter of the head.
  const {config, weights} = files.adapter;
  const modules = (JSON.parse(config) as {target_modules: string[]}).target_modules.filter(name => name !== 'lm_head');
  const tensors = [...decodeSafetensors(weights).tensors].filter(([name]) => !name.includes('lm_head'));
  const adapter = {
    config: JSON.stringify({...JSON.parse(config), target_modules: modules}),
    weights: encodeSafetensors(Object.fromEntries(tensors) as Parameters<typeof encodeSafetensors>[0]),
  };
  model = applyLoRA(base, await loadAdapter(adapter, {model: base}));
  policy = {model, names: TRL.names, rows: rowsOf(TRL)};
});
afterAll(() => {
  disposeModel(model);
  disposeModel(base);
});

/** The order of TRL's factors, from the names of the model's. */
function inOrder<T>(valueOf: (weight: tf.LayerVariable) => T, {model, names}: Policy = policy): T[] {
  const values = new Map(
    sitesOf(model).flatMap(({path, layer}) =>
      layer.trainableWeights.map(weight => {
        const factor = weight.originalName.slice(path.length + 1);
        const name: string = `base_model.model.${path.replaceAll('/', '.')}.${factor}.weight`;
        return [name, valueOf(weight)] as const;
      }),
    ),
  );
  return names.map(name => values.get(name) as T);
}

/** The inner products with cosines that the script writes. PEFT's factors are transposed. */
const projections = (values: readonly number[]) =>
  [0.1, 0.7, 1.9].map(k => values.reduce((sum, value, i) => sum + value * Math.cos(i * k), 0));

const moved = (row: number, token: number) => 0.4 * Math.sin(1 + 3 * row + 2 * token);

/** The answers of the fixture with what the loss needs, and a model compiled for it. */
async function judged(
  settings: PolicySettings,
  advantages: readonly number[],
  {isMasked = false, shift}: {isMasked?: boolean; shift?: (row: number, token: number) => number} = {},
  {model, rows}: Policy = policy,
): Promise<JudgedSample[]> {
  const options = {temperature: settings.temperature, padToMultipleOf: 4};
  const parts = languageParts(model);
  const reference = await answerLogProbs(model, parts, rows, {...options, isBase: true});
  const old = await answerLogProbs(model, parts, rows, {...options, isBase: false});
  const counts = rows.map(({answer}) => !isMasked || answer.at(-1) === 2);
  const lengths = rows.map(({answer}, row) => (counts[row] ? answer.length : 0));
  const weights = tokenWeights(lengths, {...settings, maxTokens: TRL.maxTokens});
  return rows.map(({ids, from}, row) => ({
    ...{ids, from, counts: counts[row]!, advantage: advantages[row]!, weight: weights[row]!},
    old: old[row]!.map((value, token) => value + (shift?.(row, token) ?? 0)),
    reference: reference[row]!,
  }));
}

const SETTINGS = {group: 4, promptsPerStep: 2, batchSize: 8, temperature: 1, epsilon: 0.2};

/** The settings of a case of the fixture, by its name. */
function settingsOf(name: string) {
  const [loss, beta, importance, ...marks] = name.split(', ') as [
    RewardLoss,
    string,
    'token' | 'sequence',
    ...string[],
  ];
  const isMoved = marks.includes('moved');
  const shift = (row: number, token: number) => (loss === 'rloo' && token > 0 ? 0 : moved(row, token));
  return {
    settings: {
      ...{...SETTINGS, loss, importance, beta: Number(beta), epsilonHigh: loss === 'cispo' ? 1.2 : 0.28},
      iterations: isMoved ? 2 : 1,
    },
    isMasked: marks.includes('masked'),
    ...(isMoved && {shift}),
  };
}

/** Trains on the answers, in passes of `batchSize`. */
async function fitted(
  settings: PolicySettings,
  samples: readonly JudgedSample[],
  {epochs = 1, model = policy.model} = {},
): Promise<tf.History> {
  compilePolicy(model, settings);
  const {batchSize} = settings;
  function* batches() {
    for (let row = 0; row < samples.length; row += batchSize) {
      yield rewardBatch(samples.slice(row, row + batchSize), 4);
    }
  }
  return model.fitDataset(tf.data.generator(batches as never), {epochs, verbose: 0});
}

const largest = (values: readonly number[][]) => Math.max(...values.flat().map(Math.abs));

function expectGradients({values}: KeptGradients, expected: readonly number[][], of = policy): void {
  const gradients = inOrder(weight => projections(values.get((weight.read() as tf.Variable).name)!), of);
  expect(gradients.flat()).toBeAllClose(expected.flat(), {rtol: 0, atol: 2e-5 * largest(expected)});
}

/** Compares a case of the fixture with what the library computes. */
async function expectTRL(name: string, expected: TRLCase, of: Policy): Promise<void> {
  const {settings, ...changes} = settingsOf(name);
  const optimizer = new KeptGradients(gradient => numbers(tf.transpose(gradient)));
  const samples = await judged({...settings, optimizer}, expected.advantages, changes, of);
  const {history} = await fitted({...settings, optimizer}, samples, {model: of.model});
  const atol = 2e-5;
  expect(history.loss).toBeAllClose([expected.loss], {rtol: 2e-5, atol});
  expect(history.entropy).toBeAllClose([expected.entropy], {rtol: 2e-5, atol});
  expect(history.clipped).toBeAllClose([expected.clipped], {rtol: 1e-5, atol: 1e-6});
  if (settings.beta > 0 && !(settings.loss === 'rloo' && settings.iterations > 1)) {
    expect(history.kl).toBeAllClose([expected.kl!], {rtol: 2e-5, atol});
  }
  expectGradients(optimizer, expected.gradients, of);
}

/** The numbers of \`formula\` in make_rewards.py. */
function formula(shape: readonly number[], scale: number, seed: number): Float32Array {
  return Float32Array.from({length: shape.reduce((product, size) => product * size, 1)}, (_, i) => {
    const wave = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
    return scale * (2 * (wave - Math.floor(wave)) - 1);
  });
}

/** Files as the hub has them, and PEFT, of a model whose weights a formula gives. */
function filesOf({seed, config, adapter, weights, factors}: RandomModel) {
  const file = (shapes: Record<string, number[]>, valuesOf: (shape: number[], i: number) => Float32Array) =>
    encodeSafetensors(
      Object.fromEntries(Object.entries(shapes).map(([name, shape], i) => [name, {shape, data: valuesOf(shape, i)}])),
    );
  return {
    config: JSON.stringify(config),
    weights: file(weights, (shape, i) =>
      shape.length > 1
        ? formula(shape, 2 / Math.sqrt(shape.at(-1)!), 100 * seed + i)
        : formula(shape, 0.3, 100 * seed + i).map(value => 1 + value),
    ),
    adapter: {
      config: JSON.stringify({peft_type: 'LORA', ...adapter}),
      weights: file(factors, (shape, i) => formula(shape, 0.4, 100 * seed + 50 + i)),
    },
  };
}

describe('TRL', () => {
  test.each(Object.keys(TRL.cases))('loss, KL, entropy and gradients are those of TRL: %s', name =>
    expectTRL(name, TRL.cases[name]!, policy),
  );

  test.each(TRL.models)('loss, KL, entropy and gradients of random model $seed are those of TRL', async random => {
    const {config, weights, adapter} = filesOf(random);
    const grouped = {weights: TRL.weights, group: 4, loss: 'dapo', scaleRewards: 'group', combine: 'sum'} as const;
    const {advantages} = advantagesOf(random.rewards.flat(), grouped);
    const {model: base} = await loadTransformer({config, weights});
    const model = applyLoRA(base, await loadAdapter(adapter, {model: base}));
    try {
      for (const [name, expected] of Object.entries(random.cases)) {
        await expectTRL(name, expected, {model, names: random.names, rows: rowsOf(random)});
        if (!name.startsWith('rloo')) {
          expect(advantages).toBeAllClose(expected.advantages, {rtol: 1e-5, atol: 1e-6});
        }
      }
    } finally {
      disposeModel(model);
      disposeModel(base);
    }
    expect(Object.keys(random.cases).length).toBeGreaterThan(10);
  });

  test('passes of a part of the answers, and chunks of logits, have the gradients of TRL', async () => {
    const name = 'dapo, 0.1, token, moved';
    const {settings, ...changes} = settingsOf(name);
    const optimizer = new KeptGradients(gradient => numbers(tf.transpose(gradient)));
    const inPasses = {...settings, optimizer, batchSize: 2};
    const samples = await judged(inPasses, TRL.cases[name]!.advantages, changes);
    const logits = CHUNK.logits;
    CHUNK.logits = 61 * 5;
    try {
      await fitted(inPasses, samples);
    } finally {
      CHUNK.logits = logits;
    }
    expectGradients(optimizer, TRL.cases[name]!.gradients);
  });

  test.each(Object.entries(TRL.advantages))('advantages are those of TRL: %s', (name, expected) => {
    const [loss, scaleRewards, combine] = name.split(', ') as [
      'dapo' | 'rloo',
      'group' | 'batch' | 'none',
      'sum' | 'normalize',
    ];
    const options = {weights: TRL.weights, group: 4, loss, scaleRewards, combine};
    expect(advantagesOf(TRL.rewards.flat(), options).advantages).toBeAllClose(expected, {rtol: 1e-5, atol: 1e-6});
  });

  test('the divergence is taken off the rewards of RLOO, as in TRL', async () => {
    const rloo = {...SETTINGS, loss: 'rloo' as const, importance: 'sequence' as const, beta: 0.1, epsilonHigh: 0.28};
    const samples = await judged(
      {...rloo, iterations: 1, optimizer: sgd({learningRate: 0})},
      new Array<number>(8).fill(0),
    );
    const sum = (values: Float32Array) => values.reduce((total, value) => total + value, 0);
    const penalties = samples.map(({old, reference}) => 0.1 * (sum(old!) - sum(reference!)));
    const options = {weights: TRL.weights, group: 4, loss: 'rloo', scaleRewards: 'none', combine: 'sum'} as const;
    expect(advantagesOf(TRL.rewards.flat(), options, penalties).advantages).toBeAllClose(
      TRL.cases['rloo, 0.1, sequence']!.advantages,
      {rtol: 1e-5, atol: 1e-5},
    );
  });

  test('ten steps end with the factors of TRL', async () => {
    const start = getAdapter(model);
    const settings = {
      ...{
        ...SETTINGS,
        loss: 'dapo' as const,
        importance: 'token' as const,
        beta: 0.1,
        epsilonHigh: 0.28,
        iterations: 2,
      },
      optimizer: adam({learningRate: 0.002, epsilon: 1e-7}),
    };
    const samples = await judged(settings, TRL.cases['dapo, 0.1, token']!.advantages);
    const {history} = await fitted(settings, samples, {epochs: 10});
    expect(history.loss).toBeAllClose(TRL.curve.losses, {rtol: 1e-4, atol: 1e-4});
    const factors = inOrder(weight => projections(numbers(tf.transpose(weight.read()))));
    expect(factors.flat()).toBeAllClose(TRL.curve.factors.flat(), {rtol: 1e-4, atol: 1e-4});
    setAdapter(model, start);
    start.dispose();
  });
});

/** The share of the token `fox` among the tokens of answers. */
const foxes: RewardFunction = answers =>
  answers.map(({text}) => text.split(' ').filter(word => word === 'fox').length / 4);

const OPTIONS = () => ({
  prompts: ['the quick brown', {prompt: 'who saw', answer: 'bird'}, 'where is my'],
  rewards: [foxes],
  ...{optimizer: adam({learningRate: 0.05}), steps: 3, group: 4, promptsPerStep: 2, maxTokens: 4, seed: 3},
});

const factorsOf = () => {
  const adapter = getAdapter(model);
  const values = Object.values(adapter.tensors).flatMap(tensor => numbers(tensor));
  adapter.dispose();
  return values;
};

/** Runs `f`, and then gives the model the adapter that it had. */
async function withStart<T>(f: () => Promise<T>): Promise<T> {
  const start = getAdapter(model);
  try {
    return await f();
  } finally {
    setAdapter(model, start);
    start.dispose();
  }
}

describe('samples', () => {
  const parts = {tokenizer: TOKENIZER, ends: new Set([2])};
  const sampling = {maxTokens: 1, temperature: 1, topK: Infinity, topP: 1, signal: undefined};
  const prompt = [1, 5, 9];

  test('first tokens have the distribution of the model, and answers of a group are independent', async () => {
    const COUNT = 20000;
    const draws = Array.from({length: COUNT}, (_, i) => drawsOf(7, Math.floor(i / 8), 0, i % 8));
    const samples = await sampleAnswers(model, parts, prompt, draws, sampling, () => undefined);
    const tokens = samples.map(({tokens: [token]}) => token as number);
    const probabilities = numbers(
      tf.tidy(() => {
        const ids = tf.tensor2d([prompt], undefined, 'int32');
        const logits = model.predict([ids, tf.onesLike(ids)]) as tf.Tensor3D;
        return tf.softmax(tf.reshape(tf.slice3d(logits, [0, 2, 0], [1, 1, -1]), [-1]));
      }),
    );
    const chiSquare = (values: readonly number[], shares: readonly number[]) =>
      shares.reduce((sum, share, token) => {
        const expected = share * values.length;
        return sum + (values.filter(value => value === token).length - expected) ** 2 / expected;
      }, 0);
    // The 99.9 % quantile for 60 degrees of freedom.
    expect(chiSquare(tokens, probabilities)).toBeLessThan(99.6);
    // Pairs of neighbours in two classes each: three degrees of freedom.
    const isLow = (token: number | undefined) => ((token ?? 0) < 30 ? 0 : 1);
    const low = probabilities.slice(0, 30).reduce((sum, share) => sum + share, 0);
    const pairs = tokens.slice(1).map((token, i) => 2 * isLow(tokens[i]) + isLow(token));
    expect(chiSquare(pairs, [low * low, low * (1 - low), low * (1 - low), (1 - low) ** 2])).toBeLessThan(16.3);
  });

  test('topK and topP leave only the likeliest tokens', async () => {
    const draws = Array.from({length: 400}, (_, i) => drawsOf(1, 0, 0, i));
    const tokensOf = async (options: object) => {
      const samples = await sampleAnswers(model, parts, prompt, draws, {...sampling, ...options}, () => undefined);
      return new Set(samples.map(({tokens: [token]}) => token));
    };
    expect((await tokensOf({topK: 3})).size).toBe(3);
    expect((await tokensOf({topP: 1e-6})).size).toBe(1);
  });

  test('an answer depends on its own draws, not on those beside it, and ends at the end of a text', async () => {
    const sample = (answers: readonly number[]) =>
      sampleAnswers(
        model,
        parts,
        prompt,
        answers.map(answer => drawsOf(5, 2, 1, answer)),
        {...sampling, maxTokens: 24},
        () => undefined,
      );
    const group = await sample([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(await sample([6, 2])).toEqual([group[6], group[2]]);
    group.forEach(({tokens, truncated}) => {
      expect(tokens.indexOf(2)).toBe(truncated ? -1 : tokens.length - 1);
      expect(truncated).toBe(tokens.length === 24 && tokens.at(-1) !== 2);
    });
    expect(new Set(group.map(({tokens}) => tokens.join())).size).toBe(8);
  });
});

describe('a run', () => {
  test('raises the reward, and reports each step', async () => {
    await withStart(async () => {
      const reported: number[] = [];
      const onStep = ({step}: {step: number}) => reported.push(step);
      const {steps} = await trainOnRewards(model, TOKENIZER, {...OPTIONS(), steps: 24, group: 8, onStep});
      const mean = (from: number, to: number) =>
        steps.slice(from, to).reduce((sum, {reward}) => sum + reward, 0) / (to - from);
      expect(mean(20, 24)).toBeGreaterThan(mean(0, 4) + 0.3);
      expect(reported).toEqual(Array.from({length: 24}, (_, i) => i));
      expect(steps[0]!.examples).toHaveLength(8);
      expect(steps[0]!.examples[0]!.record).toBeDefined();
    });
  });

  test('leaks no tensors', async () => {
    const run = async () => {
      const options = OPTIONS();
      await trainOnRewards(model, TOKENIZER, {...options, beta: 0.1, iterations: 2});
      options.optimizer.dispose();
    };
    await withStart(async () => {
      await run(); // compiles the model for as many tensors as later runs have
      await withoutLeaks(run);
    });
  });

  test('continues from a checkpoint with the same bits, though it ended between sampling and its step', async () => {
    const whole = await withStart(async () => {
      await trainOnRewards(model, TOKENIZER, {...OPTIONS(), beta: 0.1});
      return factorsOf();
    });
    const handler = new MemoryHandler();
    const isEmpty = () => handler.json === '';
    const place: tf.io.IOHandler = {
      save: handler.save,
      load: () => (isEmpty() ? Promise.reject(Object.assign(new Error('none'), {code: 'ENOENT'})) : handler.load()),
    };
    await withStart(async () => {
      let calls = 0;
      const rewards: RewardOptions['rewards'] = [
        answers => {
          if (++calls === 3) {
            throw new Error('killed');
          }
          return foxes(answers);
        },
      ];
      await expect(
        trainOnRewards(model, TOKENIZER, {...OPTIONS(), beta: 0.1, rewards, checkpoint: place}),
      ).rejects.toThrow(/^killed$/);
    });
    await withStart(async () => {
      const {steps, resumedAt} = await trainOnRewards(model, TOKENIZER, {...OPTIONS(), beta: 0.1, checkpoint: place});
      expect(resumedAt).toBe(2);
      expect(steps).toHaveLength(3);
      expect(factorsOf()).toEqual(whole);
    });
  });

  test('takes no step where all rewards of the groups are equal', async () => {
    await withStart(async () => {
      const before = factorsOf();
      const {optimizer, ...options} = OPTIONS();
      const {steps} = await trainOnRewards(model, TOKENIZER, {
        ...{...options, optimizer},
        rewards: [answers => answers.map(() => 0.1)],
      });
      expect(factorsOf()).toEqual(before);
      expect(optimizer.iterations).toBe(0);
      expect(steps.map(({equalGroups, loss}) => [equalGroups, loss])).toEqual([
        [1, 0],
        [1, 0],
        [1, 0],
      ]);
    });
  });

  test('keeps the adapter of the last whole step if a reward fails, or with restore that from before', async () => {
    await withStart(async () => {
      const failing = (): RewardOptions['rewards'] => {
        let calls = 0;
        return [answers => answers.map((_, i) => (++calls > 16 ? NaN : i))];
      };
      const before = factorsOf();
      const failure = trainOnRewards(model, TOKENIZER, {...OPTIONS(), rewards: failing(), restore: true});
      await expect(failure).rejects.toThrow(
        /^Reward 0 must return finite numbers, got NaN for the answer ".*has the adapter that it had before\.$/s,
      );
      expect(factorsOf()).toEqual(before);
      await expect(trainOnRewards(model, TOKENIZER, {...OPTIONS(), rewards: failing()})).rejects.toThrow(
        'The model has the adapter of step 2.',
      );
      expect(factorsOf()).not.toEqual(before);
    });
  });

  test('an abort between two updates leaves the adapter and moments of the last whole step', async () => {
    const stateOf = ({optimizer}: {optimizer: tf.Optimizer}) => {
      const {state, tensors} = stateOfOptimizer(optimizer);
      return {factors: factorsOf(), steps: state.iterations, moments: Object.values(tensors).map(x => numbers(x))};
    };
    const rewards: RewardFunction[] = [answers => answers.map((_, i) => i % 4)];
    const whole = await withStart(async () => {
      const options = {...OPTIONS(), rewards, iterations: 2, steps: 2};
      await trainOnRewards(model, TOKENIZER, options);
      return stateOf(options);
    });
    await withStart(async () => {
      const controller = new AbortController();
      let batches = 0;
      const abort = new tf.CustomCallback({
        onBatchEnd: () => {
          if (++batches === 10) {
            controller.abort();
          }
          return Promise.resolve();
        },
      });
      const options = {...OPTIONS(), rewards, iterations: 2, signal: controller.signal, callbacks: [abort]};
      await expect(trainOnRewards(model, TOKENIZER, options)).rejects.toThrow('The model has the adapter of step 2.');
      expect(stateOf(options)).toEqual(whole);
    });
  });

  test('an adapter that is not better on held-out prompts goes, and a better one stays', async () => {
    await withStart(async () => {
      const before = factorsOf();
      const judged = async (rewards: RewardFunction) => {
        const scores = async () => {
          const prompts = Array.from({length: 12}, (_, i) => ['the quick', 'where is', 'who saw'][i % 3]!);
          const texts = await generateTexts(model, TOKENIZER, prompts, {maxTokens: 4, temperature: 1, seed: 5});
          return texts.map(text => text.split(' ').filter(word => word === 'fox').length / 4);
        };
        const gate = keepIfBetter({scores, metric: 'foxes'});
        await trainOnRewards(model, TOKENIZER, {
          ...OPTIONS(),
          ...{rewards: [rewards], steps: 12, group: 8, callbacks: [gate]},
        });
        return gate;
      };
      const worse = await judged(async answers => (await foxes(answers)).map(value => -value));
      expect(worse.kept).toBe(false);
      expect(factorsOf()).toEqual(before);
      const better = await judged(foxes);
      expect(better).toMatchObject({kept: true, reason: expect.stringMatching(/^foxes went from /) as string});
      expect(better.after).toBeGreaterThan(better.before!);
      expect(factorsOf()).not.toEqual(before);
    });
  });

  test.each<[string, LoRAConfig | ((plain: tf.LayersModel) => Adapter)]>([
    ...(['dora', 'lora-fa', 'ia3', 'vera', 'loha', 'lokr'] as const).map(
      method => [method, {method, targets: [/[qv]_proj$/]}] as [string, LoRAConfig],
    ),
    ['dropout', {dropout: 0.2, targets: [/[qv]_proj$/]}],
    ['a head that trains', {targets: [/v_proj$/], trainInFull: ['lm_head']}],
    ['norms that train', {targets: [/v_proj$/], trainInFull: [/norm$/]}],
    ['biases that train', {targets: [/v_proj$/], bias: 'all'}],
    ['tokens that train', plain => trainableTokens(plain, [3, 5], {lora: {targets: [/v_proj$/]}})],
  ])('learns with %s, and the reference is the model without it', async (_name, options) => {
    const other = typeof options === 'function' ? applyLoRA(base, options(base)) : applyLoRA(base, options);
    const {steps} = await trainOnRewards(other, TOKENIZER, {...OPTIONS(), steps: 4, beta: 0.04});
    // The policy is the reference until the first update.
    expect(steps[0]!.kl).toBeCloseTo(0, 6);
    expect(steps.at(-1)!.kl).toBeGreaterThan(1e-6);
    expect(steps.map(({entropy}) => Number.isFinite(entropy))).toEqual([true, true, true, true]);
    disposeModel(other);
  });

  test('blocks that are computed again learn the same', async () => {
    const runs: number[][] = [];
    for (const gradientCheckpointing of [false, true]) {
      const {model: plain} = await loadTransformer({
        config: files.config,
        weights: files.weights,
        gradientCheckpointing,
      });
      const other = applyLoRA(plain, {rank: 2, targets: [/[qv]_proj$/], seed: 4});
      await trainOnRewards(other, TOKENIZER, OPTIONS());
      runs.push(other.trainableWeights.flatMap(weight => numbers(weight.read())));
      [other, plain].forEach(each => {
        disposeModel(each);
      });
    }
    expect(runs[1]!).toBeAllClose(runs[0]!, {rtol: 1e-3, atol: 1e-4});
  });

  test('a signal ends it within a sample, and leaves a reward that never comes', async () => {
    await withStart(async () => {
      const before = factorsOf();
      const controller = new AbortController();
      const onProgress = () => controller.abort();
      const {signal} = controller;
      await expect(trainOnRewards(model, TOKENIZER, {...OPTIONS(), signal, onProgress})).rejects.toMatchObject({
        code: 'ERR_ABORTED',
      });
      const later = new AbortController();
      const rewards = [() => new Promise<number[]>(() => setTimeout(() => later.abort(), 5))];
      await expect(
        trainOnRewards(model, TOKENIZER, {...OPTIONS(), rewards, signal: later.signal}),
      ).rejects.toMatchObject({code: 'ERR_ABORTED'});
      expect(factorsOf()).toEqual(before);
    });
  });

  test('counts answers that are empty, and groups that were cut off', async () => {
    await withStart(async () => {
      const {steps} = await trainOnRewards(model, TOKENIZER, {
        ...OPTIONS(),
        steps: 1,
        maxTokens: 1,
        maskTruncated: true,
      });
      const [{empty, truncated, truncatedGroups, length}] = steps as [(typeof steps)[number]];
      expect(length).toBe(1);
      expect(empty).toBeGreaterThanOrEqual(Math.round((1 - truncated) * 8));
      expect(truncatedGroups).toBeLessThanOrEqual(2);
    });
  });

  test('pads to no more positions than its longest answer could have', async () => {
    await withStart(async () => {
      const {steps} = await trainOnRewards(model, TOKENIZER, {
        ...OPTIONS(),
        rewards: [answers => answers.map((_, i) => i)],
        ...{steps: 1, padToMultipleOf: 2 ** 40},
      });
      expect(steps[0]!.entropy).toBeGreaterThan(0);
    });
  });

  test.each<[string, object, string]>([
    [
      'another loss',
      {loss: 'sapo'},
      'loss must be "grpo" or "bnpo" or "dr_grpo" or "dapo" or "cispo" or "rloo", got "sapo"',
    ],
    ['cispo without its bound', {loss: 'cispo'}, 'TRL recommends 5'],
    ['a group of one', {group: 1}, 'group must be'],
    ['passes that do not divide the answers', {batchSize: 3}, 'batchSize must divide the 8 answers'],
    ['importance of tokens for RLOO', {loss: 'rloo', importance: 'token'}, 'importance must be "sequence"'],
    ['no rewards', {rewards: []}, 'rewards must be a list'],
    ['no steps', {steps: 0}, 'steps must be'],
    ['a prompt that is none', {prompts: ['a', null]}, 'got null'],
    ['an unknown option', {vllm: true}, 'vllm'],
  ])('refuses %s', async (_, options, message) => {
    const call = trainOnRewards(model, TOKENIZER, {...OPTIONS(), ...options});
    await expect(call).rejects.toThrow(LoRAError);
    await expect(call).rejects.toThrow(message);
  });

  test.each<[string, RewardOptions['rewards'][number], string]>([
    ['of another length', () => [1], 'must return a list of 8 numbers'],
    ['that is missing', () => undefined as never, 'got undefined'],
    ['that is infinite', answers => answers.map(() => Infinity), 'got Infinity for the answer'],
  ])('refuses a reward %s', async (_, reward, message) => {
    await expect(trainOnRewards(model, TOKENIZER, {...OPTIONS(), rewards: [reward]})).rejects.toThrow(message);
  });
});
