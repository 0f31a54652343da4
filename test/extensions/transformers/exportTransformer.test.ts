import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, mergeLoRA, removeLoRA} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {exportTransformer, loadTransformer} from 'tfjs-lora/transformers';
import {decodeSafetensors, type StoredTensor} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {configText} from '../../../src/extensions/transformers/load/configText';
import {withoutLeaks} from '../../helpers';
import {expectedOf, fileOf} from '../language/ggufFiles';
import {MemoryHandler} from '../../models';
import {fixture, inputsOf, NAMES, OLDER} from './fixtures';

beforeEach(() => {
  jest.spyOn(console, 'warn').mockImplementation(() => undefined); // of poolers that are left out
});

const predicted = (model: tf.LayersModel, inputs: () => tf.Tensor[]) =>
  tf.tidy(() => Array.from((model.predict(inputs()) as tf.Tensor).dataSync()));

const tensorsOf = (bytes: Uint8Array) => decodeSafetensors(bytes).tensors;
// Counts of batches have 64 bits, which are not read.
const bitsOf = ({data, shape, dtype}: StoredTensor) =>
  `${shape.join()} ${data === null ? dtype : Buffer.from(data.buffer).toString('base64')}`;

describe('a model is written as it was read', () => {
  test.each(NAMES)('%s', async name => {
    const {config, weights, expected, pooling, tied} = fixture(name);
    await withoutLeaks(async () => {
      const {model} = await loadTransformer({config, weights, pooling, tied});
      const files = await exportTransformer(model);
      const [before, after] = [tensorsOf(weights), tensorsOf(files.weights)];
      const changed = [...before].filter(
        ([key, tensor]) => after.has(key) && bitsOf(after.get(key)!) !== bitsOf(tensor),
      );
      expect(changed.map(([key]) => key)).toEqual([]);
      if (!OLDER.test(name)) {
        expect([...before.keys()].filter(key => !after.has(key))).toEqual([]);
        expect([...after.keys()].filter(key => !before.has(key))).toEqual(tied ? [] : ['lm_head.weight']);
      }
      const {model: again} = await loadTransformer({...files, pooling, tied});
      expect(predicted(again, () => inputsOf(expected))).toEqual(predicted(model, () => inputsOf(expected)));
      [model, again].forEach(disposeModel);
    });
  });
});

describe('tensors that the model does not compute with', () => {
  const POOLER = ['pooler.dense.bias', 'pooler.dense.weight'];
  const {config, weights} = fixture('bert');
  const pooler = (bytes: Uint8Array) => POOLER.map(name => tensorsOf(bytes).get(name)).map(tensor => tensor?.data);

  test.each([
    ['as the body', {}],
    ['of a file with a head', {}],
    ['with a pooling', {pooling: 'mean'} as const],
  ])('are written with the body alone: %s', async (way, options) => {
    const {config: own, weights: file} = fixture(way.includes('head') ? 'bertClasses' : 'bert');
    const {model} = await loadTransformer({config: own, weights: file, architecture: 'BertModel', ...options});
    const adapted = applyLoRA(model, {rank: 1, targets: [/query$/]});
    const merged = mergeLoRA(adapted);
    const {weights: written} = await exportTransformer(merged);
    const before = [...tensorsOf(file)].filter(([name]) => name.includes('pooler')).map(([, {data}]) => data);
    expect(pooler(written)).toEqual(before);
  });

  test('are rounded as the others, and refused where they are too large', async () => {
    const {model} = await loadTransformer({config, weights});
    const {weights: written} = await exportTransformer(model, {dtype: 'float16'});
    expect(tensorsOf(written).get(POOLER[0]!)).toMatchObject({dtype: 'F16', shape: [24]});
    disposeModel(model);
    const tensors = Object.fromEntries(
      [...tensorsOf(weights)].map(([name, {shape, data}]) => [name, {shape, data: data!.map(value => value)}]),
    );
    tensors[POOLER[0]!]!.data[0] = 1e6;
    const {model: large} = await loadTransformer({config, weights: encodeSafetensors(tensors)});
    await expect(exportTransformer(large, {dtype: 'float16'})).rejects.toThrow('pooler.dense.bias');
  });

  test('are not those of another class', async () => {
    const {config: own, weights: file} = fixture('bertClasses');
    const {model} = await loadTransformer({
      config: own,
      weights: file,
      architecture: 'BertForTokenClassification',
      labels: 2,
    });
    const {weights: written} = await exportTransformer(model);
    expect([...tensorsOf(written).keys()].filter(name => name.includes('pooler'))).toEqual([]);
  });

  test('are lost where tfjs saves the model, which is said', async () => {
    const warn = jest.mocked(console.warn).mockClear();
    const {model} = await loadTransformer({config, weights});
    await exportTransformer(model);
    expect(warn).not.toHaveBeenCalled();
    const handler = new MemoryHandler();
    await model.save(handler);
    const loaded = await tf.loadLayersModel(handler);
    const {weights: written} = await exportTransformer(loaded);
    expect(pooler(written)).toEqual([undefined, undefined]);
    expect(warn.mock.calls).toEqual([
      [
        "The model's files have tensors that it does not use: pooler.dense.bias, pooler.dense.weight. Models that " +
          'tfjs saved have lost them, and from_pretrained initializes them at random.',
      ],
    ]);
  });
});

const TOKENS = () => {
  const ids = tf.tensor2d(expectedOf('llama').ids, undefined, 'int32');
  return [ids, tf.onesLike(ids)];
};

test.each(['llama', 'llama3', 'kQuants', 'qwen2', 'qwen3', 'gemma3', 'phi3', 'gpt2'])(
  'the blocks of %s are written as the numbers that they stand for',
  async name => {
    const {model} = await loadGGUF(fileOf(name));
    const {model: plain} = await loadGGUF(fileOf(name), {quantized: false});
    const files = await exportTransformer(model);
    const [one, other] = [tensorsOf(files.weights), tensorsOf((await exportTransformer(plain)).weights)];
    expect([...one.values()].map(bitsOf)).toEqual([...other.values()].map(bitsOf));
    const {model: again} = await loadTransformer(files);
    expect(predicted(again, TOKENS)).toEqual(predicted(plain, TOKENS));
  },
);

test('the config has all that it had, and a point in numbers that are none of whole ones', async () => {
  const {config, weights} = fixture('t5');
  const {model} = await loadTransformer({config, weights});
  const files = await exportTransformer(model);
  expect(JSON.parse(files.config)).toEqual({...(JSON.parse(config) as object), dtype: 'float32'});
  expect(files.config).toContain('"classifier_dropout": 0.0,');
  expect(files.config).toContain('"num_layers": 2,');
});

test.each<[name: string, fields: object, points: string[]]>([
  [
    'dinov3',
    {rope_theta: 100, pos_embed_rescale: 2, pos_embed_shift: null},
    ['"rope_theta": 100.0', '"pos_embed_rescale": 2.0', '"pos_embed_shift": null'],
  ],
  [
    'nomicBert',
    {attention_probs_dropout_prob: 0, layer_norm_eps: 1},
    ['"attention_probs_dropout_prob": 0.0', '"layer_norm_eps": 1.0'],
  ],
  [
    'llama',
    {rope_parameters: {rope_type: 'linear', rope_theta: 10000, factor: 2}},
    ['"rope_theta": 10000.0', '"factor": 2.0'],
  ],
])('floats of %s have a point, as its class declares them', async (name, fields, points) => {
  const {config, weights} = fixture(name);
  const given = {...(JSON.parse(config) as object), ...fields};
  const {model} = await loadTransformer({config: given, weights});
  const files = await exportTransformer(model);
  expect(JSON.parse(files.config)).toEqual({...given, dtype: 'float32'});
  points.forEach(text => expect(files.config).toContain(text));
});

test('integers stay integers: the ratio of DINOv2, and the numbers of classes that are called like a float', () => {
  expect(configText({model_type: 'swinv2', mlp_ratio: 4})).toContain('"mlp_ratio": 4.0');
  const text = configText({model_type: 'dinov2', mlp_ratio: 4, label2id: {dropout: 1}, dropout: 1, constructor: 1});
  expect(text).toContain('"mlp_ratio": 4,');
  expect(text).toContain('  "label2id": {\n    "dropout": 1\n  },\n  "dropout": 1.0,\n  "constructor": 1\n');
});

test.each([
  ['bertTiedWords', 'cls.predictions.decoder', 'cls.predictions.bias'],
  ['robertaTiedWords', 'lm_head.decoder', 'lm_head.bias'],
  ['mobilebertTiedWords', 'cls.predictions.decoder', 'cls.predictions.bias'],
])('a head for masked tokens that is no longer tied has its own bias: %s', async (name, head, shared) => {
  const {config, weights, expected} = fixture(name);
  const {model} = await loadTransformer({config, weights, tied: false});
  const {config: written, weights: bytes} = await exportTransformer(model);
  expect(JSON.parse(written)).toMatchObject({tie_word_embeddings: false});
  const [before, after] = [tensorsOf(weights), tensorsOf(bytes)];
  expect(bitsOf(after.get(`${head}.bias`)!)).toBe(bitsOf(before.get(shared)!));
  expect(after.has(`${head}.weight`)).toBe(true);
  const {model: again} = await loadTransformer({config: written, weights: bytes});
  const inputs = () => inputsOf(expected);
  expect(predicted(again, inputs)).toEqual(predicted(model, inputs));
});

test('batch normalizations have the count of batches that PyTorch expects, as 64 bits', async () => {
  const {config, weights} = fixture('resnet');
  const {model} = await loadTransformer({config, weights});
  const tensors = tensorsOf((await exportTransformer(model, {dtype: 'float16'})).weights);
  const counts = [...tensors].filter(([name]) => name.endsWith('.num_batches_tracked'));
  expect(counts.length).toBe([...tensors.keys()].filter(name => name.endsWith('.running_mean')).length);
  expect(new Set(counts.map(([, {dtype, shape}]) => `${dtype} [${shape.join()}]`))).toEqual(new Set(['I64 []']));
});

describe('numbers', () => {
  test('of 16 bits are rounded to the nearest', async () => {
    const {config, weights} = fixture('llamaTied');
    const {model} = await loadTransformer({config, weights});
    const name = 'model.layers.0.self_attn.q_proj.weight';
    const whole = tensorsOf(weights).get(name)!.data!;
    for (const [dtype, bits, type] of [
      ['float16', 11, 'F16'],
      ['bfloat16', 8, 'BF16'],
    ] as const) {
      const files = await exportTransformer(model, {dtype});
      expect(JSON.parse(files.config)).toMatchObject({dtype});
      const {data, dtype: stored} = tensorsOf(files.weights).get(name)!;
      expect(stored).toBe(type);
      data!.forEach((value, i) =>
        expect(Math.abs(value - whole[i]!)).toBeLessThanOrEqual(2 ** -bits * Math.abs(whole[i]!)),
      );
    }
  });

  test('that were trained are written, those of a new head with its labels', async () => {
    const {config, weights, expected} = fixture('bert');
    const {model} = await loadTransformer({config, weights, labels: 3});
    model.compile({optimizer: adam({learningRate: 0.01}), loss: 'meanSquaredError'});
    const rows = expected.ids.length;
    await model.fit(inputsOf(expected), tf.ones([rows, 3]), {epochs: 2, verbose: 0});
    const files = await exportTransformer(model);
    expect(JSON.parse(files.config)).toMatchObject({
      architectures: ['BertForSequenceClassification'],
      id2label: {0: 'LABEL_0', 1: 'LABEL_1', 2: 'LABEL_2'},
    });
    const {model: again} = await loadTransformer(files);
    expect(predicted(again, () => inputsOf(expected))).toEqual(predicted(model, () => inputsOf(expected)));
  });
});

describe('an adapted model', () => {
  test('is written merged, saved and loaded in between too', async () => {
    const {model} = await loadGGUF(fileOf('llama'), {gradientCheckpointing: true});
    const adapted = applyLoRA(model, {rank: 2, seed: 1, targets: [/q_proj$/, /lm_head$/], init: 'ones'});
    const handler = new MemoryHandler();
    await adapted.save(handler);
    const loaded = await tf.loadLayersModel(handler);
    const merged = mergeLoRA(loaded);
    const files = await exportTransformer(merged);
    await withoutLeaks(async () => expect(await exportTransformer(loaded)).toEqual(files));
    const {model: again} = await loadTransformer(files);
    expect(predicted(again, TOKENS)).toBeAllClose(predicted(merged, TOKENS), {rtol: 1e-5, atol: 1e-5});
    const removed = removeLoRA(loaded);
    expect((await exportTransformer(removed)).weights).toEqual((await exportTransformer(model)).weights);
  });

  test('has a separate head if the update was one of the head', async () => {
    const {config, weights} = fixture('llamaTied');
    const {model} = await loadTransformer({config, weights});
    const adapted = applyLoRA(model, {rank: 2, targets: [/lm_head$/]});
    const merged = mergeLoRA(adapted);
    const files = await exportTransformer(merged);
    expect(JSON.parse(files.config)).toMatchObject({tie_word_embeddings: false});
    expect(tensorsOf(files.weights).get('lm_head.weight')!.data).toEqual(
      tensorsOf(weights).get('model.embed_tokens.weight')!.data,
    );
  });
});

describe('what is refused', () => {
  test('a model that says no config, or another than its own', async () => {
    const stranger = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
    await expect(exportTransformer(stranger)).rejects.toThrow(/has no record of its config/);
    const {config, weights} = fixture('llama');
    const {model} = await loadTransformer({config, weights});
    const {hub} = model.getUserDefinedMetadata() as {hub: {config: object}};
    const said = (more: object) => model.setUserDefinedMetadata({hub: {config: {...hub.config, ...more}}});
    said({num_hidden_layers: 1e9});
    await expect(exportTransformer(model)).rejects.toThrow(/1000000000 blocks, but it has/);
    said({intermediate_size: 7});
    await expect(exportTransformer(model)).rejects.toThrow(/mlp\/gate_proj: "kernel" is \[\d+, \d+\], and \[7, \d+\]/);
    said({num_hidden_layers: 1});
    await expect(exportTransformer(model)).rejects.toThrow(/layers\/1\/.*: a .*, which is not in the config/);
    said({model_type: 'mamba'});
    await expect(exportTransformer(model)).rejects.toThrow(/"mamba"/);
  });

  test('numbers too large or not finite, and options that are none', async () => {
    const {config, weights} = fixture('llama');
    const {model} = await loadTransformer({config, weights});
    const layer = model.getLayer('model/norm');
    layer.setWeights([tf.fill(layer.getWeights()[0]!.shape, 1e5)]);
    await expect(exportTransformer(model, {dtype: 'float16'})).rejects.toThrow(/model\.norm\.weight.*float16/);
    await expect(exportTransformer(model, {type: 'F32'} as never)).rejects.toThrow(/type/);
    layer.setWeights([tf.fill(layer.getWeights()[0]!.shape, NaN)]);
    await withoutLeaks(async () => {
      await expect(exportTransformer(model)).rejects.toThrow('model.norm.weight: NaN or infinite, so nothing is');
    });
    const {weights: written} = await exportTransformer(model, {allowNonFinite: true});
    expect(decodeSafetensors(written).tensors.get('model.norm.weight')!.data!.every(Number.isNaN)).toBe(true);
  });
});
