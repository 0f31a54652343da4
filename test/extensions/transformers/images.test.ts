import {readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  compileModel,
  disposeModel,
  exportPEFT,
  getAdapter,
  type LoRAConfig,
  trainableVariables,
} from 'tfjs-lora';
import {exportTransformer, loadTransformer, pairLoss, type Pooling, sigmoidPairLoss} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {numbers, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {type Expectation, fixture, inputsOf} from './fixtures';

/** The features of each stage as transformers computes them (`test/python/make_stages.py`). */
const STAGES = JSON.parse(readFileSync('test/fixtures/stages.json', 'utf8')) as Record<
  string,
  {shape: number[]; values: number[]}[]
>;

const {config: vitConfig, weights: vitWeights, expected: vit} = fixture('vit');
const pixelsOf = ({pixels}: Expectation) =>
  tf.tensor4d(pixels!.values, pixels!.shape as [number, number, number, number]);

async function outputOf(name: string, options: {pooling?: Pooling; architecture?: string} = {}): Promise<number[]> {
  const {config, weights, expected} = fixture(name);
  const {model} = await loadTransformer({config, weights, ...options});
  const values = tf.tidy(() => numbers(model.predict(pixelsOf(expected)) as tf.Tensor));
  disposeModel(model);
  return values;
}

/** Mean rows of states `[batch, positions, width]` from a position on. */
function means(states: readonly number[], [batch, positions, width]: readonly number[], from: number): number[] {
  return Array.from({length: batch! * width!}, (_, i) => {
    const [row, at] = [Math.floor(i / width!), i % width!];
    const values = Array.from(
      {length: positions! - from},
      (__, position) => states[(row * positions! + from + position) * width! + at]!,
    );
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  });
}

function firsts(states: readonly number[], [batch, positions, width]: readonly number[]): number[] {
  return Array.from(
    {length: batch! * width!},
    (_, i) => states[Math.floor(i / width!) * positions! * width! + (i % width!)]!,
  );
}

describe('an encoder of images', () => {
  test('reads files with the names that modules have in transformers as well', async () => {
    const renamed = [...decodeSafetensors(vitWeights).tensors].map(([name, {shape, data}]) => {
      const today = name
        .replace('encoder.layer.', 'layers.')
        .replace('attention.attention.query', 'attention.q_proj')
        .replace('attention.attention.key', 'attention.k_proj')
        .replace('attention.attention.value', 'attention.v_proj')
        .replace('attention.output.dense', 'attention.o_proj')
        .replace('intermediate.dense', 'mlp.fc1')
        .replace('0.output.dense', '0.mlp.fc2');
      return [today, {shape, data: data!}] as const;
    });
    const {model} = await loadTransformer({config: vitConfig, weights: encodeSafetensors(Object.fromEntries(renamed))});
    expect(renamed.filter(([name]) => name.includes('.layer.'))).toEqual([]);
    expect(tf.tidy(() => numbers(model.predict(pixelsOf(vit)) as tf.Tensor))).toEqual(await outputOf('vit'));
    expect(model.getLayer('embeddings/patch_embeddings/projection').getClassName()).toBe('Conv2D');
  });

  test('gives one vector for an image: of the class, or the mean of its patches', async () => {
    for (const [name, before] of [
      ['vit', 1],
      ['deit', 2],
      ['dinov2', 1],
      ['dinov2Registers', 3],
      ['clipVision', 1],
    ] as const) {
      const {base, shape} = fixture(name).expected;
      expect(await outputOf(name, {pooling: 'mean'})).toBeAllClose(means(base, shape, before), {atol: 2e-5});
      expect(await outputOf(name, {pooling: 'first'})).toBeAllClose(firsts(base, shape), {atol: 2e-5});
      await expect(outputOf(name, {pooling: 'last'})).rejects.toThrow('The last patch does not represent an image.');
    }
    const {base, shape} = fixture('siglip').expected;
    expect(await outputOf('siglip', {pooling: 'mean'})).toBeAllClose(means(base, shape, 0), {atol: 2e-5});
    await expect(outputOf('siglip', {pooling: 'first'})).rejects.toThrow('The model has no class token');
  });

  test('takes a new head, is trained, saved and loaded', async () => {
    const {config, weights, expected} = fixture('dinov2Registers');
    const {model} = await loadTransformer({config, weights, labels: 4});
    const adapted = applyLoRA(model, {rank: 2, trainInFull: ['classifier']});
    const x = pixelsOf(expected);
    const before = tf.tidy(() => numbers(adapted.predict(x) as tf.Tensor));
    const loaded = await reloaded(adapted);
    expect(tf.tidy(() => numbers(loaded.predict(x) as tf.Tensor))).toEqual(before);
    loaded.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    const targets = tf.zeros([2, 4]);
    const {history} = await loaded.fit(x, targets, {epochs: 3, verbose: 0});
    expect((history.loss as number[]).at(-1)).toBeLessThan((history.loss as number[])[0]!);
  });

  test('refuses a config that does not hold together, by what it says', async () => {
    const fields = JSON.parse(vitConfig) as Record<string, unknown>;
    const refusal = (changes: object, options: object = {}) =>
      loadTransformer({config: {...fields, ...changes}, weights: vitWeights, ...options});
    await expect(refusal({image_size: 2})).rejects.toThrow('image_size 2 × 2 is smaller than patch_size 3 × 3.');
    await expect(refusal({patch_size: [3, 0]})).rejects.toThrow('patch_size must be a positive integer, or two');
    await expect(refusal({image_size: [9, 6]})).rejects.toThrow(
      'position_embeddings: shape [1, 10, 8] in the file, [1, 7',
    );
    const text = fixture('clipText');
    const texts = loadTransformer({config: text.config, weights: text.weights, labels: 2});
    await expect(texts).rejects.toThrow('labels needs a head for classes');
  });

  test('interpolates positions of a square alone', async () => {
    const {tensors} = decodeSafetensors(vitWeights);
    const stored = Object.fromEntries([...tensors].map(([name, {shape, data}]) => [name, {shape, data: data!}]));
    const [name = ''] = Object.keys(stored).filter(key => key.endsWith('position_embeddings'));
    stored[name] = {shape: [1, 7, 8], data: stored[name]!.data.slice(0, 56)};
    const config = {...(JSON.parse(vitConfig) as object), image_size: [9, 6]};
    const {model} = await loadTransformer({config, weights: encodeSafetensors(stored)});

    expect((model.predict(tf.zeros([1, 9, 6, 3])) as tf.Tensor).shape).toEqual([1, 7, 8]);
    expect(() => model.predict(tf.zeros([1, 9, 9, 3]))).toThrow('takes 3 × 2 patches, since only the positions of a');
  });
});

describe('ResNet', () => {
  test('reads files with the names that timm has for its tensors', async () => {
    const {config, weights} = fixture('resnetClasses');
    const byTimm = (name: string) =>
      name
        .replace(/^resnet\./, '')
        .replace('embedder.embedder.convolution', 'conv1')
        .replace('embedder.embedder.normalization', 'bn1')
        .replace('classifier.1', 'fc')
        .replace(/encoder\.stages\.(\d)\.layers/, (_, stage: string) => `layer${Number(stage) + 1}`)
        .replace(/layer\.(\d)\.convolution/, (_, i: string) => `conv${Number(i) + 1}`)
        .replace(/layer\.(\d)\.normalization/, (_, i: string) => `bn${Number(i) + 1}`)
        .replace('shortcut.convolution', 'downsample.0')
        .replace('shortcut.normalization', 'downsample.1');
    const {tensors} = decodeSafetensors(weights);
    const renamed = Object.fromEntries(
      [...tensors].flatMap(([name, {shape, data}]) => (data ? [[byTimm(name), {shape, data}]] : [])),
    ) as Record<string, NamedValues>;
    expect(Object.keys(renamed)).toEqual(expect.arrayContaining(['conv1.weight', 'layer2.0.downsample.1.running_var']));
    const models = [weights, encodeSafetensors(renamed)].map(async file => loadTransformer({config, weights: file}));
    const [one, other] = (await Promise.all(models)).map(({model}) => model) as [tf.LayersModel, tf.LayersModel];

    const x = tf.randomNormal([2, 17, 20, 3]);
    const [expected, result] = [one, other].map(model => Array.from((model.predict(x) as tf.Tensor).dataSync()));
    expect(result).toEqual(expected);
  });
});

describe('CLIP', () => {
  const {config, weights, expected} = fixture('clipPairs');

  test('gives its encoders apart, by their classes', async () => {
    const images = await outputOf('clipPairs', {architecture: 'CLIPVisionModelWithProjection'});
    expect(images).toBeAllClose(expected.imageVectors!, {atol: 2e-5});
    const {model} = await loadTransformer({config, weights, architecture: 'CLIPTextModelWithProjection'});
    const texts = tf.tidy(() => {
      const inputs = [expected.ids, expected.mask].map(rows => tf.tensor2d(rows, undefined, 'int32'));
      return numbers(model.predict(inputs) as tf.Tensor);
    });
    expect(texts).toBeAllClose(expected.textVectors!, {atol: 2e-5});
  });

  test('has the loss of transformers, of scores and of a model that is compiled with it', async () => {
    const {model} = await loadTransformer({config, weights});
    const adapted = applyLoRA(model, {rank: 2, targets: [/q_proj$/, /projection$/]});
    const inputs = [
      ...[expected.ids, expected.mask].map(rows => tf.tensor2d(rows, undefined, 'int32')),
      pixelsOf(expected),
    ];
    await withoutLeaks(() =>
      tf.tidy(() => {
        const loss = pairLoss(tf.zeros([2]), tf.tensor2d(expected.base, [2, 2]));
        expect(numbers(loss)).toBeAllClose([expected.loss!], {rtol: 1e-5});
        expect(() => pairLoss(tf.zeros([2]), tf.zeros([2, 3]))).toThrow('as many images as texts, got [2, 3]');
      }),
    );
    adapted.compile({optimizer: tf.train.adam(0.05), loss: pairLoss});
    const targets = tf.zeros([2, 2]);
    const {history} = await adapted.fit(inputs, targets, {epochs: 20, verbose: 0});
    const losses = history.loss as number[];
    expect(losses[0]).toBeCloseTo(expected.loss!, 4);
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 2);
    expect(trainableVariables(adapted).length).toBeGreaterThan(0);
  });

  test('compares other numbers of images than of texts', async () => {
    const {model} = await loadTransformer({config, weights});

    const [ids, mask] = [expected.ids, expected.mask].map(rows => tf.tensor2d(rows.slice(0, 1), undefined, 'int32'));
    const scores = model.apply([ids!, mask!, pixelsOf(expected)]) as tf.Tensor;
    expect(scores.shape).toEqual([2, 1]);
    expect(numbers(scores)).toBeAllClose([expected.base[0]!, expected.base[2]!], {rtol: 2e-5});
  });
});

describe.each(['Siglip', 'Siglip2'])('%s', family => {
  const {config, weights, expected} = fixture(`${family.toLowerCase()}Pairs`);

  test('gives its encoders apart, by their classes and by the configs of the parts', async () => {
    const parts = JSON.parse(config) as Record<'vision_config' | 'text_config', Record<string, unknown>>;
    for (const [part, own, vectors] of [
      ['Vision', config, expected.imageVectors!],
      ['Vision', parts.vision_config, expected.imageVectors!],
      ['Text', config, expected.textVectors!],
      ['Text', parts.text_config, expected.textVectors!],
    ] as const) {
      const architecture = `${family}${part}Model`;
      const {model} = await loadTransformer({config: own, weights, architecture, pooling: 'pooler'});
      const found = tf.tidy(() => {
        const inputs = part === 'Text' ? inputsOf(expected).slice(0, 2) : inputsOf({...expected, ids: [], mask: []});
        return numbers(model.predict(inputs) as tf.Tensor);
      });
      expect(found).toBeAllClose(vectors, {atol: 2e-5});
    }
  });

  test('has the loss of transformers, of scores and of a model that is compiled with it', async () => {
    const {model} = await loadTransformer({config, weights});
    const adapted = applyLoRA(model, {rank: 2, targets: [/q_proj$/, /v_proj$/]});
    const inputs = inputsOf(expected);
    await withoutLeaks(() =>
      tf.tidy(() => {
        const loss = sigmoidPairLoss(tf.zeros([2]), tf.tensor2d(expected.base, [2, 2]));
        expect(numbers(loss)).toBeAllClose([expected.loss!], {rtol: 1e-5});
        const strong = sigmoidPairLoss(tf.zeros([2]), tf.tensor2d([[300, -300], [300, 300]])); // prettier-ignore
        expect(numbers(strong)).toBeAllClose([150]);
        expect(() => sigmoidPairLoss(tf.zeros([2]), tf.zeros([2, 3]))).toThrow('as many images as texts, got [2, 3]');
      }),
    );
    compileModel(adapted, {optimizer: tf.train.adam(0.05)});
    const targets = tf.zeros([2, 2]);
    const {history} = await adapted.fit(inputs, targets, {epochs: 6, verbose: 0});
    const losses = history.loss as number[];
    expect(losses[0]).toBeCloseTo(expected.loss!, 4);
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
    const loaded = await reloaded(adapted);
    const [before, after] = [adapted, loaded].map(each => tf.tidy(() => numbers(each.predict(inputs) as tf.Tensor)));
    expect(after).toEqual(before);
  });

  test('writes no update for PEFT of what PyTorch has in one MultiheadAttention, and says the way out', async () => {
    // PEFT finds no module q_proj in the pooler, and computes nothing of an update of its out_proj.
    const {model} = await loadTransformer({config, weights});
    const pooler = 'vision_model/head/attention';
    const written = async (options: LoRAConfig) => {
      const adapted = applyLoRA(model, {rank: 2, ...options} as LoRAConfig);
      const adapter = getAdapter(adapted);
      try {
        return await exportPEFT(model, {adapter});
      } finally {
        adapter.dispose();
        disposeModel(adapted);
      }
    };
    const refused = written({targets: [/q_proj$/, /out_proj$/]});
    await expect(refused).rejects.toThrow(`${pooler}/q_proj: in PyTorch it is part of a MultiheadAttention`);
    await expect(refused).rejects.toThrow(`${pooler}/out_proj: in PyTorch it is part of a MultiheadAttention`);
    await expect(refused).rejects.toThrow('exclude: [/head\\/attention/]');
    await expect(written({targets: [/fc1$/], trainInFull: [`${pooler}/v_proj`]})).rejects.toThrow(`${pooler}/v_proj: `);

    const {weights: bytes} = await written({targets: [/q_proj$/, /out_proj$/], exclude: [/head\/attention/]});
    const names = [...decodeSafetensors(bytes).tensors.keys()];
    expect(names).toContain('base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight');
    expect(names.filter(name => name.includes('.head.'))).toEqual([]);
  });

  test('refuses encoders whose vectors cannot be compared', async () => {
    const fields = JSON.parse(config) as {text_config: object};
    const other = {...fields, text_config: {...fields.text_config, projection_size: 5}};
    await expect(loadTransformer({config: other, weights})).rejects.toThrow(
      'projection_size of texts must be hidden_size of images, 8, got 5.',
    );
  });
});

describe('features of stages', () => {
  const load = async (name: string, options: object) => {
    const {config, weights} = fixture(name);
    return (await loadTransformer({config, weights, ...options})).model;
  };

  test.each(Object.keys(STAGES))('are of %s those that transformers computes', async name => {
    const wanted = STAGES[name]!;
    const model = await load(name, {outputs: wanted.map((_, stage) => `stage${stage + 1}`)});
    const x = pixelsOf(fixture(name).expected);
    const features = tf.tidy(() => [model.predict(x)].flat().map(y => ({shape: y.shape, values: numbers(y)})));
    expect(features.map(({shape}) => shape)).toEqual(wanted.map(({shape}) => shape));
    features.forEach(({values}, stage) => {
      expect(values).toBeAllClose(wanted[stage]!.values, {rtol: 2e-5, atol: 2e-5});
    });
  });

  test('are adapted, and written with all tensors of the file', async () => {
    const {weights} = fixture('resnetClasses');
    const model = await load('resnetClasses', {outputs: ['stage1']});
    const adapted = applyLoRA(model, {rank: 1});
    const {weights: written, config} = await exportTransformer(adapted);
    const bodies = [weights, written].map(bytes =>
      [...decodeSafetensors(bytes).tensors.keys()].filter(name => !/num_batches|classifier/.test(name)),
    );
    expect(bodies[1]!.map(name => `resnet.${name}`).sort()).toEqual(bodies[0]!.sort());
    const {model: again} = await loadTransformer({config, weights: written});
    expect(again.outputs[0]!.shape).toEqual([null, null, null, 16]);
  });

  test('are refused by name where there are none, or with a head', async () => {
    await expect(load('resnet', {outputs: ['stage3']})).rejects.toThrow(
      '"stage3", but the model has the stages stage1',
    );
    await expect(load('vit', {outputs: ['stage1']})).rejects.toThrow('"stage1", but the model has no stages');
    await expect(load('resnet', {outputs: []})).rejects.toThrow('outputs must be a list of distinct stages');
    await expect(load('resnet', {outputs: ['stage1'], labels: 2})).rejects.toThrow('with pooling or labels');
    const architecture = 'ResNetForImageClassification';
    await expect(load('resnetClasses', {outputs: ['stage1'], architecture})).rejects.toThrow('without a head');
  });
});
