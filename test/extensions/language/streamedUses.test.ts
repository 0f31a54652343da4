import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  accumulate,
  adam,
  applyLoRA,
  checkpoint,
  clipByGlobalNorm,
  combineAdapters,
  compileModel,
  convertToLoRA,
  disposeModel,
  exportPEFT,
  fineTune,
  getAdapter,
  loadAdapter,
  loraPlus,
  measureLoRA,
  mergeLoRA,
  neftune,
  planLoRA,
  predictWith,
  removeLoRA,
  replaceHead,
  resume,
  safeMergeLoRA,
  saveAdapter,
  saveMerged,
  scaleAdapter,
  setAdapter,
  sgd,
  startWasm,
  toSafetensors,
  withAdapter,
} from 'tfjs-lora';
import {
  compilePreferences,
  encodeChats,
  type EncodeChatsOptions,
  encodePreferences,
  exportGGUF,
  generate,
  generateTexts,
  loadGGUF,
  type LoadGGUFOptions,
  measurePerplexity,
  openChat,
  type PreferenceMethod,
  type RandomAccess,
  trainableTokens,
  trainOnRewards,
} from 'tfjs-lora/language';
import {quantizeBase} from 'tfjs-lora/quantized';
import {callThreadsFor} from '../../../src/backends/wasm/module/threads';
import {SLICE} from '../../../src/extensions/quantized/kernels/wasm/blocksInHeap';
import {withoutLeaks} from '../../helpers';
import {MemoryHandler} from '../../models';
import {fileOf} from './ggufFiles';

jest.setTimeout(120_000);

/** A file in memory that counts what is read of it, and fails from a read on. */
class CountedFile implements RandomAccess {
  reads = 0;
  closed = 0;
  lastRead = Infinity;

  constructor(private readonly bytes: Uint8Array) {}

  get size(): number {
    return this.bytes.length;
  }

  read(target: Uint8Array, begin: number): number {
    if (++this.reads > this.lastRead) {
      throw new Error('killed');
    }
    target.set(this.bytes.subarray(begin, begin + target.length));
    return target.length;
  }

  close(): void {
    this.closed++;
  }
}

const load = (name: string, file: CountedFile | undefined, options: LoadGGUFOptions = {}) =>
  loadGGUF(file ?? fileOf(name), {...options, weights: file === undefined ? 'memory' : 'streamed'});

type Loaded = Awaited<ReturnType<typeof load>>;
/** What a model is used for: what comes out as plain values. */
type Use = (loaded: Loaded) => unknown;

const whole = SLICE.bytes;
afterEach(() => {
  SLICE.bytes = whole;
});

/** What a use gives, or the error that refuses it. */
async function outcomeOf(name: string, use: Use, file?: CountedFile, options?: LoadGGUFOptions): Promise<unknown> {
  SLICE.bytes = file === undefined ? whole : 1;
  const loaded = await load(name, file, options);
  try {
    return await use(loaded);
  } catch (error) {
    return {refused: (error as Error).message};
  } finally {
    disposeModel(loaded.model);
  }
}

const IDS = [
  [5, 7, 9, 11, 13, 2, 3, 4],
  [1, 2, 3, 4, 5, 6, 7, 8],
];
const valuesOf = (tensors: readonly tf.Tensor[]) => tensors.map(tensor => [...tensor.dataSync()]);
const trainedValues = (model: tf.LayersModel) => valuesOf(model.trainableWeights.map(weight => weight.read()));
const logitsOf = (model: tf.LayersModel) =>
  tf.tidy(() => {
    const tokens = tf.tensor2d(IDS, undefined, 'int32');
    return valuesOf([model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor]);
  });
const adapterValues = (adapter: Adapter) => valuesOf(Object.values(adapter.tensors));

/** Trains a model for three steps, and disposes of it. */
async function trained(model: tf.LayersModel, optimizer: tf.Optimizer = sgd({learningRate: 0.1})): Promise<unknown> {
  compileModel(model, {optimizer});
  const tokens = tf.tensor2d(IDS, undefined, 'int32');
  const mask = tf.onesLike(tokens);
  const losses: unknown[] = [];
  for (let step = 0; step < 3; step++) {
    losses.push(await model.trainOnBatch([tokens, mask], tokens));
  }
  const values = [losses, trainedValues(model), logitsOf(model)];
  tf.dispose([tokens, mask]);
  disposeModel(model);
  return values;
}

/** An adapted model whose update is not zero. */
function adaptedOf(base: tf.LayersModel, config: object = {}): tf.LayersModel {
  const model = applyLoRA(base, {rank: 2, seed: 1, targets: 'linear', ...config});
  for (const weight of model.trainableWeights.filter(({originalName}) => originalName.endsWith('lora_B'))) {
    tf.tidy(() => {
      weight.write(tf.randomNormal(weight.shape as number[], 0, 0.1, 'float32', 5));
    });
  }
  return model;
}

/** A use of an adapted model, which is disposed of. */
const onAdapted =
  (use: (model: tf.LayersModel, loaded: Loaded) => unknown): Use =>
  async loaded => {
    const model = adaptedOf(loaded.model);
    try {
      return await use(model, loaded);
    } finally {
      disposeModel(model);
    }
  };

const training =
  (config: object, optimizer?: () => tf.Optimizer): Use =>
  ({model}) =>
    trained(applyLoRA(model, {rank: 2, seed: 1, ...config}), optimizer?.());

async function collected(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) {
    text += piece;
  }
  return text;
}

const TEXTS = ['the quick brown fox', 'jumps over', 'the lazy dog'].map(text => ({text}));
const [, OTHER_TEXT] = ['the quick', 'what of it'] as const;

const onTexts = (options: EncodeChatsOptions): Use =>
  onAdapted(async (model, {tokenizer}) => {
    const data = await encodeChats(model, tokenizer, TEXTS, {seed: 1, batchSize: 2, ...options});
    compileModel(model, {optimizer: adam({learningRate: 0.01})});
    const {history} = await model.fitDataset(data, {epochs: 2, verbose: 0});
    return [history.loss, trainedValues(model)];
  });

const onPreferences = (method: PreferenceMethod): Use =>
  onAdapted(async (model, {tokenizer}) => {
    const pairs = [
      {prompt: 'the fox', chosen: ' jumps', rejected: ' over the lazy dog'},
      {prompt: 'a dog', chosen: ' sleeps', rejected: ' reads'},
    ];
    const answers = pairs.flatMap(({prompt, chosen, rejected}) => [
      {prompt, completion: chosen, label: true},
      {prompt, completion: rejected, label: false},
    ]);
    const records = method === 'kto' ? answers : pairs;
    const data = await encodePreferences(model, tokenizer, records, {seed: 1, batchSize: 4});
    compilePreferences(model, {method, optimizer: adam({learningRate: 0.01})});
    const {history} = await model.fitDataset(data, {epochs: 2, verbose: 0});
    return [history.loss, trainedValues(model)];
  });

const saved = async (save: (handler: MemoryHandler) => Promise<unknown>) => {
  const handler = new MemoryHandler();
  await save(handler);
  // tfjs numbers the models that it makes.
  return [handler.json.replace(/"model\d+"/, ''), [...new Uint8Array(handler.weightData as ArrayBuffer)]];
};

const METHODS = ['lora', 'lora-fa', 'vera', 'ia3', 'ia3-feedforward', 'dora', 'loha', 'lokr'] as const;

const USES: Record<string, Use> = {
  ...Object.fromEntries(
    METHODS.map(method => [`the method ${method}`, training({method, ...(/ia3/.test(method) && {rank: undefined})})]),
  ),
  ...Object.fromEntries(
    (['pissa', 'olora'] as const).map(init => [`the initialization ${init}`, training({init, targets: [/q_proj$/]})]),
  ),
  'targets linear': training({targets: 'linear'}),
  'targets by class': training({targets: ['Dense', 'Embedding']}),
  'the embedding': training({targets: [/embed_tokens$/]}),
  'the head with projections': training({targets: [/lm_head$/, /down_proj$/]}),
  'norms in full': training({targets: [/q_proj$/], trainInFull: [/norm$/]}),
  'the head in full': training({targets: [/q_proj$/], trainInFull: [/lm_head$/]}),
  'matrices in full': training({targets: [/q_proj$/], trainInFull: [/v_proj$/]}),
  'rank stabilization': training({rankStabilized: true, targets: 'linear'}),
  dropout: training({dropout: 0.5, targets: 'linear'}),
  accumulation: training({}, () => accumulate(adam({learningRate: 0.01}), 2)),
  'clipped gradients': training({}, () => clipByGlobalNorm(adam({learningRate: 0.01}), 0.1)),
  'two rates': training({}, () => loraPlus(adam({learningRate: 0.01}))),
  'trainable tokens': ({model}) => trained(applyLoRA(model, trainableTokens(model, [3, 5]))),
  'trainable tokens with LoRA': ({model}) =>
    trained(applyLoRA(model, trainableTokens(model, [3, 5], {lora: {rank: 2, targets: [/q_proj$/], seed: 1}}))),
  'another head': ({model}) => {
    const headed = replaceHead(model, 3, {after: 'model/norm'});
    const adapted = adaptedOf(headed, {targets: [/v_proj$/]});
    const shapes = logitsOf(adapted).map(({length}) => length);
    [adapted, headed].forEach(disposeModel);
    return shapes;
  },
  predictions: ({model}) => logitsOf(model),
  'predictions by an adapter': onAdapted(model => logitsOf(model)),
  'one text': ({model, tokenizer}) => generateTexts(model, tokenizer, ['the quick'], {maxTokens: 8}),
  'several texts': onAdapted((model, {tokenizer}) =>
    generateTexts(model, tokenizer, ['the quick', 'a dog sat on', 'what'], {maxTokens: 8}),
  ),
  'sampled texts': onAdapted((model, {tokenizer}) =>
    generateTexts(model, tokenizer, ['the quick', 'a'], {maxTokens: 8, temperature: 1, topK: 20, topP: 0.9, seed: 3}),
  ),
  'pieces of a text': onAdapted((model, {tokenizer}) =>
    collected(generate(model, tokenizer, 'the quick', {maxTokens: 8, repetitionPenalty: 1.2})),
  ),
  'tokens with rounded inputs': onAdapted((model, {tokenizer}) =>
    collected(generate(model, tokenizer, 'the quick', {maxTokens: 8, quantizedActivations: 'int8'})),
  ),
  'a chat': onAdapted(async (model, {tokenizer}) => {
    const template = {render: ({messages}: {messages?: unknown}) => JSON.stringify(messages)};
    const chat = openChat(model, Object.assign(tokenizer, {chatTemplate: template}), {maxTokens: 4});
    const answers = [await collected(chat.send('the quick')), await collected(chat.send(OTHER_TEXT))];
    chat.dispose();
    return answers;
  }),
  'texts as examples': onTexts({trainOn: 'all'}),
  'packed texts': onTexts({trainOn: 'all', packing: true, maxLength: 32}),
  'isolated packed texts': onTexts({trainOn: 'all', packing: {isolated: true}, maxLength: 32}),
  'noisy embeddings': onAdapted(async (model, {tokenizer}) => {
    const data = await encodeChats(model, tokenizer, TEXTS, {seed: 1, trainOn: 'all'});
    compileModel(model, {optimizer: adam({learningRate: 0.01})});
    await model.fitDataset(data, {epochs: 1, verbose: 0, callbacks: [neftune({seed: 1})]});
    return trainedValues(model);
  }),
  ...Object.fromEntries(
    (['dpo', 'ipo', 'hinge', 'orpo', 'simpo', 'kto'] as const).map(method => [
      `preferences by ${method}`,
      onPreferences(method),
    ]),
  ),
  rewards: onAdapted(async (model, {tokenizer}) => {
    const optimizer = adam({learningRate: 0.01});
    const {steps} = await trainOnRewards(model, tokenizer, {
      prompts: ['the quick', 'a dog'],
      rewards: [answers => answers.map(({text}) => text.length)],
      ...{optimizer, steps: 2, group: 3, maxTokens: 4, seed: 3, beta: 0.1},
    });
    return [steps.map(({loss, reward}) => [loss, reward]), trainedValues(model)];
  }),
  perplexity: onAdapted((model, {tokenizer}) =>
    measurePerplexity(model, tokenizer, ['the quick brown fox', 'jumps over']),
  ),
  'fine-tuning in a call': onAdapted(async (model, {tokenizer}) => {
    const data = await encodeChats(model, tokenizer, TEXTS, {seed: 1, trainOn: 'all'});
    await fineTune(model, data, {epochs: 2});
    return trainedValues(model);
  }),
  'a saved adapter': onAdapted(model => saved(handler => saveAdapter(model, handler))),
  'an adapter for PEFT': onAdapted(async model => {
    const {config, weights} = await exportPEFT(model);
    return [config, [...weights]];
  }),
  'an adapter of PEFT': onAdapted(async (model, {model: base}) => {
    const adapter = await loadAdapter(await exportPEFT(model), {model: base});
    const twin = applyLoRA(base, adapter);
    const values = logitsOf(twin);
    disposeModel(twin);
    return values;
  }),
  'an adapter in GGUF': async ({model}) => {
    const adapted = adaptedOf(model, {targets: [/[qv]_proj$/]});
    const bytes = [...(await exportGGUF(adapted))];
    disposeModel(adapted);
    return bytes;
  },
  measurements: onAdapted(async model => (await measureLoRA(model)).layers),
  plans: ({model}) => String(planLoRA(model, {rank: 2})),
  'removed updates': onAdapted(model => {
    const plain = removeLoRA(model);
    const values = logitsOf(plain);
    disposeModel(plain);
    return values;
  }),
  'two adapters': onAdapted(async (model, {model: base}) => {
    const [first, second] = [getAdapter(model), scaleAdapterOf(model)];
    const sum = await combineAdapters([
      {adapter: first, weight: 0.5},
      {adapter: second, weight: -2},
    ]);
    const values: unknown[] = [];
    setAdapter(model, second);
    values.push(logitsOf(model));
    values.push(withAdapter(model, first, () => logitsOf(model)));
    values.push(adapterValues(sum));
    tf.tidy(() => {
      const tokens = tf.tensor2d(IDS, undefined, 'int32');
      const predicted = predictWith(model, [tokens, tf.onesLike(tokens)], [first, second]);
      values.push(valuesOf([predicted].flat()));
    });
    const twin = applyLoRA(base, sum);
    values.push(logitsOf(twin));
    disposeModel(twin);
    [first, second].forEach(adapter => {
      adapter.dispose();
    });
    return values;
  }),
  'another adapter on one base': ({model}) => {
    const [first, second] = [adaptedOf(model), adaptedOf(model, {targets: [/up_proj$/]})];
    const values = [logitsOf(first)];
    disposeModel(first);
    values.push(logitsOf(second));
    disposeModel(second);
    return values;
  },
  'another method as LoRA': async ({model}) => {
    const adapted = applyLoRA(model, {method: 'vera', rank: 2, seed: 1, targets: [/q_proj$/]});
    try {
      const {adapter} = await convertToLoRA(adapted, {rank: 2});
      const values = adapterValues(adapter);
      adapter.dispose();
      return values;
    } finally {
      disposeModel(adapted);
    }
  },
  'a merged model': onAdapted(model => {
    const merged = mergeLoRA(model);
    const values = logitsOf(merged);
    disposeModel(merged);
    return values;
  }),
  'a checked merge': onAdapted(async model => {
    const merged = await safeMergeLoRA(model);
    const values = logitsOf(merged);
    disposeModel(merged);
    return values;
  }),
  'a saved merged model': onAdapted(model => saved(handler => saveMerged(model, handler))),
  'a merged model as safetensors': onAdapted(async model => [...(await toSafetensors(model))]),
  'a saved model': ({model}) => saved(handler => model.save(handler)),
  'a saved adapted model that is loaded': onAdapted(async model => {
    const handler = new MemoryHandler();
    await model.save(handler);
    const twin = await tf.loadLayersModel(handler);
    const values = logitsOf(twin);
    disposeModel(twin);
    return values;
  }),
  'a clone without values': async ({model}) => {
    const twin = await tf.models.modelFromJSON(JSON.parse(JSON.stringify(model.toJSON(null, false))) as never);
    const shapes = logitsOf(twin).map(({length}) => length);
    disposeModel(twin);
    return shapes;
  },
  'a base that is quantized again': ({model}) => quantizeBase(model, {bits: 4}).then(logitsOf),
};

/** A second adapter of a model: its own, scaled. */
function scaleAdapterOf(model: tf.LayersModel): Adapter {
  const adapter = getAdapter(model);
  const scaled = scaleAdapter(adapter, 0.5);
  adapter.dispose();
  return scaled;
}

describe('what a resident model does or refuses, a streamed one does or refuses', () => {
  test.each(Object.entries(USES))('%s', async (what, use) => {
    const name = what.includes('head') ? 'qwen3' : 'llama'; // one has a separate head, the other has rows to reorder
    await withoutLeaks(async () => {
      const expected = await outcomeOf(name, use);
      const file = new CountedFile(fileOf(name));
      expect(await outcomeOf(name, use, file)).toEqual(expected);
      expect(file.closed).toBe(1);
    });
  });
});

test('two threads compute the same bits', async () => {
  const use = onTexts({trainOn: 'all'});
  const generating = USES['several texts']!;
  await startWasm({threads: 1});
  const expected = [await outcomeOf('llama', use), await outcomeOf('llama', generating)];
  callThreadsFor(1);
  await startWasm({threads: 2});
  const streamed = () => new CountedFile(fileOf('llama'));
  expect([await outcomeOf('llama', use, streamed()), await outcomeOf('llama', generating, streamed())]).toEqual(
    expected,
  );
  await startWasm({threads: 1});
});

test('a run that is killed before any read ends with the same bits once it is resumed', async () => {
  const texts = [{text: 'a dog'}, {text: 'the fox'}];
  /** Trains two batches from the latest checkpoint on. */
  const run = async (place: tf.io.IOHandler, file: CountedFile) => {
    const {model: base, tokenizer} = await load('llama', file, {gradientCheckpointing: true});
    const model = adaptedOf(base, {targets: [/[qv]_proj$/]});
    try {
      const batches = await encodeChats(model, tokenizer, texts, {seed: 1, trainOn: 'all', batchSize: 1});
      compileModel(model, {optimizer: adam({learningRate: 0.01})});
      const resumed = await resume(model, place, {batches});
      const callbacks = [checkpoint(place, {batches, everySteps: 1})];
      await model.fitDataset(batches, {epochs: 1, verbose: 0, ...resumed, callbacks});
      return trainedValues(model);
    } finally {
      [model, base].forEach(disposeModel);
    }
  };
  const newPlace = (): tf.io.IOHandler => {
    const handler = new MemoryHandler();
    const missing = Object.assign(new Error('none'), {code: 'ENOENT'});
    return {save: handler.save, load: () => (handler.json === '' ? Promise.reject(missing) : handler.load())};
  };
  const undisturbed = new CountedFile(fileOf('llama'));
  const expected = await run(newPlace(), undisturbed);
  for (let lastRead = 0; lastRead < undisturbed.reads; lastRead++) {
    const place = newPlace();
    const file = Object.assign(new CountedFile(fileOf('llama')), {lastRead});
    await expect(run(place, file)).rejects.toThrow('killed');
    expect(await run(place, new CountedFile(fileOf('llama')))).toEqual(expected);
  }
});
