import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  compileModel,
  exportPEFT,
  getAdapter,
  planLoRA,
  removeLoRA,
  trainableVariables,
} from 'tfjs-lora';
import {exportTransformer, loadTransformer} from 'tfjs-lora/transformers';
import {isAdapted} from '../../../src/core/model/adapted';
import {numbers, useBackend} from '../../helpers';
import {reloaded} from '../../models';
import {fixture, NAMES} from './fixtures';

beforeAll(() => useBackend('cpu'));

// PEFT's SEQ_CLS has the modules `classifier` and `score` in `modules_to_save`; here each layer that no file has.
describe.each([
  ['bert', ['classifier']],
  ['roberta', ['classifier/dense', 'classifier/out_proj']],
  ['distilbert', ['classifier', 'pre_classifier']],
  ['llama', ['score']],
  ['vit', ['classifier']],
])('a new head of %s', (name, head) => {
  let model: tf.LayersModel;

  beforeAll(async () => {
    const {config, weights} = fixture(name);
    ({model} = await loadTransformer({config, weights, labels: 3}));
  });

  const trained = (adapted: tf.LayersModel) => {
    const adapter = getAdapter(adapted);
    const {trainable} = adapter.config;
    adapter.dispose();
    return [...trainable].sort();
  };

  test('trains in full in addition to targets in the body, and is in the adapter and in the PEFT adapter', async () => {
    const adapted = applyLoRA(model, {rank: 2, targets: [/(query|q_lin|q_proj)$/]});
    expect(trained(adapted)).toEqual(head);
    const kernel = adapted.getLayer(head[0]!).getWeights()[0]!;
    expect(trainableVariables(adapted).some(({shape}) => String(shape) === String(kernel.shape))).toBe(true);
    const {config} = await exportPEFT(adapted);
    const modules = head.map(path => path.replaceAll('/', '.'));
    expect([config.modules_to_save].flat().sort()).toEqual(modules);
  });

  test('trains in full by default, in a model that was saved too, but not where it is excluded', async () => {
    const loaded = await reloaded(model);
    const adapted = applyLoRA(loaded, {rank: 2});
    expect(trained(adapted)).toEqual(head);
    const frozen = applyLoRA(model, {rank: 2, exclude: head});
    expect(trained(frozen)).toEqual([]);
    const plain = removeLoRA(adapted);
    expect(isAdapted(plain)).toBe(false);
    const again = applyLoRA(plain, {rank: 2});
    expect(trained(again)).toEqual(head);
  });
});

test('a model whose head is in its file has none that trains in full', async () => {
  const {config, weights} = fixture('bertClasses');
  const {model} = await loadTransformer({config, weights});
  const adapted = applyLoRA(model, {rank: 2, targets: [/query$/]});
  const adapter = getAdapter(adapted);
  expect(adapter.config.trainable).toEqual([]);
});

test('a step moves a new head', async () => {
  const {config, weights, expected} = fixture('bert');
  const {model} = await loadTransformer({config, weights, labels: 3});
  const adapted = applyLoRA(model, {rank: 2, targets: [/query$/]});
  const before = numbers(adapted.getLayer('classifier').getWeights()[0]!);
  const optimizer = adam({learningRate: 0.1});
  compileModel(adapted, {optimizer});
  const inputs = [tf.tensor2d(expected.ids, undefined, 'int32'), tf.tensor2d(expected.mask)];
  const labels = tf.tensor1d(expected.ids.map((_, i) => i % 3));
  await adapted.fit(inputs, labels, {epochs: 1, verbose: 0});
  expect(numbers(adapted.getLayer('classifier').getWeights()[0]!)).not.toEqual(before);
});

describe('a new head of SegFormer for each position', () => {
  const architecture = 'SegformerForSemanticSegmentation';

  test.each([
    ['segformerPositions', ['decode_head/classifier']],
    [
      'segformer',
      [
        ...['batch_norm', 'classifier', 'linear_fuse'].map(name => `decode_head/${name}`),
        ...[0, 1].map(stage => `decode_head/linear_projections/${stage}/proj`),
      ],
    ],
  ])('of %s is what its file does not have, and is trained, written and loaded', async (name, layers) => {
    const {config, weights} = fixture(name);
    const {model} = await loadTransformer({config, weights, architecture, labels: ['road', 'sky']});
    const adapted = applyLoRA(model, {rank: 2});
    const adapter = getAdapter(adapted);
    expect([...adapter.config.trainable].sort()).toEqual(layers);
    adapter.dispose();
    compileModel(adapted, {optimizer: adam({learningRate: 0.05}), ignoreIndex: -1});
    const x = tf.randomNormal([2, 9, 10, 3], 0, 1, 'float32', 1);
    const y = tf.randomUniform([2, 5, 5], -1, 2, 'int32', 1);
    const {history} = await adapted.fit(x, y, {epochs: 8, verbose: 0});
    expect((history.loss as number[]).at(-1)).toBeLessThan((history.loss as number[])[0]!);
    const {model: again} = await loadTransformer(await exportTransformer(adapted));
    const [before, after] = [adapted, again].map(each => tf.tidy(() => numbers(each.predict(x) as tf.Tensor)));
    expect(after).toBeAllClose(before!, {rtol: 1e-4, atol: 1e-4});
  });
});

beforeAll(() => useBackend('cpu'));

// The names that families give the layer whose outputs are those of the model.
const HEADS = /(^|\/)(lm_head|classifier|score|qa_outputs|decoder|vocab_projector)$/;

/** Networks of convolutions, whose layers are adapted as those of any other model. */
const CONVOLUTIONAL = /^(resnet|convnext|dinov3ConvNext|mobilenet|efficientnet)/;

test.each(NAMES.filter(name => !CONVOLUTIONAL.test(name)))(
  '%s: linear layers are adapted by default, and neither embeddings nor the head',
  async name => {
    const {config, weights, pooling, tied} = fixture(name);
    const {model} = await loadTransformer({config, weights, tied, pooling});
    const {layers, faults} = planLoRA(model, {rank: 1});
    expect(faults).toEqual([]);
    const adapted = layers.filter(({role}) => role === 'adapted');
    expect(adapted.length).toBeGreaterThan(3);
    expect(adapted.filter(({className}) => className !== 'Dense')).toEqual([]);
    expect(adapted.map(({path}) => path).filter(path => HEADS.test(path))).toEqual([]);
  },
);

test.each(NAMES.filter(name => CONVOLUTIONAL.test(name)))('%s: convolutions are adapted by default', async name => {
  const {config, weights, pooling} = fixture(name);
  const {model} = await loadTransformer({config, weights, pooling});
  const {layers, faults} = planLoRA(model, {rank: 1});
  expect(faults).toEqual([]);
  const classesOf = (role: string) => layers.filter(layer => layer.role === role).map(({className}) => className);
  expect(classesOf('adapted')).toContain('Conv2D');
  // One filter of few weights for each channel has nothing that a low rank would save.
  expect(classesOf('skipped').filter(className => className !== 'DepthwiseConv2D')).toEqual([]);
});
