import * as tf from '@tensorflow/tfjs';
import * as language from '../src/language';
import * as singleLayers from '../src/layers';
import * as library from '../src/node';
import * as federated from '../src/federated';
import * as landmarks from '../src/landmarks';
import * as quantized from '../src/quantized';
import * as sound from '../src/sound';
import * as words from '../src/words';
import {crossEntropyFromLogits, perplexity} from '../src/transformers';
import {temporaryFolder} from './temporaryFolder';
import {fakeElement} from './core/training/fakeElement';
import {fileOf} from './extensions/language/ggufFiles';
import {clip, wav} from './extensions/sound/clips';
import {cnn, MemoryHandler, mlp} from './models';
import {peftFiles, smallNetwork} from './peftNetworks';
import {useBackend} from './helpers';

beforeAll(async () => {
  await useBackend('cpu');
  shared = await language.loadGGUF(fileOf('llama'));
});

/** Arguments with which an exported function works, made anew for each call. */
type Usage = () => unknown[];

const adapted = () => library.applyLoRA(mlp().model, {rank: 2, seed: 1});
const adapter = () => library.getAdapter(adapted());
const compiled = () => {
  const model = library.applyLoRA(cnn().model, {rank: 1, targets: ['head']});
  model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  return model;
};
const batches = () => library.seededBatches(tf.ones([2, 1]), tf.ones([2, 1]), {seed: 1});
const {layers} = tf;
const NODE_KEY = {} as CryptoKeyPair;
let shared: {model: tf.LayersModel; tokenizer: language.Tokenizer};
const writer = () => shared.model;
/** As one's own, so that null in place of a function is tried too. */
const tokenizer = {
  encode: (text: string) => shared.tokenizer.encode(text),
  decode: (ids: number[]) => shared.tokenizer.decode(ids),
};

/** A folder that is gone after the tests. */
const FOLDER = temporaryFolder();

/** How each exported function is used. Objects are options, whose entries are tried too. */
const USAGES: Record<string, Usage> = {
  createNodeKey: () => ['{}'],
  frozenFingerprint: () => [adapted()],
  isLoRALayer: () => [mlp().model.layers[0]!],
  joinFederation: () => [{url: 'http://127.0.0.1:9', model: adapted(), train: () => ({examples: 1})}],
  storedNodeKey: () => ['name'],
  nodeKeyText: () => [NODE_KEY, 'private'],
  accumulate: () => [library.adam(), 2],
  adam: () => [{learningRate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-7}],
  adamW: () => [{learningRate: 1e-3, weightDecay: 0.1}],
  applyLoRA: () => [
    mlp().model,
    {
      rank: 2,
      alpha: 2,
      rankStabilized: false,
      targets: 'all',
      exclude: ['head'],
      trainInFull: ['head'],
      overrides: [{targets: ['hidden'], rank: 1}],
      freezeBaseLayer: true,
      bias: 'none',
      init: 'zeros',
      seed: 1,
    },
  ],
  augmentLandmarks: () => [
    {points: 2, dimensions: 2, unit: 'pixels', turn: 1, range: [0, 1], mirror: [[0, 1]], seed: 1},
  ],
  accuracy: () => [{ignoreIndex: -1, topK: 2}],
  f1Score: () => [{ignoreIndex: -1, positive: 1}],
  perplexity: () => [{ignoreIndex: -1}],
  balancedClassWeights: () => [[3, 1]],
  compileModel: () => [
    mlp().model,
    {optimizer: 'sgd', loss: 'crossEntropy', metrics: ['accuracy'], ignoreIndex: -1, classWeights: [1, 1]},
  ],
  crossEntropyFromLogits: () => [tf.tensor1d([1]), tf.ones([1, 2]), {ignoreIndex: -1, labelSmoothing: 0.1}],
  focalLoss: () => [{alpha: 0.25, gamma: 2}],
  keepIfBetter: () => [
    {
      validationData: [tf.ones([2, 1]), tf.ones([2, 1])],
      metric: 'loss',
      margin: 0,
      minimum: 1,
      confidence: 0.9,
      batchSize: 1,
      seed: 1,
    },
  ],
  withReplay: () => [batches(), {replay: batches(), share: 0.5}],
  convertToLoRA: () => [adapted(), {rank: 2}],
  modelCard: () => [
    adapted(),
    {name: 'a', description: 'b', baseModel: 'c', license: 'mit', data: {}, metrics: {}, settings: {}},
  ],
  neftune: () => [{alpha: 5, seed: 1}],
  withSampleWeights: () => [tf.ones([2, 1]), [1, 2]],
  bestAdapter: () => [{monitor: 'loss', patience: 2, minDelta: 0, mode: 'min'}],
  checkpoint: () => ['file://x', {everyEpochs: 1, everySteps: 2, keep: 2}],
  clipByGlobalNorm: () => [library.adam(), 1],
  combineAdapters: () => [[{adapter: adapter(), weight: 1}], {method: 'ties', density: 0.5, rank: 1}],
  percentageOfCorrectKeypoints: () => [{points: 2, dimensions: 2, size: 'box', threshold: 0.1}],
  disposeModel: () => [mlp().model],
  exportPEFT: () => [mlp().model, {adapter: adapter(), keyMap: {}, dtype: 'float32'}],
  fileHandler: () => ['model.json'],
  findLearningRate: () => [
    compiled(),
    tf.ones([4, 6, 6, 2]),
    tf.ones([4, 3]),
    {from: 1e-4, to: 1, steps: 10, batchSize: 2, seed: 1, onProgress: () => undefined},
  ],
  fineTune: () => [
    adapted(),
    [tf.ones([4, 5]), tf.ones([4, 3])],
    {
      ...{loss: 'meanSquaredError', optimizer: library.adam(), maxNorm: 1, schedule: {warmup: 1}, epochs: 1},
      ...{batchSize: 2, seed: 1, best: {monitor: 'loss'}, stopOnNaN: true, callbacks: [], onProgress: () => undefined},
      validationData: [tf.ones([4, 5]), tf.ones([4, 3])],
    },
  ],
  fitOnFeatures: () => [
    compiled(),
    tf.ones([2, 6, 6, 2]),
    tf.ones([2, 3]),
    {epochs: 1, verbose: 0, maxBytes: 1e6, onProgress: () => undefined},
  ],
  getAdapter: () => [adapted()],
  learningRateSchedule: () => [{warmup: 2, steps: 10, shape: 'linear'}],
  loadAdapter: () => [peftFiles('lora'), {model: smallNetwork().model, keyMap: {}}],
  loadKerasModel: () => [{load: () => Promise.resolve({})}, {maxBytes: 1e6}],
  adaptLayer: () => [
    {
      layer: layers.dense({units: 2}),
      weights: [{name: 'kernel', outAxes: 1}],
      rank: 1,
      alpha: 1,
      name: 'x',
      seed: 1,
      init: 'zeros',
    },
  ],
  landmarkLoss: () => [{points: 2, dimensions: 2, visibility: 2, size: [0, 1], kind: 'wing', beta: 1, width: 1}],
  loraPlus: () => [library.adam(), {ratio: 4}],
  measureLoRA: () => [adapted(), {}],
  addTokens: () => [writer(), shared.tokenizer, ['<tool>'], {init: 'mean', special: true}],
  trainableTokens: () => [writer(), [1], {lora: {rank: 1, targets: [/q_proj$/]}, head: true}],
  encodeChats: () => [
    writer(),
    tokenizer,
    [{prompt: 'the', completion: ' dog'}],
    {maxLength: 8, trainOn: 'all', batchSize: 1, seed: 1, padToMultipleOf: 8},
  ],
  compilePreferences: () => [
    writer(),
    {method: 'simpo', optimizer: 'sgd', metrics: ['accuracy'], beta: 2, cpoAlpha: 0},
  ],
  encodePreferences: () => [
    writer(),
    tokenizer,
    [{prompt: 'the', chosen: ' dog', rejected: ' fox'}],
    {maxLength: 8, batchSize: 1, seed: 1, padToMultipleOf: 8, reference: 'none'},
  ],
  exportGGUF: () => {
    const model = library.applyLoRA(writer(), {rank: 1, targets: [/q_proj$/]});
    return [model, {adapter: library.getAdapter(model), dtype: 'float32'}];
  },
  generate: () => [
    writer(),
    tokenizer,
    'the',
    {maxTokens: 1, temperature: 1, topK: 2, topP: 0.5, seed: 1, stop: ['x']},
  ],
  generateTexts: () => [writer(), tokenizer, ['the'], {maxTokens: 1, repetitionPenalty: 1.1}],
  loadGGUF: () => [fileOf('llama'), {tokenizer: true, quantized: true, gradientCheckpointing: false}],
  measurePerplexity: () => [writer(), tokenizer, ['the dog'], {maxLength: 4}],
  mergeLoRA: () => [adapted()],
  moveTo: () => [[compiled(), adapter()], 'cpu'],
  normalizedMeanError: () => [{points: 2, dimensions: 2, visibility: 2, size: 10}],
  openChat: () => [
    writer(),
    {...tokenizer, chatTemplate: shared.tokenizer.chatTemplate},
    {system: 'a', messages: [{role: 'user', content: 'b'}], maxTokens: 1},
  ],
  parseChats: () => ['{"text": "a"}'],
  parseRecords: () => ['{"text": "a"}', {kind: 'chats', skip: true}],
  parsePreferences: () => ['{"prompt": "a", "chosen": "b", "rejected": "c"}'],
  planLoRA: () => [mlp().model, {rank: 2}],
  predictWith: () => [adapted(), tf.ones([2, 5]), [adapter(), adapter()], {batchSize: 1}],
  progress: () => [{label: 'x', element: fakeElement().element, onProgress: () => undefined, everySeconds: 0.01}],
  quantizeBase: () => [cnn().model, {bits: 8, targets: 'all', exclude: ['head']}],
  registerAdaptable: () => ['Dense', {weights: ['kernel']}],
  removeLoRA: () => [adapted()],
  replaceHead: () => [mlp().model, [layers.dense({units: 2, name: 'new'})], {at: 'hidden'}],
  resetOptimizer: () => [compiled()],
  resume: () => [compiled(), FOLDER, {keep: 1}],
  safeMergeLoRA: () => [adapted(), {}],
  saveAdapter: () => [adapter(), new MemoryHandler(), {format: 'safetensors', dtype: 'float32'}],
  saveMerged: () => [adapted(), new MemoryHandler(), {}],
  scaleAdapter: () => [adapter(), 1],
  seededBatches: () => [tf.ones([2]), tf.ones([2]), {batchSize: 1, seed: 1}],
  setAdapter: () => [adapted(), adapter()],
  setHub: () => [{endpoint: 'https://huggingface.co', token: 'hf_x', cache: {maxBytes: 1e9}}],
  setQuantizedActivations: () => ['float32'],
  sgd: () => [{learningRate: 0.1, momentum: 0.9, nesterov: false}],
  startWasm: () => [{threads: 1}],
  stopOnNaN: () => [],
  summarizeLoRA: () => [adapted()],
  toSafetensors: () => [adapter(), {dtype: 'float32'}],
  trainableVariables: () => [adapted()],
  useRelaxedSIMD: () => [false],
  withAdapter: () => [adapted(), adapter(), () => 1],
  encodeSounds: () => [
    mlp().model,
    [clip(0)],
    {preprocessor: {feature_extractor_type: 'ASTFeatureExtractor', max_length: 2}, truncate: true},
  ],
  loadTransformer: () => ['missing', {labels: 2}],
  encodeTranscripts: () => [listener(), {encode: () => ({ids: [1]})}, ['a'], {language: 'en', task: 'transcribe'}],
  centerSound: () => [clip(1), 1],
  encodeWords: () => [[sound.centerSound(clip(1)), sound.centerSound(clip(2))]],
  wordFrames: () => [clip(1)],
  loadWordBase: () => [],
  augmentSounds: () => [{gain: 1, shift: 0.1, noise: [clip(1)], snr: [0, 10], seed: 1}],
  characterErrorRate: () => [['a'], ['b']],
  scoreEvents: () => [[{time: 1, label: 'a'}], [], {tolerance: 1}],
  ctcLoss: () => [tf.tensor2d([[1]]), tf.zeros([1, 2, 3]), {blank: 0, padding: -100, zeroInfinity: true}],
  makeDetector: () => [{threshold: 0.5, coolDown: 1, ignore: []}],
  slidingWindows: () => [4, 2],
  specAugment: () => [{timeMasks: 1, maxFrames: 2, frequencyMasks: 1, maxMels: 2, seed: 1}],
  wordErrorRate: () => ['a b', 'a'],
  logMel: () => [clip(0), {mels: 4, scale: 'htk', padding: 'none', power: 2, log: 'ln', minFrequency: 20}],
  readSound: () => [clip(0)],
  readWav: () => [wav({data: new Uint8Array(4)})],
  resample: () => [clip(0), 8000],
  transcribe: () => [
    listener(),
    {decode: () => ''},
    tf.ones([1, 4, 3]),
    {language: 'en', task: 'transcribe', timestamps: false, maxTokens: 2},
  ],
  trainOnRewards: () => [
    writer(),
    tokenizer,
    {
      prompts: ['the'],
      rewards: [() => [0, 1]],
      optimizer: library.sgd({learningRate: 0.1}),
      steps: 1,
      group: 2,
      maxTokens: 1,
      seed: 1,
      beta: 0,
    },
  ],
};

const EXPORTED = {
  ...{...library, ...singleLayers, ...federated, ...landmarks, ...quantized, ...language, ...sound, ...words},
  ...{crossEntropyFromLogits, perplexity},
};

/** Where null has a meaning of its own. */
const MEANINGFUL = new Set(['setAdapter 1', 'withAdapter 1', 'predictWith 2.0', 'predictWith 2.1']);

/** A model with the inputs of a Whisper. */
function listener(): tf.LayersModel {
  const [sound, ids] = [tf.input({shape: [null, 3]}), tf.input({shape: [null], dtype: 'int32'})];
  const outputs = tf.layers.embedding({inputDim: 5, outputDim: 5}).apply(ids) as tf.SymbolicTensor;
  const model = tf.model({inputs: [sound, ids], outputs});
  model.setUserDefinedMetadata({speech: {decoder_start_token_id: 1}});
  return model;
}

/** Functions whose last object is no options of ours, or that report what is wrong with them. */
const OTHER_OBJECTS = new Set(['fitOnFeatures', 'planLoRA', 'readSound', 'setAdapter', 'wordFrames']);

function isOptions(value: unknown): boolean {
  return typeof value === 'object' && value?.constructor === Object;
}

/** Null in each place of the arguments, and in each entry of objects and lists among them. */
function variants(name: string, usage: Usage): [place: string, call: () => unknown][] {
  const use = (EXPORTED as unknown as Record<string, (...args: unknown[]) => unknown>)[name]!;
  return usage().flatMap((argument, i) => {
    const keys = isOptions(argument) || Array.isArray(argument) ? Object.keys(argument as object) : [];
    const whole: [string, () => unknown] = [
      `${name} ${i}`,
      () => use(...usage().map((value, at) => (at === i ? null : value))),
    ];
    const entries = keys.map((key): [string, () => unknown] => [
      `${name} ${i}.${key}`,
      () =>
        use(
          ...usage().map((value, at) => {
            if (at !== i) {
              return value;
            }
            const copy = (Array.isArray(value) ? [...(value as unknown[])] : {...(value as object)}) as Record<
              string,
              unknown
            >;
            copy[key] = null;
            return copy;
          }),
        ),
    ]);
    return [whole, ...entries];
  });
}

test('every exported function is here', () => {
  const functions = Object.entries(EXPORTED).filter(
    ([name, value]) => typeof value === 'function' && /^[a-z]/.test(name),
  );
  expect(Object.keys(USAGES).sort()).toEqual(functions.map(([name]) => name).sort());
});

test.each(Object.entries(USAGES))(
  'null for an argument of %s is refused clearly, or means no argument',
  async (name, usage) => {
    jest.spyOn(console, 'warn').mockImplementation();
    const unclear: string[] = [];
    for (const [place, call] of variants(name, usage)) {
      try {
        await call();
      } catch (error) {
        if (!(error instanceof library.LoRAError) || MEANINGFUL.has(place)) {
          unclear.push(`${place}: ${String(error)}`);
        }
      }
    }
    expect(unclear).toEqual([]);
  },
);

test('an option that does not exist is refused by every function that has options', async () => {
  jest.spyOn(console, 'warn').mockImplementation();
  const accepted: string[] = [];
  for (const [name, usage] of Object.entries(USAGES)) {
    const args = usage();
    const options = args.at(-1);
    if (isOptions(options) && !OTHER_OBJECTS.has(name)) {
      const use = (EXPORTED as unknown as Record<string, (...args: unknown[]) => unknown>)[name]!;
      const told = await Promise.resolve()
        .then(() => use(...args.slice(0, -1), {...(options as object), unheardOf: 1}))
        .then(() => 'no error', String);
      if (!/^LoRAError.*unheardOf/s.test(told)) {
        accepted.push(`${name}: ${told}`);
      }
    }
  }
  expect(accepted).toEqual([]);
});

test('a signal or a report of progress that is none is refused by every function that takes one', async () => {
  jest.spyOn(console, 'warn').mockImplementation();
  const accepted: string[] = [];
  for (const [name, usage] of Object.entries(USAGES)) {
    for (const option of ['signal', 'onProgress']) {
      const args = usage();
      if (!isOptions(args.at(-1)) || OTHER_OBJECTS.has(name)) {
        continue;
      }
      const use = (EXPORTED as unknown as Record<string, (...args: unknown[]) => unknown>)[name]!;
      const told = await Promise.resolve()
        .then(() => use(...args.slice(0, -1), {...(args.at(-1) as object), [option]: {}}))
        .then(() => 'no error', String);
      if (!new RegExp(`^LoRAError.*(?:${option} must be|no option "${option}")`, 's').test(told)) {
        accepted.push(`${name}: ${told}`);
      }
    }
  }
  expect(accepted).toEqual([]);
});

test('null is refused in the place of a model, an adapter and options', async () => {
  for (const place of [
    'applyLoRA 0',
    'applyLoRA 1',
    'saveAdapter 0',
    'saveAdapter 2',
    'summarizeLoRA 0',
    'mergeLoRA 0',
    'combineAdapters 1',
    'loadAdapter 0',
  ]) {
    const [name, i] = place.split(' ') as [string, string];
    const [, call] = variants(name, USAGES[name]!).find(([found]) => found === `${name} ${i}`)!;
    await expect(Promise.resolve().then(call)).rejects.toThrow(/null/);
  }
});

test('null in the methods of a layer is refused clearly, or means no argument', () => {
  const layer = adapted().getLayer('hidden') as library.LoRADense;
  const none = null as never;
  expect(() => layer.loadWeights(none)).toThrow(library.LoRAError);
  expect(() => layer.loadWeights({kernel: none})).toThrow('kernel must be a tensor, got null.');
  expect(() => layer.setParameter('kernel', none)).toThrow('kernel must be a tensor, got null.');
  expect(() => layer.setParameter(none, tf.ones([1]))).toThrow(library.LoRAError);
  expect(() => layer.validateWeights(none)).toThrow(library.LoRAError);
  expect(layer.validateWeights(['kernel'], none).matched).toEqual(['kernel']);
  expect(layer.tryGetParameter(none)).toBeUndefined();
});

test('null means no arguments in apply and call, as in stock layers', () => {
  const x = tf.ones([2, 3, 4]);
  const bases = [
    layers.dense({units: 2}),
    layers.lstm({units: 2}),
    layers.bidirectional({layer: layers.gru({units: 2}), mergeMode: 'concat'}),
    layers.dropout({rate: 0.5}),
    layers.batchNormalization(),
  ];
  for (const layer of bases) {
    const expected = (layer.apply(x, null as never) as tf.Tensor).dataSync();
    const className = layer.getClassName();
    const wrapper =
      className === 'Dense' || className === 'LSTM' || className === 'Bidirectional'
        ? singleLayers.adaptLayer({layer, rank: 1})
        : new library.FrozenLayer({layer});
    expect((wrapper.apply(x, null) as tf.Tensor).dataSync()).toEqual(expected);
    expect((wrapper.call(x, null) as tf.Tensor).dataSync()).toEqual(expected);
    expect((new library.TrainedLayer({layer}).apply(x, null) as tf.Tensor).dataSync()).toEqual(expected);
  }
});
