import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  disposeModel,
  getAdapter,
  loadAdapter,
  LoRAError,
  replaceHead,
  saveAdapter,
  toSafetensors,
} from 'tfjs-lora';
import {withoutLeaks} from '../../helpers';
import {MemoryHandler, mlp, predictions} from '../../models';

const {layers} = tf;

/** An adapter that brings a head of a Dense, 6 → 2. */
function denseHead(): {base: tf.LayersModel; adapter: Adapter} {
  const {model: base} = mlp();
  const built = replaceHead(base, [layers.dense({units: 2, name: 'classes'})]);
  return {base, adapter: getAdapter(applyLoRA(built, {rank: 2}))};
}

function withLayers(adapter: Adapter, entries: object[]): Adapter {
  const head = {at: 'hidden', layers: entries as never};
  return {...adapter, config: {...adapter.config, head}};
}

const dense = (config: object) => ({className: 'Dense', config: {name: 'classes', units: 2, ...config}});

/** The two ways of an adapter through a file. */
const WAYS: [string, (adapter: Adapter) => Promise<Adapter>][] = [
  [
    'JSON and weights',
    async adapter => {
      const handler = new MemoryHandler();
      await saveAdapter(adapter, handler);
      return loadAdapter(handler);
    },
  ],
  ['safetensors', async adapter => loadAdapter(await toSafetensors(adapter))],
];

describe.each(WAYS)('a head from %s', (_, throughFile) => {
  // tfjs would draw numbers for ever, or fail after it has made weights.
  test.each([
    ['VarianceScaling', {scale: 'x', mode: 'fanIn', distribution: 'normal'}],
    ['TruncatedNormal', {mean: 0, stddev: 'x'}],
    ['TruncatedNormal', {mean: 0, stddev: -1}],
    ['Sequential', {layers: [{className: 'Dense', config: {units: 3, batchInputShape: [null, 2]}}]}],
    ['Unheard', {}],
  ])('takes its values from tensors, whatever %s %j would give', async (className, config) => {
    const {base, adapter} = denseHead();
    const x = tf.ones([2, 5]);
    const expected = predictions(applyLoRA(base, adapter), [x]);
    const hostile = withLayers(adapter, [dense({kernelInitializer: {className, config}})]);
    expect(predictions(applyLoRA(base, await throughFile(hostile)), [x])).toEqual(expected);
  });

  test.each([
    [
      'of more units than it has tensors for',
      [dense({units: 1e8})],
      'its weight kernel would be of shape [6, 100000000]',
    ],
    [
      'of a vocabulary that it has no tensors for',
      [{className: 'Embedding', config: {name: 'classes', inputDim: 1e9, outputDim: 64}}],
      'its weight embeddings would be of shape',
    ],
    [
      'that repeats without end',
      [{className: 'RepeatVector', config: {name: 'repeat', n: 1e9}}, dense({})],
      'which are too large for a head that comes with an adapter',
    ],
    [
      'that repeats something that is no number',
      [{className: 'RepeatVector', config: {name: 'repeat', n: 'x'}}, dense({})],
      'has outputs of shape [null, x, 6]',
    ],
    ['of 100,000 layers', Array.from({length: 100_000}, () => dense({})), 'has 100000 layers, more than the 200'],
    ['of a list without end', [dense({extra: new Array(30_000).fill(0)})], 'hold more than 20000 values'],
    [
      'that is a model',
      [{className: 'Sequential', config: {name: 'classes', layers: [dense({batchInputShape: [null, 6]})]}}],
      'it contains a Sequential, but layers of a head may not contain models',
    ],
    [
      'with a model inside of a layer',
      [
        {
          className: 'TimeDistributed',
          config: {name: 'classes', layer: {className: 'Functional', config: {name: 'inner', layers: []}}},
        },
      ],
      'it contains a Functional',
    ],
    ['with a name that tfjs refuses', [dense({name: 'classes['})], 'Not a valid tensor name'],
    [
      'with a layer for an activation',
      [dense({activation: {className: 'Dense', config: {units: 1e8}}})],
      'its activation is "Dense", which is no activation',
    ],
    [
      'with a model for a regularizer',
      [dense({kernelRegularizer: {className: 'Sequential', config: {layers: []}}})],
      'its kernelRegularizer is "Sequential", which is no regularizer',
    ],
    [
      'a wrapper around an initializer',
      [{className: 'TimeDistributed', config: {name: 'new', layer: {className: 'Zeros', config: {}}}}],
      'its layer is "Zeros", which is no layer',
    ],
  ])('%s is refused, and nothing is left', async (_what, entries, message) => {
    const {base, adapter} = denseHead();
    const before = predictions(base, [tf.ones([1, 5])]);
    await withoutLeaks(async () => {
      const attempt = async () => {
        const loaded = await throughFile(withLayers(adapter, entries));
        try {
          disposeModel(applyLoRA(base, loaded));
        } finally {
          loaded.dispose();
        }
      };
      const error = await attempt().catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(LoRAError);
      expect((error as Error).message).toContain(message);
    });
    expect(predictions(base, [tf.ones([1, 5])])).toEqual(before);
  });
});

test('a head whose config leaves out its initializers is rebuilt without the orthogonal ones of tfjs', async () => {
  const {model: base} = mlp();
  const lstm = layers.lstm({units: 300, recurrentInitializer: 'zeros', name: 'inner'});
  const steps = [
    layers.reshape({targetShape: [1, 3, 2], name: 'rows'}),
    layers.timeDistributed({layer: lstm, name: 'steps'}),
  ];
  const built = replaceHead(base, steps, {after: 'hidden'});
  const adapter = getAdapter(applyLoRA(built, {rank: 2}));
  const entries = JSON.parse(
    JSON.stringify(adapter.config.head!.layers, (key, value: unknown) =>
      key === 'recurrentInitializer' ? undefined : value,
    ),
  ) as object[];
  const again = applyLoRA(base, withLayers(adapter, entries));
  expect(predictions(again, [tf.ones([2, 5])])).toEqual(predictions(built, [tf.ones([2, 5])]));
  // tfjs warns when it makes a large orthogonal matrix.
  const warn = jest.spyOn(console, 'warn').mockImplementation();
  await tf.models.modelFromJSON(JSON.parse(again.toJSON() as string) as tf.io.ModelJSON);
  expect(warn).not.toHaveBeenCalled();
});
