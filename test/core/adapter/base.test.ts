import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  disposeModel,
  exportPEFT,
  getAdapter,
  loadAdapter,
  LoRAError,
  mergeLoRA,
  predictWith,
  saveAdapter,
  scaleAdapter,
  setAdapter,
  toSafetensors,
  withAdapter,
} from '../../../src';
import {quantizeBase} from '../../../src/quantized';
import {withoutLeaks} from '../../helpers';
import {MemoryHandler, mlp, predictions, stirFactors, stirUpdates} from '../../models';

/** The same architecture with other weights, drawn by a seed as tfjs draws them. */
function network(seed: number): tf.LayersModel {
  const drawn = (more: number) => tf.initializers.glorotUniform({seed: seed + more});
  return tf.sequential({
    layers: [
      tf.layers.conv2d({
        name: 'conv',
        filters: 8,
        kernelSize: 3,
        padding: 'same',
        activation: 'relu',
        inputShape: [6, 6, 3],
        kernelInitializer: drawn(0),
      }),
      tf.layers.conv2d({name: 'mix', filters: 32, kernelSize: 1, activation: 'relu', kernelInitializer: drawn(1)}),
      tf.layers.globalAveragePooling2d({name: 'pool'}),
      tf.layers.dense({name: 'hidden', units: 32, activation: 'relu', kernelInitializer: drawn(2)}),
      tf.layers.dense({name: 'out', units: 4, kernelInitializer: drawn(3)}),
    ],
  });
}

/** The bytes of an adapter that was trained on a base, with updates of a hundredth of its kernels. */
async function trainedOn(base: tf.LayersModel, config = {}, size = 0.05): Promise<Uint8Array> {
  const model = applyLoRA(base, {rank: 2, targets: 'all', ...config});
  stirFactors(model);
  tf.tidy(() =>
    model.trainableWeights
      .filter(({name}) => name.includes('lora_B'))
      .forEach(weight => weight.write(tf.mul(weight.read(), size))),
  );
  const bytes = await toSafetensors(model);
  disposeModel(model);
  return bytes;
}

let warn: jest.SpyInstance;
beforeEach(() => {
  warn = jest.spyOn(console, 'warn').mockImplementation();
});
afterEach(() => {
  warn.mockRestore();
});

const warnings = () => warn.mock.calls.map(([text]) => text as string);

test('an adapter is silent on its base, also in other files of the same weights', async () => {
  const base = network(1);
  const bytes = await trainedOn(base);
  const copy = network(1);
  const half = network(1);
  half.setWeights(base.getWeights().map(weight => tf.mul(weight, 1 + 2 ** -9))); // bfloat16 rounds by that at most
  for (const model of [base, copy, half]) {
    applyLoRA(model, await loadAdapter(bytes, {model}));
  }
  setAdapter(applyLoRA(copy, {rank: 4, targets: 'all'}), await loadAdapter(bytes));
  expect(warnings()).toEqual([]);
});

test.each([8, 4] as const)('a base of %d bits is the same base, either way', async bits => {
  const base = network(1);
  const quantized = await quantizeBase(base, {bits, targets: ['mix', 'hidden']});
  const fromFloats = await loadAdapter(await trainedOn(base, {targets: ['mix', 'hidden']}));
  const fromBits = await loadAdapter(await trainedOn(quantized, {targets: ['mix', 'hidden']}));
  applyLoRA(quantized, fromFloats);
  applyLoRA(base, fromBits);
  expect(warnings()).toEqual([]);
  applyLoRA(network(5), fromBits);
  expect(warnings()).toEqual([expect.stringMatching('the kernels of mix, hidden differ')]);
});

test('another base is warned of once, however the adapter gets to it', async () => {
  const bytes = await trainedOn(network(1));
  const other = network(5);
  const message = expect.stringMatching(
    /^The adapter was trained on another base: the kernels of conv, mix, hidden, out differ\. .* Apply it to the model that it was trained on/,
  ) as string;
  for (const use of [
    async () => void applyLoRA(other, await loadAdapter(bytes)),
    async () => setAdapter(applyLoRA(other, {targets: 'all'}), await loadAdapter(bytes)),
    async () => expect(await loadAdapter(bytes, {model: other})).toBeDefined(),
  ]) {
    warn.mockClear();
    await use();
    expect(warnings().filter(text => !text.startsWith('Left as'))).toEqual([message]);
  }
  const adapter = await loadAdapter(bytes);
  const model = applyLoRA(other, adapter);
  warn.mockClear();
  setAdapter(model, scaleAdapter(adapter, 0.5));
  setAdapter(model, adapter);
  expect(warnings()).toEqual([]);
});

test('a base that has the adapter in its weights already is warned of, however small the update is', async () => {
  const base = network(1);
  for (const config of [{}, {init: 'pissa'}, {rank: 4, alpha: 16, rankStabilized: true}]) {
    const adapter = await loadAdapter(await trainedOn(base, config));
    const merged = mergeLoRA(applyLoRA(base, adapter));
    warn.mockClear();
    const again = applyLoRA(merged, scaleAdapter(adapter, 0.5));
    expect(warnings()).toEqual([expect.stringMatching('^The weights of this model already contain the adapter')]);
    setAdapter(again, adapter); // of the same base: not again
    expect(warnings()).toHaveLength(1);
    // Another small change of the same kernels is another training, not a merge.
    const other = mergeLoRA(applyLoRA(base, await loadAdapter(await trainedOn(base, {seed: 9, rank: 1}))));
    warn.mockClear();
    applyLoRA(other, await loadAdapter(await toSafetensors(adapter)));
    expect(warnings()).toEqual([]);
  }
});

test('the base is as it was before it trained along', async () => {
  const base = network(1);
  const model = applyLoRA(base, {rank: 2, freezeBaseLayer: false, targets: ['hidden', 'out']});
  stirUpdates(model);
  const adapter = await loadAdapter(await toSafetensors(model));
  applyLoRA(base, adapter);
  setAdapter(model, adapter);
  expect(warnings()).toEqual([]);
  applyLoRA(network(5), adapter);
  expect(warnings()).toHaveLength(1);
});

test('a combination has the base that its parts share, and says if they share none', async () => {
  const [base, other] = [network(1), network(5)];
  const model = applyLoRA(base, {rank: 2, targets: ['out']});
  const parts = [await loadAdapter(await trainedOn(base)), getAdapter(model)].map(adapter => ({
    adapter,
    weight: 0.5,
  }));
  const mix = await loadAdapter(await toSafetensors(await combineAdapters(parts, {rank: 1})));
  applyLoRA(base, mix);
  expect(warnings()).toEqual([]);
  applyLoRA(other, mix);
  expect(warnings()).toEqual([expect.stringMatching('^The adapter was trained on another base')]);
  warn.mockClear();
  const strangers = [...parts, {adapter: await loadAdapter(await trainedOn(other)), weight: 1}];
  const broken = await combineAdapters(strangers);
  expect(warnings()).toEqual([
    expect.stringMatching(
      '^The adapters were trained on different bases: the kernels of conv, hidden, mix, out differ',
    ),
  ]);
  applyLoRA(base, broken);
  expect(warnings()).toHaveLength(1);
});

describe('a file', () => {
  test('names the base in a few bytes for each layer, in either format', async () => {
    const base = network(1);
    const model = applyLoRA(base, {rank: 8, targets: 'all'});
    const handler = new MemoryHandler();
    await saveAdapter(model, handler);
    const {base: lists} = handler.artifacts.modelTopology as {base: number[][]};
    expect(lists.map(list => list.length)).toEqual([9, 9, 9, 9]);
    // Of "hidden", the second of the sorted paths: values at multiples of the golden ratio, in thousandths of the
    // largest.
    const kernel = base.getLayer('hidden').getWeights()[0]!.dataSync();
    const picked = Array.from({length: 8}, (_, i) => kernel[Math.floor((((i + 1) * 0.6180339887498949) % 1) * 1024)]!);
    const [largest, ...values] = lists[1]!;
    expect(largest).toBeCloseTo(Math.max(...picked.map(Math.abs)), 4);
    expect(values.map(value => (value * largest!) / 999)).toBeAllClose(picked, {atol: largest! / 1900, rtol: 0});
    const text = JSON.stringify(lists);
    expect(text.length / 4).toBeLessThan(50);
    expect(text.length).toBeLessThan(0.03 * (await toSafetensors(model)).length);
  });

  test.each<[string, unknown]>([
    ['no list', 1],
    ['a list of another length', [[1, 2]]],
    ['lists of another length', [[1], [1], [1], [1]]],
    ['no numbers', Array(4).fill(Array(9).fill('1'))],
    ['nothing', null],
  ])('loads with %s for its base, and knows none', async (_, base) => {
    const handler = new MemoryHandler();
    await saveAdapter(applyLoRA(network(1), {rank: 2, targets: ['conv', 'mix', 'hidden', 'out']}), handler);
    const json = JSON.parse(handler.json) as {modelTopology: {base: unknown}};
    json.modelTopology.base = base;
    handler.json = JSON.stringify(json);
    applyLoRA(network(5), await loadAdapter(handler));
    expect(warnings()).toEqual([]);
  });

  test('an adapter outlives its model, without its base then', async () => {
    const base = network(1);
    const model = applyLoRA(base, {rank: 2, targets: ['out']});
    const adapter = getAdapter(model);
    disposeModel(model);
    const handler = new MemoryHandler();
    await saveAdapter(adapter, handler);
    expect(handler.artifacts.modelTopology).not.toHaveProperty('base');
  });

  test('nothing is left in memory', async () => {
    const [base, other] = [network(1), network(5)];
    await withoutLeaks(async () => {
      const bytes = await trainedOn(base, {targets: ['hidden', 'out']});
      const adapter = await loadAdapter(bytes, {model: other});
      const model = applyLoRA(base, adapter);
      const merged = mergeLoRA(model);
      const mix = await combineAdapters([{adapter, weight: 1}], {rank: 1});
      disposeModel(applyLoRA(merged, mix));
      disposeModel(merged);
      disposeModel(model);
    });
  });
});

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
