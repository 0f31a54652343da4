import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  exportPEFT,
  getAdapter,
  LoRAError,
  predictWith,
  saveAdapter,
  scaleAdapter,
  setAdapter,
  toSafetensors,
  withAdapter,
} from '../../../src';
import {MemoryHandler, mlp, predictions, stirFactors} from '../../models';

const specimen = () => {
  const {model, inputs} = mlp();
  const adapted = applyLoRA(model, {rank: 2});
  stirFactors(adapted, 5);
  return {model, inputs, adapted, own: getAdapter(adapted)};
};

/** Everything that takes an adapter, given one. */
function uses(adapter: Adapter): [name: string, use: () => unknown][] {
  const {model, inputs, adapted, own} = specimen();
  const before = predictions(adapted, inputs);
  const x = inputs[0]!;
  const unchanged = (use: () => unknown) => () => {
    try {
      return use();
    } finally {
      expect(predictions(adapted, inputs)).toEqual(before);
    }
  };
  return [
    ['setAdapter', unchanged(() => setAdapter(adapted, adapter))],
    ['withAdapter', unchanged(() => withAdapter(adapted, adapter, () => 1))],
    ['predictWith', unchanged(() => predictWith(adapted, x, [own, null, adapter, adapter]))],
    ['predictWith of that alone', unchanged(() => predictWith(adapted, x, [adapter, adapter, adapter, adapter]))],
    ['scaleAdapter', () => scaleAdapter(adapter, 2)],
    [
      'combineAdapters',
      () =>
        combineAdapters([
          {adapter: own, weight: 1},
          {adapter, weight: 1},
        ]),
    ],
    ['combineAdapters of that alone', () => combineAdapters([{adapter, weight: 1}])],
    ['toSafetensors', () => toSafetensors(adapter)],
    ['saveAdapter', () => saveAdapter(adapter, new MemoryHandler())],
    ['saveAdapter as safetensors', () => saveAdapter(adapter, new MemoryHandler(), {format: 'safetensors'})],
    ['exportPEFT', () => exportPEFT(model, {adapter})],
  ];
}

const valueOf = (use: () => unknown): Promise<unknown> => Promise.resolve().then(use);

test('an adapter that was disposed is refused', async () => {
  const {model, own, adapted} = specimen();
  own.dispose();
  for (const [name, use] of [...uses(own), ['applyLoRA', () => applyLoRA(model, own)] as const]) {
    const error: unknown = await valueOf(use).catch((reason: unknown) => reason);
    expect([name, error]).toEqual([name, expect.any(LoRAError)]);
    expect([name, String(error)]).toEqual([name, expect.stringContaining('The adapter was disposed')]);
  }
  expect(() => setAdapter(adapted, null)).not.toThrow();
});

test.each<[string, unknown, string]>([
  ['undefined', undefined, 'got undefined'],
  ['a text', 'cats', 'got a string'],
  ['an object without tensors', {config: {layers: {}, trainable: []}}, 'got an object'],
  ['an object without a config', {tensors: {}}, 'This is not the config of an adapter'],
  ['tensors that are none', {config: {layers: {}, trainable: []}, tensors: {'x/lora_A': [1]}}, 'x/lora_A: no tensor'],
])('%s for an adapter is refused', async (_, value, message) => {
  // Without an adapter `exportPEFT` takes that of the model.
  const used = uses(value as Adapter).filter(([name]) => value !== undefined || name !== 'exportPEFT');
  for (const [name, use] of used) {
    const error: unknown = await valueOf(use).catch((reason: unknown) => reason);
    expect([name, error]).toEqual([name, expect.any(LoRAError)]);
    expect([name, String(error)]).toEqual([name, expect.stringContaining(message)]);
  }
});

test('null is refused where there must be an adapter', async () => {
  const {model} = specimen();
  const none = null as unknown as Adapter;
  const handler = new MemoryHandler();
  for (const use of [
    () => scaleAdapter(none, 2),
    () => combineAdapters([{adapter: none, weight: 1}]),
    () => toSafetensors(none),
    () => saveAdapter(none, handler),
    () => exportPEFT(model, {adapter: none}),
  ]) {
    await expect(valueOf(use)).rejects.toThrow(LoRAError);
    await expect(valueOf(use)).rejects.toThrow('got null');
  }
});

test.each<[string, unknown]>([
  ['undefined', undefined],
  ['a layer', tf.layers.dense({units: 1})],
])('%s for a model is refused', (_, value) => {
  const model = value as tf.LayersModel;
  const {own} = specimen();
  for (const use of [
    () => getAdapter(model),
    () => setAdapter(model, own),
    () => withAdapter(model, own, () => 1),
    () => predictWith(model, tf.ones([1, 1]), [own]),
  ]) {
    expect(use).toThrow(LoRAError);
    expect(use).toThrow('The model must be a tf.LayersModel');
  }
});
