import {rmSync, writeFileSync} from 'node:fs';
import {join, relative} from 'node:path';
import {pathToFileURL} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {applyLoRA, compileModel, disposeModel} from 'tfjs-lora';
import {loadTransformer, type TransformerSources} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {capabilities, supplyCapabilities} from '../../../src/backends/shared/capabilities';
import {wasmCapabilities} from '../../../src/backends/wasm/capabilities';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {temporaryFolder} from '../../temporaryFolder';
import {atTokens, fixture} from './fixtures';

const bert = fixture('bert');
const fields = JSON.parse(bert.config) as Record<string, unknown>;

function tensorsOf(bytes: Uint8Array): Record<string, NamedValues> {
  return Object.fromEntries(
    [...decodeSafetensors(bytes).tensors].map(([name, {shape, data}]) => [name, {shape, data: data!}]),
  );
}

const stored = tensorsOf(bert.weights);

async function outputOf(sources: Partial<TransformerSources>): Promise<number[]> {
  return outputsOf((await loadTransformer({config: bert.config, weights: bert.weights, ...sources})).model);
}

/** What a model computes of the tokens of the fixture. It is disposed. */
function outputsOf(model: tf.LayersModel): number[] {
  const values = tf.tidy(() => {
    const {ids, mask} = bert.expected;
    return numbers(model.predict([tf.tensor2d(ids, undefined, 'int32'), tf.tensor2d(mask)]) as tf.Tensor);
  });
  disposeModel(model);
  return values;
}

// WASM refuses more weights than its memory has room for, before other faults are found.
beforeEach(() => useBackend('cpu'));

describe('a model', () => {
  test('comes from bytes, blobs, responses, promises and several files alike', async () => {
    const expected = await outputOf({});
    const names = Object.keys(stored);
    const part = (from: number, to: number) =>
      encodeSafetensors(Object.fromEntries(names.slice(from, to).map(name => [name, stored[name]!])));
    const bytes = new Uint8Array(bert.weights);
    const sources: TransformerSources['weights'][] = [
      bytes.buffer,
      new Blob([bytes]),
      new Response(bytes),
      Promise.resolve(new Blob([bytes])),
      [part(0, 3), new Blob([part(3, 10)]), new Response(part(10, names.length))],
    ];
    for (const weights of sources) {
      await withoutLeaks(async () => expect(await outputOf({weights})).toEqual(expected));
    }
    const config = new Blob([bert.config]);
    expect(await outputOf({config})).toEqual(expected);
    expect(await outputOf({config: fields})).toEqual(expected);
  });

  test('comes from a folder, a path and a URL of files in Node', async () => {
    const expected = await outputOf({});
    const folder = join(__dirname, '../../fixtures/transformers/bert');
    const relativeFolder = relative(process.cwd(), folder);
    const url = pathToFileURL(folder);
    for (const source of [folder, `${folder}/`, relativeFolder, join(folder, 'config.json'), url, `${url.href}/`]) {
      const {model} = await loadTransformer(source, {tokenTypes: false});
      expect(outputsOf(model)).toEqual(expected);
    }
    const config = join(relativeFolder, 'config.json');
    expect(await outputOf({config, weights: `${url.href}/model.safetensors`})).toEqual(expected);
    expect(await outputOf({config, weights: [join(folder, 'model.safetensors')]})).toEqual(expected);
  });

  test('comes from several numbered files of a folder', async () => {
    const folder = temporaryFolder();
    const names = Object.keys(stored);
    const part = (from: number, to: number) =>
      encodeSafetensors(Object.fromEntries(names.slice(from, to).map(name => [name, stored[name]!])));
    writeFileSync(join(folder, 'config.json'), bert.config);
    writeFileSync(join(folder, 'adapter_model.safetensors'), 'no part of the model');
    await expect(loadTransformer(folder)).rejects.toThrow(`${folder} has no model.safetensors.`);
    writeFileSync(join(folder, 'model-00001-of-00002.safetensors'), part(0, 5));
    writeFileSync(join(folder, 'model-00002-of-00002.safetensors'), part(5, names.length));
    expect(outputsOf((await loadTransformer(folder)).model)).toEqual(await outputOf({}));
    rmSync(folder, {recursive: true});
    await expect(loadTransformer(folder)).rejects.toThrow(`There is no file ${join(folder, 'config.json')}.`);
  });

  test.each([
    ['a ZIP archive', [0x50, 0x4b, 3, 4, 0, 0, 8, 8, 0, 0, 0, 0]],
    ['pickled', [0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20]],
  ])('of PyTorch, %s, is refused with the line that converts it', async (_, bytes) => {
    const promise = loadTransformer({config: bert.config, weights: new Uint8Array(bytes)});
    await expect(promise).rejects.toThrow(/Files of PyTorch .* import torch, safetensors\.torch as s; s\.save_file\(/);
    await expect(promise).rejects.toMatchObject({code: 'ERR_UNSUPPORTED'});
  });

  test.each(['F16', 'BF16'] as const)('of %s has the numbers that were rounded', async dtype => {
    const rounded = encodeSafetensors(stored, {dtype});
    const wide = encodeSafetensors(tensorsOf(rounded));
    expect(await outputOf({weights: rounded})).toEqual(await outputOf({weights: wide}));
  });

  test('has the names of the modules of the hub', async () => {
    const {model} = await loadTransformer({config: bert.config, weights: bert.weights});
    const names = model.layers.map(({name}) => name);
    expect(names).toEqual(
      expect.arrayContaining([
        'embeddings/word_embeddings',
        'encoder/layer/1/attention/self/query',
        'encoder/layer/1/output/dense',
      ]),
    );
    expect(model.getLayer('encoder/layer/0/attention/self/key').getClassName()).toBe('Dense');
  });

  test('gives one vector for a text with a pooling, by the mask', async () => {
    const states = tf.tensor(await outputOf({}), [3, 7, 24]);
    const mask = tf.tensor2d(bert.expected.mask);
    const mean = tf.tidy(() => {
      const weights = tf.reshape(mask, [3, 7, 1]);
      return numbers(tf.div(tf.sum(tf.mul(states, weights), 1), tf.sum(weights, 1)));
    });
    const first = tf.tidy(() => numbers(tf.reshape(tf.slice(states, [0, 0, 0], [3, 1, 24]), [3, 24])));
    expect(await outputOf({pooling: 'mean'})).toBeAllClose(mean);
    expect(await outputOf({pooling: 'first'})).toBeAllClose(first);
  });

  test('takes a new head for classes, whose body is that of the file', async () => {
    await withoutLeaks(async () => {
      const {model} = await loadTransformer({config: bert.config, weights: bert.weights, labels: 5});
      expect(model.outputs[0]!.shape).toEqual([null, 5]);
      const head = model.getLayer('classifier').getWeights()[0]!;
      expect(numbers(head).some(value => value !== 0)).toBe(true);
      const query = model.getLayer('bert/encoder/layer/0/attention/self/query').getWeights()[1]!;
      expect(numbers(query)).toEqual(
        Array.from(stored['encoder.layer.0.attention.self.query.bias']!.data as Float32Array),
      );
      disposeModel(model);
    });
  });

  test('of a file with a head gives its body alone where that is asked for', async () => {
    const {config, weights} = fixture('bertClasses');
    const {model} = await loadTransformer({config, weights, architecture: 'BertModel'});
    expect(model.outputs[0]!.shape).toEqual([null, null, 24]);
  });

  test('of a file with a head gives vectors where these are asked for', async () => {
    const {config, weights} = fixture('bertTiedWords');
    const {model} = await loadTransformer({config, weights, pooling: 'mean'});
    expect(model.outputs[0]!.shape).toEqual([null, 8]);
  });

  test('takes a new head for tokens or spans, of the class that is asked for', async () => {
    for (const [architecture, labels, width] of [
      ['BertForTokenClassification', 4, 4],
      ['BertForQuestionAnswering', 2, 2],
    ] as const) {
      const {model} = await loadTransformer({config: bert.config, weights: bert.weights, architecture, labels});
      expect(model.outputs[0]!.shape).toEqual([null, null, width]);
    }
  });

  test('takes a new head for spans over a decoder whose files name its body otherwise', async () => {
    const {config, weights} = fixture('llama');
    expect(Object.keys(tensorsOf(weights))).toContain('model.embed_tokens.weight');
    const {model: spans} = await loadTransformer({
      config,
      weights,
      architecture: 'LlamaForQuestionAnswering',
      labels: 2,
    });
    expect(spans.outputs[0]!.shape).toEqual([null, null, 2]);
    const embedding = numbers(spans.getLayer('transformer/embed_tokens').getWeights()[0]!);
    expect(embedding).toEqual(Array.from(tensorsOf(weights)['model.embed_tokens.weight']!.data as Float32Array));
  });

  test('takes a new head over a new pooler where the files have none', async () => {
    const {config, weights} = fixture('bertTokenClasses');
    expect(Object.keys(tensorsOf(weights)).filter(name => name.includes('pooler'))).toEqual([]);
    await withoutLeaks(async () => {
      for (const given of [{labels: 5}, {architecture: 'BertForMultipleChoice', labels: 1}]) {
        const {model} = await loadTransformer({config, weights, ...given});
        const [kernel, bias] = model.getLayer('bert/pooler/dense').getWeights() as [tf.Tensor, tf.Tensor];
        const {mean, deviation} = tf.tidy(() => {
          const {mean: center, variance} = tf.moments(kernel);
          return {mean: center.dataSync()[0], deviation: Math.sqrt(variance.dataSync()[0]!)};
        });
        expect(Math.abs(mean!)).toBeLessThan(0.01);
        expect(deviation).toBeGreaterThan(0.01);
        expect(deviation).toBeLessThan(0.03); // initializer_range is 0.02
        expect(numbers(bias)).toEqual(new Array(8).fill(0));
        disposeModel(model);
      }
    });
  });

  test('for choices is trained on their numbers, saved and loaded', async () => {
    const {config, weights, expected} = fixture('bertChoices');
    const {model: base} = await loadTransformer({config, weights});
    const model = applyLoRA(base, {rank: 2, targets: [/query$/]});
    compileModel(model, {optimizer: 'sgd', metrics: ['accuracy']});
    const inputs = [tf.tensor(expected.ids, undefined, 'int32'), tf.tensor(expected.mask)];
    const targets = tf.tensor1d([2, 0]);
    const {history} = await model.fit(inputs, targets, {epochs: 2, verbose: 0, batchSize: 1});
    expect(Object.keys(history)).toEqual(['loss', 'acc']);
    const loaded = await reloaded(model);
    const [ours, theirs] = tf.tidy(() => [model, loaded].map(each => numbers(each.predict(inputs) as tf.Tensor)));
    expect(theirs).toEqual(ours);
    expect(ours!.length).toBe(6);
    const flat = tf.tensor2d([[1, 2]], undefined, 'int32');
    expect(() => base.predict([flat, flat])).toThrow();
  });

  test('takes types of tokens as a third input', async () => {
    const {model} = await loadTransformer({config: bert.config, weights: bert.weights, tokenTypes: true});
    const given = await outputOf({});

    const {ids, mask} = bert.expected;
    const inputs = [tf.tensor2d(ids, undefined, 'int32'), tf.tensor2d(mask)];
    const zeros = model.predict([...inputs, tf.zeros([3, 7])]) as tf.Tensor;
    const ones = model.predict([...inputs, tf.ones([3, 7])]) as tf.Tensor;
    expect(numbers(zeros)).toBeAllClose(given);
    expect(numbers(ones)).not.toEqual(numbers(zeros));
  });

  test('takes the old names of normalizations', async () => {
    const old = Object.fromEntries(
      Object.entries(stored).map(([name, values]) => [
        name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta'),
        values,
      ]),
    );
    expect(await outputOf({weights: encodeSafetensors(old)})).toEqual(await outputOf({}));
  });
});

const query = 'encoder.layer.0.attention.self.query.weight';

function without(name: string): Record<string, NamedValues> {
  return Object.fromEntries(Object.entries(stored).filter(([other]) => other !== name));
}

describe('a head in the files that is left out', () => {
  let warn: jest.SpyInstance;
  beforeEach(() => (warn = jest.spyOn(console, 'warn').mockImplementation()));
  const lines = () => {
    const messages = warn.mock.calls.map(([line]) => line as string);
    warn.mockClear();
    return messages;
  };

  const loaded = async (name: string, options: Partial<TransformerSources>) => {
    const {config, weights} = fixture(name);
    const {architectures: _, ...fields} = JSON.parse(config) as Record<string, unknown>;
    disposeModel((await loadTransformer({config: fields, weights, ...options})).model);
  };

  test('is said, with its tensors and the class that has them', async () => {
    await loaded('bertSpans', {});
    expect(lines()).toEqual([
      'The files have a head that is not loaded: qa_outputs.bias, qa_outputs.weight. Load it by its class: ' +
        '{architecture: "BertForQuestionAnswering"}.',
    ]);
    await loaded('bertTiedWords', {});
    expect(lines()).toEqual([expect.stringMatching(/cls\.predictions\.bias, .*"BertForMaskedLM"\}\.$/)]);
    const {config, weights} = fixture('bertSpans');
    const unknown = encodeSafetensors({
      ...tensorsOf(weights),
      'cls.seq_relationship.bias': {shape: [2], data: new Float32Array(2)},
    });
    disposeModel((await loadTransformer({config, weights: unknown})).model);
    expect(lines()).toEqual([]); // the class that the config names has its head
    const {weights: body} = fixture('bert');
    const headed = {...tensorsOf(body), 'cls.seq_relationship.bias': {shape: [2], data: new Float32Array(2)}};
    const {architectures: _, ...nameless} = JSON.parse(fixture('bert').config) as Record<string, unknown>;
    disposeModel((await loadTransformer({config: nameless, weights: encodeSafetensors(headed)})).model);
    expect(lines()).toEqual([
      'The files have a head that is not loaded: cls.seq_relationship.bias. No class of this library uses all ' +
        'of it; {architecture: "BertModel"} loads only the body, and {labels} adds a new head.',
    ]);
    disposeModel((await loadTransformer({config: fixture('siglip').config, weights: fixture('siglip').weights})).model);
    expect(lines()).toEqual([]);
  });

  test('is not said where it was chosen', async () => {
    await loaded('bertSpans', {architecture: 'BertModel'});
    await loaded('bertSpans', {labels: 2});
    await loaded('bertSpans', {pooling: 'mean'});
    await outputOf({});
    expect(lines()).toEqual([]);
  });
});

describe('what does not fit is refused and leaves nothing', () => {
  const ofTensors = (tensors: Record<string, NamedValues>) => encodeSafetensors(tensors);
  test.each<[string, Partial<TransformerSources>, RegExp[]]>([
    [
      'a model of no known type',
      {config: {...fields, model_type: 'mamba'}},
      [/model_type "mamba", which is not supported/],
    ],
    ['a config that is no JSON', {config: '{"model_type": '}, [/config cannot be read/]],
    [
      'a config with several faults, in one message',
      {
        config: {
          ...fields,
          hidden_size: -3,
          num_attention_heads: 'three',
          hidden_act: 'mish',
          position_embedding_type: 'relative_key',
        },
      },
      [/hidden_size must be a positive integer, got -3/, /num_attention_heads/, /hidden_act is "mish"/, /relative_key/],
    ],
    [
      'heads that do not divide the width',
      {config: {...fields, num_attention_heads: 5}},
      [/hidden_size must be a multiple of num_attention_heads \(5\), got 24/],
    ],
    [
      'another width than the file has',
      {config: {...fields, hidden_size: 27}},
      [/embeddings\.word_embeddings\.weight: shape \[61, 24\] in the file, \[61, 27\] by the config/],
    ],
    [
      'more blocks than the file has tensors',
      {config: {...fields, num_hidden_layers: 1e9}},
      [/1000000000 blocks, but the files have \d+ tensors/],
    ],
    [
      'tensors that are missing and surplus, all at once',
      {weights: ofTensors({...without(query), 'encoder.more': {shape: [1], data: new Float32Array(1)}})},
      [/layer\.0\.attention\.self\.query\.weight: not in the files/, /encoder\.more: no weight of the model/],
    ],
    [
      'a tensor that is in two files',
      {weights: [bert.weights, ofTensors({[query]: stored[query]!})]},
      [/query\.weight: there is encoder.*too/],
    ],
    [
      'numbers of another type',
      {weights: ofTensors({...without(query), [query]: {shape: [24, 24], data: new BigInt64Array(576)}})},
      [/of type I64, not F32/],
    ],
    ['a file that is cut off', {weights: bert.weights.subarray(0, bert.weights.length - 5)}, [/ends at byte/]],
    [
      'a stream that is cut off',
      {weights: new Response(new Uint8Array(bert.weights.subarray(0, bert.weights.length - 5)))},
      [/The file ends at byte/],
    ],
    ['a stream that goes on', {weights: new Response(new Uint8Array([...bert.weights, 0]))}, [/after the last tensor/]],
    [
      'a new head that no memory holds',
      {labels: 1e9},
      [/A new head for 1000000000 classes has more than the 268,435,456 bytes/],
    ],
    [
      'a new head of more bytes than are allowed',
      {labels: 5000, maxBytes: 200_000},
      [/5000 classes has more than the 200,000 bytes/],
    ],
    [
      'a head of more classes than the file has',
      {
        weights: fixture('bertClasses').weights,
        config: {...(JSON.parse(fixture('bertClasses').config) as object), num_labels: 1e9},
      },
      [/classifier\.weight: shape \[3, 24\] in the file, \[1000000000, 24\] by the config/],
    ],
    [
      'a start of new weights that is no deviation',
      {labels: 2, config: {...fields, initializer_range: 1e30}},
      [/initializer_range must be a positive number of at most 1, got 1e\+30/],
    ],
    ['bytes of no file', {weights: new Uint8Array(3)}, [/ends at byte 3/]],
    [
      'a response that is no success',
      {weights: new Response('', {status: 404, statusText: 'Not Found'})},
      [/404 Not Found/],
    ],
    [
      'more bytes than are allowed',
      {weights: new Response(new Uint8Array(bert.weights)), maxBytes: 1000},
      [/more than the 1,000 bytes/],
    ],
    ['an architecture of another family', {architecture: 'LlamaModel'}, [/architecture must be one of BertModel/]],
    ['a pooling of a model with a head', {labels: 2, pooling: 'mean'}, [/has no pooling/]],
    [
      'a new head for another number of spans',
      {architecture: 'BertForQuestionAnswering', labels: 3},
      [/labels must be 2 for a new head of this architecture, got 3/],
    ],
    [
      'a new language modelling head',
      {architecture: 'BertForMaskedLM', labels: 3},
      [/labels needs a head for classes, characters, spans or choices/],
    ],
    [
      'a head that the files have not',
      {architecture: 'BertForTokenClassification'},
      [/classifier\.weight: not in the files; \{architecture: "BertModel"\} loads only the body, and \{labels\} adds/],
    ],
    [
      'more than a start and an end',
      {
        config: {...(JSON.parse(fixture('bertSpans').config) as object), num_labels: 3},
        weights: fixture('bertSpans').weights,
      },
      [/num_labels must be 2, a start and an end, got 3/],
    ],
    ['an invalid option', {poling: 'mean'} as object, [/no option "poling"/]],
    ['a text that is neither a config nor an address', {config: '64'}, [/There is no file 64\./]],
    ['no weights', {weights: []}, [/weights is missing/]],
    [
      'a tokenizer of another model',
      {
        tokenizerJson: {},
        Tokenizer: class {
          encode = () => ({ids: []});
          decode = () => '';
          get_vocab = () => new Map([['zebra', 61]]);
        },
      },
      [/token "zebra" has id 61, but the model has 61 tokens/],
    ],
  ])('%s', async (_, sources, messages) => {
    await withoutLeaks(async () => {
      const error = await outputOf(sources).then(
        () => undefined,
        (reason: unknown) => reason as Error,
      );
      expect(error?.constructor.name).toBe('LoRAError');
      messages.forEach(message => expect(error!.message).toMatch(message));
    });
  });

  test('heads of a size that the file does not have, before a table is made by it', async () => {
    const {config, weights} = fixture('llamaScaled');
    const huge = {...(JSON.parse(config) as object), head_dim: 2 ** 40};
    await withoutLeaks(() => expect(loadTransformer({config: huge, weights})).rejects.toThrow(/q_proj.weight: shape/));
  });

  test('options of given files in the second argument', async () => {
    const {config, weights} = bert;
    await expect(loadTransformer({config, weights}, {labels: 2, maxBytes: undefined} as object)).rejects.toThrow(
      'Options of given files belong beside them: loadTransformer({config, weights, labels}).',
    );
  });

  test('a load that is aborted', async () => {
    const controller = new AbortController();
    controller.abort(new Error('enough'));
    await withoutLeaks(() =>
      expect(outputOf({signal: controller.signal})).rejects.toMatchObject({
        code: 'ERR_ABORTED',
        cause: controller.signal.reason as Error,
      }),
    );
  });

  test('bytes that are damaged anywhere', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(bert.weights.length - 1), fc.integer({min: 1, max: 255}), async (position, change) => {
        const damaged = new Uint8Array(bert.weights);
        damaged[position]! ^= change;
        const before = tf.memory().numTensors;
        await outputOf({weights: damaged}).catch((error: unknown) =>
          expect((error as Error).constructor.name).toBe('LoRAError'),
        );
        expect(tf.memory().numTensors).toBe(before);
      }),
      {numRuns: 30},
    );
  });
});

describe('of the config of a decoder', () => {
  const ofFixture = async (name: string, changes: object) => {
    const {config, weights} = fixture(name);
    return (await loadTransformer({config: {...(JSON.parse(config) as object), ...changes}, weights})).model;
  };
  /** What changes of a config change in the scores. */
  const moved = async (name: string, changes: object) => {
    const models = [await ofFixture(name, {}), await ofFixture(name, changes)];
    const ids = tf.tensor2d([[2, 3, 4, 5, 6, 7]], undefined, 'int32');
    const difference = tf.tidy(() => {
      const [one, other] = models.map(model => model.predict([ids, tf.onesLike(ids)]) as tf.Tensor);
      return tf.max(tf.abs(tf.sub(one!, other!))).dataSync()[0]!;
    });
    models.forEach(disposeModel);
    ids.dispose();
    return difference;
  };

  test('a window counts in every block of Mistral, and in Qwen where it is switched on', async () => {
    expect(await moved('mistral', {sliding_window: 2})).toBeGreaterThan(1e-3);
    expect(await moved('mistral', {sliding_window: 6})).toBe(0);
    expect(await moved('mistral', {sliding_window: undefined})).toBe(0); // transformers has 4096
    for (const name of ['qwen2', 'qwen3']) {
      const window = {sliding_window: 2, max_window_layers: 0, layer_types: null};
      expect(await moved(name, window)).toBe(0);
      expect(await moved(name, {...window, use_sliding_window: true})).toBeGreaterThan(1e-3);
      expect(await moved(name, {...window, use_sliding_window: true, layer_types: ['full_attention']})).toBe(0);
    }
  });

  test.each<[string, object, string]>([
    ['mistral', {sliding_window: 0}, 'sliding_window must be a positive integer, got 0.'],
    ['qwen2', {layer_types: ['sliding_attention']}, 'use_sliding_window or sliding_window is not set'],
    ['qwen3', {layer_types: ['linear_attention']}, 'for each of 1 blocks, got ["linear_attention"]'],
    ['qwen3', {layer_types: ['full_attention', 'full_attention']}, 'layer_types must list'],
    ['gemma3', {final_logit_softcapping: 30}, 'final_logit_softcapping is 30, which is not supported'],
    [
      'gemma3',
      {rope_parameters: {rope_type: 'default'}},
      'rope_parameters must hold full_attention and sliding_attention',
    ],
    ['gemma3', {use_bidirectional_attention: true, is_causal: false}, 'is_causal is false'],
    ['smollm3Tied', {no_rope_layers: [1]}, 'no_rope_layers must list 0 or 1 for each of 2 blocks, got [1]'],
    ['phi3', {rope_parameters: {rope_type: 'linear', factor: 2}}, 'The rotary scaling "linear" is not supported'],
    [
      'phi3',
      {rope_parameters: {rope_type: 'longrope', short_factor: [1], long_factor: [1]}},
      'short_factor must list 4',
    ],
    ['granite', {residual_multiplier: 0}, 'residual_multiplier must be a positive number'],
    ['modernbert', {hidden_activation: 'relu'}, 'hidden_activation is "relu"; known are silu'],
    ['modernbert', {local_attention: 0}, 'local_attention must be a positive integer'],
  ])('refuses an unsupported setting of %s by name: %j', async (name, changes, message) => {
    await expect(ofFixture(name, changes)).rejects.toThrow(message);
  });
});

test('a new head of ModernBERT begins with that for masked tokens where the files have it', async () => {
  const architecture = 'ModernBertForSequenceClassification';
  const kernelOf = (model: tf.LayersModel) => numbers(model.getLayer('head/dense').getWeights()[0]!);
  const masked = fixture('modernbertTiedWords');
  const body = fixture('modernbert');
  const [begun, fresh] = [
    (await loadTransformer({config: masked.config, weights: masked.weights, architecture, labels: 4})).model,
    (await loadTransformer({config: body.config, weights: body.weights, architecture, labels: 4})).model,
  ];
  const {data} = decodeSafetensors(masked.weights).tensors.get('head.dense.weight')!;
  expect([...kernelOf(begun)].sort()).toEqual([...data!].sort());
  expect(begun.outputs[0]!.shape).toEqual([null, 4]);
  expect(numbers(fresh.getLayer('head/norm').getWeights()[0]!)).toEqual(new Array(8).fill(1));
  expect(Math.max(...kernelOf(fresh).map(Math.abs))).toBeLessThan(0.1);
});

test('refuses unsupported summaries of ELECTRA, and a pooler, which it does not have', async () => {
  const {config, weights} = fixture('electraChoices');
  const changed = {...(JSON.parse(config) as object), summary_type: 'mean'};
  await expect(loadTransformer({config: changed, weights})).rejects.toThrow('summary_type is "mean"');
  const body = fixture('electra');
  await expect(loadTransformer({config: body.config, weights: body.weights, pooling: 'pooler'})).rejects.toThrow(
    'There is no pooler in the model.',
  );
});

/** A file with other names, and with some tensors joined or new. */
function rewritten(weights: Uint8Array, change: (tensors: Record<string, NamedValues>) => Record<string, NamedValues>) {
  return encodeSafetensors(change(tensorsOf(weights)));
}

test('files of GTE are read as they were first written, with another prefix', async () => {
  const {config, weights, expected} = fixture('gte');
  const first = rewritten(weights, tensors =>
    Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`new.${name}`, tensor])),
  );
  expect(Object.keys(tensorsOf(first))).toContain('new.encoder.layer.0.attention.qkv_proj.weight');
  const {model} = await loadTransformer({config, weights: first});
  const inputs = [expected.ids, expected.mask].map(rows => tf.tensor(rows, undefined, 'int32'));
  const found = atTokens(numbers(model.predict(inputs) as tf.Tensor), expected);
  expect(found).toBeAllClose(atTokens(expected.base, expected), {rtol: 2e-5, atol: 2e-5});
});

test("older files of Nomic's BERT, which join queries, keys and values, are read", async () => {
  const {config, weights, expected} = fixture('nomicBert');
  const older = rewritten(weights, tensors => {
    const blocks = new Set(Object.keys(tensors).flatMap(name => /^layers\.\d+/.exec(name) ?? []));
    for (const block of blocks) {
      const parts = ['q', 'k', 'v'].map(part => tensors[`${block}.self_attn.${part}_proj.weight`]!);
      const [rows, columns] = parts[0]!.shape as [number, number];
      const data = Float32Array.from(parts.flatMap(part => [...(part.data as Float32Array)]));
      tensors[`${block}.attn.Wqkv.weight`] = {shape: [3 * rows, columns], data};
    }
    const oldName = (name: string) =>
      name
        .replace('embeddings.LayerNorm', 'emb_ln')
        .replace('self_attn.o_proj', 'attn.out_proj')
        .replace('post_attention_layernorm', 'norm1')
        .replace('post_mlp_layernorm', 'norm2')
        .replace('up_proj', 'fc11')
        .replace('gate_proj', 'fc12')
        .replace('down_proj', 'fc2')
        .replace(/^layers/, 'encoder.layers');
    const kept = Object.entries(tensors).filter(([name]) => !/\.[qkv]_proj\./.test(name));
    return Object.fromEntries(kept.map(([name, tensor]) => [oldName(name), tensor]));
  });
  const {model} = await loadTransformer({config, weights: older});
  const inputs = [expected.ids, expected.mask].map(rows => tf.tensor(rows, undefined, 'int32'));
  const found = atTokens(numbers(model.predict(inputs) as tf.Tensor), expected);
  expect(found).toBeAllClose(atTokens(expected.base, expected), {rtol: 2e-5, atol: 2e-5});
});

describe('an unsupported class', () => {
  const zeros = (...shape: number[]) => ({shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1))});
  const CASES = [
    ['electra', 'ElectraForPreTraining', {'discriminator_predictions.dense.bias': zeros(8)}],
    ['t5', 'T5ForConditionalGeneration', {'decoder.final_layer_norm.weight': zeros(8), 'lm_head.weight': zeros(13, 8)}],
    ['t5', 'T5ForSequenceClassification', {'classification_head.dense.bias': zeros(8)}],
    ['bert', 'BertForPreTraining', {'cls.seq_relationship.bias': zeros(2)}],
    ['siglipText', 'SiglipTextModelWithProjection', {}],
  ] as const;
  const given = (name: string, className: string, more: object) => {
    const {config, weights, expected} = fixture(name);
    const named = {...(JSON.parse(config) as object), architectures: [className]};
    return {config: named, weights: rewritten(weights, tensors => ({...tensors, ...more})), expected};
  };

  test.each(CASES)('is refused with the way to the body: %s, %s', async (name, className, more) => {
    await withoutLeaks(async () => {
      const {config, weights} = given(name, className, more);
      const {message} = await loadTransformer({config, weights}).then(
        () => new Error('loaded'),
        (error: unknown) => error as Error,
      );
      expect(message).toContain(`The config names the class "${className}", which is not supported`);
      expect(message).toMatch(/\{architecture: "\w+"\} loads only the body/);
      expect(message.includes('{labels}')).toBe(name !== 'siglipText');
    });
  });

  test.each(CASES)('loads as the body where this is asked for: %s, %s', async (name, className, more) => {
    const {config, weights, expected} = given(name, className, more);
    const warn = jest.spyOn(console, 'warn').mockReturnValue();
    const body = (JSON.parse(fixture(name).config) as {architectures: [string]}).architectures[0];
    const {model} = await loadTransformer({config, weights, architecture: body});
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
    const inputs = [expected.ids, expected.mask].map(rows => tf.tensor(rows, undefined, 'int32'));
    const found = atTokens(numbers(model.predict(inputs) as tf.Tensor), expected);
    expect(found).toBeAllClose(atTokens(expected.base, expected), {rtol: 2e-5, atol: 2e-5});
    tf.dispose(inputs);
    disposeModel(model);
    disposeModel((await loadTransformer({config, weights, pooling: 'mean'})).model);
  });
});

test.each([
  [{relative_attention_num_buckets: 3}, 'relative_attention_num_buckets 3 must be 4 or more'],
  [{feed_forward_proj: 'gated-relu'}, 'feed_forward_proj is "gated-relu"; known are'],
  [{is_decoder: true}, 'is_decoder is true, which is not supported'],
])('a T5 with %j is refused', async (changes, message) => {
  const {config, weights} = fixture('t5');
  const changed = {...(JSON.parse(config) as object), ...changes};
  await expect(loadTransformer({config: changed, weights})).rejects.toThrow(message);
});

test.each([
  [{pos_att_type: ['p2p']}, 'pos_att_type is ["p2p"], which is not supported. Supported: c2p, p2c.'],
  [{position_buckets: 1}, 'position_buckets must be 2 or more, got 1.'],
  [{conv_kernel_size: 2}, 'conv_kernel_size must be odd'],
  [{conv_kernel_size: 3, conv_groups: 2}, 'conv_groups is 2, which is not supported'],
  [{norm_rel_ebd: 'batch_norm'}, 'norm_rel_ebd is "batch_norm"; known are none, layer_norm'],
])('a DeBERTa with %j is refused', async (changes, message) => {
  const {config, weights} = fixture('debertaV2');
  const changed = {...(JSON.parse(config) as object), ...changes};
  await expect(loadTransformer({config: changed, weights})).rejects.toThrow(message);
});

test('the body of a DeBERTa v3 is read from a file with the heads of its training, and a new head begins', async () => {
  const {config, weights} = fixture('debertaV2');
  const warn = jest.spyOn(console, 'warn').mockReturnValue();
  const trained = rewritten(weights, tensors => ({
    ...tensors,
    'embeddings.position_embeddings.weight': {shape: [9, 8], data: new Float32Array(72)},
    'lm_predictions.lm_head.bias': {shape: [13], data: new Float32Array(13)},
    'mask_predictions.classifier.bias': {shape: [1], data: new Float32Array(1)},
  }));
  disposeModel((await loadTransformer({config, weights: trained})).model);
  expect(warn).toHaveBeenCalledWith(expect.stringContaining('lm_predictions.lm_head.bias'));
  warn.mockRestore();
  const {model} = await loadTransformer({config, weights: trained, labels: 4});
  expect(model.outputShape).toEqual([null, 4]);
  expect(model.getLayer('pooler/dense').getWeights()[0]!.shape).toEqual([8, 8]);
});

describe('ALBERT, whose blocks share their weights', () => {
  const {config, weights} = fixture('albertTokenClasses');
  const changed = (changes: object) => ({...(JSON.parse(config) as object), ...changes});

  test('has each weight once, however many blocks there are', async () => {
    await withoutLeaks(async () => {
      const {model} = await loadTransformer({config: changed({num_hidden_layers: 30}), weights});
      expect(model.weights.filter(({originalName}) => originalName.endsWith('ffn/kernel'))).toHaveLength(1);
      disposeModel(model);
    });
  });

  test('is saved and loaded with what it shares', async () => {
    const {model} = await loadTransformer({config, weights});
    const loaded = await reloaded(model);
    const inputs = [tf.tensor2d([[2, 3, 4]], undefined, 'int32'), tf.ones([1, 3])];
    const [expected, found] = [model, loaded].map(each => numbers(each.predict(inputs) as tf.Tensor));
    expect(found).toEqual(expected);
    expect(loaded.countParams()).toBe(model.countParams());
  });

  test('has no more blocks than can be', async () => {
    const many = changed({num_hidden_layers: 1e9});
    await expect(loadTransformer({config: many, weights})).rejects.toThrow(
      'num_hidden_layers · inner_group_num must be at most 1000, got 1000000000.',
    );
    const groups = changed({num_hidden_groups: 1e9});
    await expect(loadTransformer({config: groups, weights})).rejects.toThrow('there are 1000000000 blocks');
  });
});

test('a file that is fetched may have more than 256 MiB, unless maxBytes says less', async () => {
  const large = () => new Response(new Uint8Array(bert.weights), {headers: {'content-length': '440000000'}});
  expect(await outputOf({weights: large()})).toEqual(await outputOf({}));
  await withoutLeaks(() =>
    expect(outputOf({weights: large(), maxBytes: 2 ** 28})).rejects.toThrow('more than the 268,435,456 bytes'),
  );
});

describe('a model that is too large for the backend', () => {
  afterEach(() => supplyCapabilities('wasm', wasmCapabilities));

  test('is refused before a tensor is read, with the room that it needs', async () => {
    await useBackend('wasm');
    expect(capabilities().mostBytes).toBe(2 ** 32);
    const parameters = Object.values(stored).reduce((sum, {shape}) => sum + tf.util.sizeFromShape([...shape]), 0);
    const room = (mostBytes: number) => supplyCapabilities('wasm', () => ({...wasmCapabilities(), mostBytes}));
    room(4 * parameters);
    disposeModel((await loadTransformer({config: bert.config, weights: bert.weights})).model);
    // Of the weights that the model has: the files may have a head beside them.
    room(2 ** 10);
    await withoutLeaks(async () => {
      await expect(loadTransformer({config: bert.config, weights: bert.weights})).rejects.toThrow(
        /^The weights take 0\.0 GiB as float32, but the wasm backend has 0\.0 GiB in total\./,
      );
    });
  });
});
