import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  adam,
  applyLoRA,
  type CombineOptions,
  combineAdapters,
  disposeModel,
  getAdapter,
  type LoRAConfig,
} from 'tfjs-lora';
import {type ChatMessage, compilePreferences, type CompilePreferencesOptions} from 'tfjs-lora/language';
import {loadTransformer} from 'tfjs-lora/transformers';
import {useBackend, withoutLeaks} from './helpers';
import {fixture} from './extensions/transformers/fixtures';

beforeAll(() => useBackend('cpu'));

const network = () => tf.sequential({layers: [tf.layers.dense({name: 'd', units: 4, inputShape: [4]})]});

/** The message of what a call throws or rejects with. */
async function refusal(f: () => unknown): Promise<string> {
  return Promise.resolve()
    .then(f)
    .then(
      () => 'accepted',
      (error: unknown) => (error as Error).message,
    );
}

test('a config has the options of its method alone', async () => {
  const base = network();
  const right: LoRAConfig[] = [
    {},
    {rank: 2, init: 'pissa'},
    {init: tf.initializers.heUniform({})},
    {method: 'lora', init: 'heUniform'},
    {method: 'dora', rank: 2, init: 'heUniform'},
    {method: 'lokr', rank: 2, rankStabilized: true},
    {method: 'ia3', seed: 1, dropout: undefined},
    {method: 'ia3', overrides: [{targets: ['d'], method: 'lora', rank: 2}]},
    {
      overrides: [
        {targets: ['d'], method: 'ia3'},
        {targets: ['d'], init: 'olora'},
      ],
    },
  ];
  for (const config of right) {
    disposeModel(applyLoRA(base, config));
  }
  // A method that is chosen while the program runs, with a rank if it has one.
  for (const method of ['lora', 'ia3', 'loha'] as const) {
    disposeModel(applyLoRA(base, {method, ...(method !== 'ia3' && {rank: 2})}));
  }
  const wrong: [refused: string, config: LoRAConfig][] = [
    // @ts-expect-error: another method's option
    ['rank has no effect', {method: 'ia3', rank: 2}],
    // @ts-expect-error: another method's option
    ['alpha has no effect', {method: 'ia3-feedforward', alpha: 2}],
    // @ts-expect-error: another method's option
    ['init: "pissa" is an initialization of LoRA', {method: 'dora', init: 'pissa'}],
    // @ts-expect-error: another method's option
    ['init has no effect', {method: 'loha', init: 'heUniform'}],
    // @ts-expect-error: another method's option
    ['overrides[0].rank has no effect', {overrides: [{targets: ['d'], method: 'ia3', rank: 2}]}],
    // @ts-expect-error: another method's option
    ["overrides[0].init must be 'pissa' or 'olora'", {overrides: [{targets: ['d'], init: 'heUniform'}]}],
  ];
  for (const [refused, config] of wrong) {
    expect(await refusal(() => applyLoRA(base, config))).toContain(refused);
  }
});

test('adapters are combined with the options of the method alone, and with those that it needs', async () => {
  const base = network();
  const model = applyLoRA(base, {rank: 2});
  const adapter = getAdapter(model);
  const combined = (options: CombineOptions): Promise<Adapter> =>
    combineAdapters(
      [adapter, adapter].map(each => ({adapter: each, weight: 0.5})),
      options,
    );
  const right: CombineOptions[] = [
    {},
    {method: 'exact', rank: 1},
    {method: 'ties', density: 0.5, majoritySign: 'frequency'},
    {method: 'dare', density: 0.5, seed: 1, rank: 1, signal: undefined},
  ];
  for (const options of right) {
    (await combined(options)).dispose();
  }
  const wrong: [refused: string, options: CombineOptions][] = [
    // @ts-expect-error: a missing option
    ["Method 'ties' needs an option such as density", {method: 'ties'}],
    // @ts-expect-error: another method's option
    ['Method \'ties\' has no option "seed"', {method: 'ties', density: 0.5, seed: 1}],
    // @ts-expect-error: another method's option
    ['Method \'dare\' has no option "majoritySign"', {method: 'dare', density: 0.5, majoritySign: 'total'}],
    // @ts-expect-error: another method's option
    ['Method \'exact\' has no option "density"', {density: 0.5}],
    // @ts-expect-error: another method's option
    ['Method \'exact\' has no option "seed"', {rank: 1, seed: 1}],
  ];
  for (const [refused, options] of wrong) {
    expect(await refusal(() => combined(options))).toContain(refused);
  }
});

test('preferences are learned with the numbers and metrics of the method alone', async () => {
  const {config, weights} = fixture('llama');
  const {model} = await loadTransformer({config, weights, tokenizer: false});
  const optimizer = 'sgd';
  const right: CompilePreferencesOptions[] = [
    {optimizer, labelSmoothing: 0.1, metrics: 'accuracy'},
    {optimizer: adam(), method: 'orpo', beta: 0.2, metrics: ['accuracy', 'margin']},
    {optimizer, method: 'simpo', simpoGamma: 1, cpoAlpha: 0, labelSmoothing: undefined},
    {optimizer, method: 'kto', desirableWeight: 2, metrics: 'margin'},
  ];
  for (const options of right) {
    compilePreferences(model, options);
  }
  const wrong: [refused: string, options: CompilePreferencesOptions][] = [
    // @ts-expect-error: another method's option
    ['Method "dpo" has no option simpoGamma', {optimizer, simpoGamma: 1}],
    // @ts-expect-error: another method's option
    ['Method "ipo" has no option labelSmoothing', {optimizer, method: 'ipo', labelSmoothing: 0.1}],
    // @ts-expect-error: another method's option
    ['Method "kto" has no option cpoAlpha', {optimizer, method: 'kto', cpoAlpha: 1}],
    // @ts-expect-error: a metric of other methods
    ['There is no metric "accuracy" for method "kto"', {optimizer, method: 'kto', metrics: ['accuracy']}],
    // @ts-expect-error: a metric of other methods
    ['There is no metric "accuracy" for method "kto"', {optimizer, method: 'kto', metrics: 'accuracy'}],
    // @ts-expect-error: a missing option
    ['optimizer must be an optimizer, such as adamW', {method: 'dpo'}],
  ];
  for (const [refused, options] of wrong) {
    expect(await refusal(() => compilePreferences(model, options))).toContain(refused);
  }
});

test('a model that is loaded without a tokenizer has none in its type', async () => {
  await withoutLeaks(async () => {
    const {config, weights} = fixture('bert');
    const alone = await loadTransformer({config, weights, tokenizer: false});
    // @ts-expect-error: no tokenizer is loaded
    const read = () => alone.tokenizer as unknown;
    expect(read).toThrow('The model was loaded with {tokenizer: false}.');
    const loaded = await loadTransformer({config, weights});
    expect(() => loaded.tokenizer.encode('text')).toThrow('tokenizer');
    disposeModel(alone.model);
    disposeModel(loaded.model);
  });
});

test('a message has one of the usual roles, or another one that a chat template names', () => {
  const written = [{role: 'user', content: 'Hello!'}];
  const messages: ChatMessage[] = [...written, {role: 'tool', content: '7'}, {role: 'critic', content: 'No.'}];
  // @ts-expect-error: a role is a text
  messages.push({role: 1, content: ''});
  const usual: Extract<ChatMessage['role'], 'assistant'> = 'assistant';
  // @ts-expect-error: another method's option
  const misspelled: Extract<ChatMessage['role'], 'assistent'> = 'assistent';
  expect([usual, misspelled]).toEqual(['assistant', 'assistent']);
});
