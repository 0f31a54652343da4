import * as tf from '@tensorflow/tfjs';
import {applyLoRA, combineAdapters, compileModel, planLoRA, progress, sgd} from 'tfjs-lora';
import {landmarkLoss} from 'tfjs-lora/landmarks';
import {
  encodeChats,
  generate,
  type GenerateOptions,
  generateTexts,
  loadGGUF,
  openChat,
  type Tokenizer,
} from 'tfjs-lora/language';
import {augmentSounds, makeDetector, specAugment} from 'tfjs-lora/sound';
import {
  exportPEFT,
  getAdapter,
  loadAdapter,
  LoRAError,
  predictWith,
  replaceHead,
  saveAdapter,
  toSafetensors,
} from '../src';
import {fileOf} from './extensions/language/ggufFiles';
import {useBackend, withoutLeaks} from './helpers';
import {MemoryHandler, mlp} from './models';
import {peftFiles, smallNetwork} from './peftNetworks';

beforeAll(() => useBackend('cpu'));

describe('applyLoRA refuses', () => {
  const effect = (name: string, method: string) => `${name} has no effect with method ${method}.`;

  test.each<[object, string[]]>([
    [{method: 'ia3', rank: 4}, [effect('rank', '"ia3"')]],
    [{method: 'ia3', alpha: 4, rankStabilized: true}, [effect('alpha', '"ia3"'), effect('rankStabilized', '"ia3"')]],
    [{method: 'ia3-feedforward', rank: 4}, [effect('rank', '"ia3-feedforward"')]],
    [{method: 'ia3', init: 'heUniform'}, [effect('init', '"ia3"')]],
    [{method: 'vera', init: 'heUniform'}, [effect('init', '"vera"')]],
    [{method: 'loha', init: 'heUniform'}, [effect('init', '"loha"')]],
    [{method: 'lokr', init: 'heUniform'}, [effect('init', '"lokr"')]],
    [
      {method: 'ia3', rank: 4, overrides: [{targets: ['Dense'], method: 'ia3-feedforward'}]},
      [effect('rank', '"ia3", "ia3-feedforward"')],
    ],
    [{overrides: [{targets: ['Dense'], method: 'ia3', rank: 4}]}, [effect('overrides[0].rank', '"ia3"')]],
    [{method: 'ia3', overrides: [{targets: ['Dense'], alpha: 4}]}, [effect('overrides[0].alpha', '"ia3"')]],
  ])('%j', async (config, messages) => {
    const {model} = mlp();
    await withoutLeaks(() => {
      for (const message of messages) {
        expect(() => applyLoRA(model, config)).toThrow(message);
        expect(planLoRA(model, config).faults).toContain(message);
      }
    });
  });

  test.each<object>([
    {method: 'ia3'},
    {method: 'ia3', rank: 2, overrides: [{targets: ['head'], method: 'lora'}]},
    {rank: 2, alpha: 4, overrides: [{targets: ['head'], method: 'ia3'}]},
    {method: 'ia3', overrides: [{targets: ['head'], init: 'pissa', rank: 2}]},
    {method: 'vera', rank: 2, alpha: 4},
    {method: 'dora', init: 'heUniform'},
    {method: 'lora-fa', init: 'heUniform'},
    {init: 'pissa', rank: 2},
  ])('nothing of %j, whose settings have an effect', config => {
    applyLoRA(mlp().model, {targets: ['Dense'], ...config});
  });
});

describe('text generation refuses', () => {
  let model: tf.LayersModel;
  let tokenizer: Tokenizer;
  beforeAll(async () => ({model, tokenizer} = await loadGGUF(fileOf('llama'))));

  const WRONG: [GenerateOptions, string][] = [
    [{topK: 3}, 'topK has no effect at temperature 0, the default,'],
    [{topP: 0.5, temperature: 0}, 'topP has no effect at temperature 0'],
    [{seed: 1}, 'seed has no effect at temperature 0'],
    [{topK: 3, topP: 0.5, seed: 1}, 'topK and topP and seed have no effect at temperature 0'],
  ];

  test.each(WRONG)('%j without a temperature', async (options, message) => {
    await withoutLeaks(async () => {
      expect(() => generate(model, tokenizer, 'a', options)).toThrow(message);
      await expect(generateTexts(model, tokenizer, ['a'], options)).rejects.toThrow(message);
      const chat = openChat(model, tokenizer);
      expect(() => chat.send('a', options)).toThrow(message);
      const other = openChat(model, tokenizer, options);
      expect(() => other.send('a')).toThrow(message);
      [chat, other].forEach(each => each.dispose());
    });
  });

  test('neither defaults, nor an answer without sampling in a chat that samples', async () => {
    const texts = await generateTexts(model, tokenizer, ['a'], {maxTokens: 1, topK: Infinity, topP: 1});
    expect(texts).toHaveLength(1);
    const chat = openChat(model, tokenizer, {temperature: 1, topK: 3, seed: 1, maxTokens: 1});
    for await (const piece of chat.send('a', {temperature: 0})) {
      expect(typeof piece).toBe('string');
    }
    expect(() => chat.send('a', {temperature: 0, seed: 2})).toThrow('seed has no effect at temperature 0');
  });

  test('classes of a tokenizer for a file without one', async () => {
    const call = loadGGUF(fileOf('llama'), {tokenizer: false, Template: Object as never});
    await expect(call).rejects.toThrow('Tokenizer and Template have no effect with {tokenizer: false}.');
  });
});

describe('encodeChats refuses', () => {
  const talk = (role: string) => [
    {role: 'user', content: 'hi'},
    {role, content: 'it jumps'},
  ];
  let model: tf.LayersModel;
  let tokenizer: Tokenizer;
  beforeAll(async () => ({model, tokenizer} = await loadGGUF(fileOf('llama'))));

  test('roles that the chat template does not name, all of them, though other records are good', async () => {
    const records = [talk('assistant'), talk('asistant'), {messages: talk('assistant')}, {messages: talk('bot')}];
    await withoutLeaks(async () => {
      const call = encodeChats(model, tokenizer, records);
      await expect(call).rejects.toMatchObject({
        code: 'ERR_OPTION',
        faults: [
          'Record 1, message 1: the role "asistant", which the chat template does not name',
          'Record 3, message 1: the role "bot", which the chat template does not name',
        ],
      });
      await expect(call).rejects.toThrow("Correct these, or pass {trainOn: 'all'}:");
    });
    expect((await encodeChats(model, tokenizer, [talk('assistant')])).skipped).toBe(0);
    expect((await encodeChats(model, tokenizer, records, {trainOn: 'all'})).skipped).toBe(0);
  });

  test('no role that the template names', async () => {
    const named = {...(model.getUserDefinedMetadata() as {language: object})};
    model.setUserDefinedMetadata({...named, language: {...named.language, template: "{% if role == 'judge' %}"}});
    const records = [[{role: 'judge', content: 'fair'}, ...talk('assistant')]];
    expect((await encodeChats(model, tokenizer, records)).skipped).toBe(0);
    model.setUserDefinedMetadata(named);
  });
});

const IGNORED: [call: () => unknown, message: string][] = [
  [() => landmarkLoss({points: 3, kind: 'wing', beta: 0.1}), "beta is for kind: 'smoothL1', and has no effect here."],
  [
    () => landmarkLoss({points: 3, width: 0.1, curvature: 0.1}),
    "width is for kind: 'wing', and has no effect here.\ncurvature is for kind: 'wing', and has no effect here.",
  ],
  [() => makeDetector({threshold: 1.2}), 'threshold must be a number from 0 to 1, or one for each class, got 1.2.'],
  [
    () => makeDetector({threshold: {yes: 80}}),
    'threshold must be a number from 0 to 1, or one for each class, got 80.',
  ],
  [() => augmentSounds({snr: [5, 20]}), 'snr is the ratio to a noise. Pass {noise} too, or leave it out.'],
  [() => specAugment({timeMasks: 0, maxFrames: 5}), 'maxFrames has no effect with timeMasks: 0.'],
  [() => specAugment({frequencyMasks: 0, maxMels: 5}), 'maxMels has no effect with frequencyMasks: 0.'],
  [
    () => progress({label: 'mine', onProgress: () => undefined}),
    'label has no effect with onProgress, which gets numbers. Leave it out, or pass an element.',
  ],
  [() => sgd({nesterov: true}), 'nesterov: true needs a momentum above 0.'],
];

test.each(IGNORED)('settings without effect are refused: %s', (call, message) => {
  expect(call).toThrow(message);
});

test('combineAdapters refuses options of another method', async () => {
  await expect(combineAdapters([], {seed: 1} as object)).rejects.toThrow(`Method 'exact' has no option "seed".`);
});

test('compileModel refuses an ignoreIndex that neither the loss nor a metric uses', () => {
  const model = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [2]})]});
  const compile = (options: object) => () => compileModel(model, {optimizer: 'sgd', ignoreIndex: -1, ...options});
  expect(compile({loss: 'pairs'})).toThrow('ignoreIndex does not apply to the loss "pairs".');
  expect(compile({loss: tf.losses.meanSquaredError})).toThrow(
    'ignoreIndex does not apply to a function, as loss or as metric, which has its own.',
  );
  compile({loss: tf.losses.meanSquaredError, metrics: ['accuracy']})();
  compile({})();
});

beforeAll(() => useBackend('cpu'));

test('an option that does not exist is refused wherever there are options', async () => {
  const {model, inputs} = mlp();
  const adapted = applyLoRA(model, {rank: 2});
  const adapter = getAdapter(adapted);
  const handler = new MemoryHandler();
  const wrong: object = {dtyp: 'float16'};
  const uses: [known: string, use: () => unknown][] = [
    ['dtype, allowNonFinite, signal, onProgress', () => toSafetensors(adapter, wrong)],
    ['format, dtype, allowNonFinite, signal, onProgress', () => saveAdapter(adapter, handler, wrong)],
    [
      'adapter, keyMap, baseModel, dtype, allowNonFinite, signal, onProgress',
      () => exportPEFT(model, {adapter, ...wrong}),
    ],
    [
      'model, keyMap, maxBytes, signal, onProgress',
      () => loadAdapter(peftFiles('lora'), {model: smallNetwork().model, ...wrong}),
    ],
    ['batchSize', () => predictWith(adapted, inputs[0]!, [null, null, null, null], wrong)],
    ['after', () => replaceHead(model, [tf.layers.dense({units: 2, name: 'new'})], wrong)],
  ];
  for (const [known, use] of uses) {
    const told = Promise.resolve().then(use);
    await expect(told).rejects.toThrow(LoRAError);
    await expect(told).rejects.toThrow(`There is no option "dtyp". The options are: ${known}.`);
  }
  expect(handler.json).toBe('');
});
