import {existsSync, readdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  disposeModel,
  getAdapter,
  loadAdapter,
  LoRAError,
  mergeLoRA,
  removeLoRA,
  saveAdapter,
  setAdapter,
} from 'tfjs-lora';
import {numbers, withoutLeaks} from '../../helpers';
import {
  baseWeights,
  cnn,
  factorsOf,
  MemoryHandler,
  mlp,
  nested,
  predictions,
  stirFactors,
  train,
  ZOO,
} from '../../models';
import {temporaryFolder} from '../../temporaryFolder';

/** An adapter as it comes out of a file. */
async function throughFile(source: tf.LayersModel | Adapter): Promise<Adapter> {
  const handler = new MemoryHandler();
  await saveAdapter(source, handler);
  return loadAdapter(handler);
}

test.each(ZOO)('the adapter of %s does the same on a fresh copy of it', async (_, make) => {
  const [{model, inputs}, fresh] = [make(), make()];
  const adapted = applyLoRA(model, {rank: 2, alpha: 3, seed: 1});
  await train(adapted, inputs);
  const again = applyLoRA(fresh.model, await throughFile(adapted));
  expect(predictions(again, inputs)).toEqual(predictions(adapted, inputs));
  expect(factorsOf(again).map(w => numbers(w.read()))).toEqual(factorsOf(adapted).map(w => numbers(w.read())));
  expect(predictions(again, inputs)).not.toEqual(predictions(fresh.model, inputs));
  await train(again, inputs);
  expect(baseWeights(again)).toEqual(baseWeights(model));
});

test.each([
  ['layers that train in full', {targets: ['conv'], trainInFull: ['norm', 'head']}],
  ['bases that train along', {targets: ['conv'], freezeBaseLayer: false}],
])('the adapter with %s brings all their weights', async (_, config) => {
  const [{model, inputs}, fresh] = [cnn(), cnn()];
  const adapted = applyLoRA(model, {rank: 2, seed: 1, ...config});
  await train(adapted, inputs);
  const again = applyLoRA(fresh.model, await throughFile(adapted));
  expect(predictions(again, inputs)).toEqual(predictions(adapted, inputs));
  expect(baseWeights(again)).toEqual(baseWeights(adapted));
  expect(baseWeights(again)).not.toEqual(baseWeights(model));
  expect(again.trainableWeights).toHaveLength(adapted.trainableWeights.length);
  const [merged, expected] = [mergeLoRA(again), mergeLoRA(adapted)];
  expect(predictions(merged, inputs)).toEqual(predictions(expected, inputs));
  expect(baseWeights(removeLoRA(again))).toEqual(baseWeights(model));
});

test('saving, loading and applying leaks nothing', async () => {
  const handler = new MemoryHandler();
  await withoutLeaks(async () => {
    const {model, inputs} = cnn();
    const config = {rank: 2, targets: ['conv'], trainInFull: ['head'], freezeBaseLayer: false};
    const adapted = applyLoRA(model, config);
    await saveAdapter(adapted, handler);
    const adapter = await loadAdapter(handler);
    const again = applyLoRA(model, adapter);
    adapter.dispose();
    predictions(again, inputs);
    [again, adapted, model].forEach(each => disposeModel(each));
    tf.dispose(inputs);
  });
});

describe("an adapter's file", () => {
  test('holds the factors and nothing of the base', async () => {
    const handler = new MemoryHandler();
    await saveAdapter(applyLoRA(nested().model, {rank: 2}), handler);
    const {weightSpecs, weightData} = handler.artifacts;
    expect(weightSpecs).toEqual(
      [
        ['body/first/lora_A', [5, 2]],
        ['body/first/lora_B', [2, 6]],
        ['body/second/lora_A', [6, 2]],
        ['body/second/lora_B', [2, 4]],
        ['head/lora_A', [4, 2]],
        ['head/lora_B', [2, 3]],
      ].map(([name, shape]) => ({name, shape, dtype: 'float32'})),
    );
    expect((weightData as ArrayBuffer).byteLength).toBe(4 * 56);
  });

  test('holds all weights of what trains in full, moving statistics included', async () => {
    const handler = new MemoryHandler();
    const config = {rank: 2, targets: ['conv'], trainInFull: ['norm']};
    await saveAdapter(applyLoRA(cnn().model, config), handler);
    const names = handler.artifacts.weightSpecs!.map(({name}) => name).sort();
    expect(names).toEqual([
      'conv/lora_A',
      'conv/lora_B',
      'norm/beta',
      'norm/gamma',
      'norm/moving_mean',
      'norm/moving_variance',
    ]);
  });

  test('keeps the spelling of names that tfjs would change', async () => {
    const layer = tf.layers.dense({units: 2, inputShape: [3], name: 'block_1_dense_A'});
    const model = tf.sequential({layers: [layer]});
    const {config} = await throughFile(applyLoRA(model, {rank: 2, rankStabilized: true}));
    expect(config).toEqual({
      layers: {
        block_1_dense_A: {
          className: 'Dense',
          rank: 2,
          alpha: 2,
          rankStabilized: true,
          freezeBaseLayer: true,
        },
      },
      trainable: [],
    });
  });

  test('may be made of an adapter as well as of a model, and be read more than once', async () => {
    const {model, inputs} = mlp();
    const adapted = applyLoRA(model, {rank: 2});
    stirFactors(adapted);
    const adapter = getAdapter(adapted);
    disposeModel(adapted);
    const [one, other] = [await throughFile(adapter), await throughFile(adapter)];
    const expected = predictions(applyLoRA(model, adapter), inputs);
    expect(predictions(applyLoRA(model, one), inputs)).toEqual(expected);
    one.dispose();
    expect(predictions(applyLoRA(model, other), inputs)).toEqual(expected);
  });

  test('is the business of any file name', async () => {
    const folder = temporaryFolder();
    try {
      const {model, inputs} = mlp();
      const adapted = applyLoRA(model, {rank: 2});
      stirFactors(adapted);
      const expected = predictions(adapted, inputs);
      for (const name of ['lora_A.json', 'dense_1', 'my adapter']) {
        const url = pathToFileURL(join(folder, name)).href;
        await saveAdapter(adapted, url);
        const adapter = await loadAdapter(url);
        expect(predictions(applyLoRA(model, adapter), inputs)).toEqual(expected);
      }
      expect(readdirSync(folder).sort()).toEqual(['dense_1', 'lora_A.json', 'lora_A.weights.bin', 'my adapter']);
      expect(existsSync(join(folder, 'my adapter', 'weights.bin'))).toBe(true);
    } finally {
      rmSync(folder, {recursive: true});
    }
  });
});

describe('an adapter that does not fit', () => {
  interface Draft {
    config: {layers: Record<string, object>; trainable: string[]};
    tensors: Record<string, tf.Tensor>;
  }

  /** The adapter of an mlp (hidden 5 → 6, head 6 → 3) at rank 2, with changes. */
  function misfit(change: (draft: Draft) => void, config: object = {}): Adapter {
    const {config: own, tensors} = getAdapter(applyLoRA(mlp().model, {rank: 2, ...config}));
    const draft = {config: structuredClone(own) as unknown as Draft['config'], tensors: {...tensors}};
    change(draft);
    return {...draft, dispose: () => undefined} as unknown as Adapter;
  }

  test('is refused with one error that lists every mismatch, and changes nothing', async () => {
    const {model} = mlp();
    const before = baseWeights(model);
    const adapter = misfit(draft => {
      draft.tensors['hidden/lora_A'] = tf.zeros([2, 5]);
      delete draft.tensors['head/lora_B'];
      draft.tensors['head/kernel'] = tf.zeros([6, 3]);
      draft.tensors.stray = tf.zeros([1]);
      draft.config.layers['body/first'] = draft.config.layers.head!;
      draft.config.trainable.push('tail');
    });
    const apply = () => applyLoRA(model, adapter);
    await withoutLeaks(() => {
      expect(apply).toThrow(LoRAError);
      for (const line of [
        'The adapter does not fit this model:',
        'hidden/lora_A: shape [2, 5] in the adapter, [5, 2] in the model',
        'head/lora_B: not in the adapter',
        'head/kernel: not a weight of the model',
        'stray: not a weight of the model',
        'body/first: not in the model',
        'tail: not in the model',
      ]) {
        expect(apply).toThrow(line);
      }
      expect(apply).toThrow(/\nThe model has: hidden \(Dense\), head \(Dense\)\.$/);
    });
    expect(baseWeights(model)).toEqual(before);
  });

  test('is refused with a layer that it both adapts and trains in full', () => {
    const adapter = misfit(({config}) => config.trainable.push('head'));
    expect(() => applyLoRA(mlp().model, adapter)).toThrow(
      new LoRAError('The adapter does not fit this model:\n  head: both adapted and trained in full in the adapter'),
    );
  });

  test('is refused with numbers of another type, and changes nothing', async () => {
    const adapter = misfit(
      ({tensors}) => {
        tensors['hidden/lora_A'] = tf.ones([5, 2]);
        tensors['hidden/lora_B'] = tf.ones([2, 6], 'int32');
        tensors['head/bias'] = tf.ones([3], 'bool');
      },
      {trainInFull: ['head']},
    );
    const message = [
      'The adapter does not fit this model:',
      '  hidden/lora_B: of type int32 in the adapter, float32 in the model',
      '  head/bias: of type bool in the adapter, float32 in the model',
    ].join('\n');
    const {model} = mlp();
    const adapted = applyLoRA(model, {rank: 2, trainInFull: ['head']});
    const values = () => adapted.weights.map(weight => numbers(weight.read()));
    const before = values();
    await withoutLeaks(() => {
      expect(() => applyLoRA(model, adapter)).toThrow(new LoRAError(message));
      expect(() => setAdapter(adapted, adapter)).toThrow(new LoRAError(message));
    });
    expect(values()).toEqual(before);
  });

  test.each<[what: string, change: (draft: Draft) => void, message: string]>([
    [
      'is for layers of another class',
      ({config}) => Object.assign(config.layers.head!, {className: 'Conv2D'}),
      'head: a Conv2D in the adapter, a Dense in the model',
    ],
    [
      'has a rank that the kernel cannot hold',
      draft => {
        Object.assign(draft.config.layers.head!, {rank: 4});
        draft.tensors['head/lora_A'] = tf.zeros([6, 4]);
        draft.tensors['head/lora_B'] = tf.zeros([4, 3]);
      },
      'head: rank 4 in the adapter, at most 3 in the model',
    ],
    [
      'has a rank that its tensors have not',
      ({config}) => Object.assign(config.layers.head!, {rank: 1}),
      'head/lora_A: shape [6, 2] in the adapter, [6, 1] in the model',
    ],
    [
      'has no tensors of a layer that it trains in full',
      ({config}) => {
        delete config.layers.head;
        config.trainable.push('head');
      },
      'head/kernel: not in the adapter',
    ],
    [
      'has no weights of a base that it trains',
      ({config}) => Object.assign(config.layers.head!, {freezeBaseLayer: false}),
      'head/bias: not in the adapter',
    ],
    ['has an invalid rank', c => Object.assign(c.config.layers.head!, {rank: 0}), 'rank must be'],
    ['has an invalid alpha', c => Object.assign(c.config.layers.head!, {alpha: -1}), 'alpha must be'],
    [
      'does not tell a class',
      ({config}) => Object.assign(config.layers.head!, {className: undefined}),
      'config of layer "head" must hold its className',
    ],
    [
      'does not tell a strength',
      ({config}) => Object.assign(config.layers.head!, {alpha: undefined}),
      'config of layer "head" must hold its className, freezeBaseLayer, rank and alpha',
    ],
    [
      'tells of a layer what nobody knows',
      ({config}) => Object.assign(config.layers.head!, {name: 'other', layer: {}}),
      'config of layer "head" holds name, layer, which this library does not know',
    ],
    [
      'has no list of what trains in full',
      draft => Object.assign(draft.config, {trainable: 'head'}),
      'not the config of an adapter',
    ],
    [
      'adapts and trains in full the same layer',
      draft => {
        draft.config.trainable.push('head');
        draft.tensors['head/kernel'] = tf.zeros([6, 3]);
        draft.tensors['head/bias'] = tf.zeros([3]);
      },
      'head',
    ],
  ])('is refused when it %s', async (_, change, message) => {
    const {model} = mlp();
    const adapter = misfit(change);
    await withoutLeaks(() => {
      expect(() => applyLoRA(model, adapter)).toThrow(LoRAError);
      expect(() => applyLoRA(model, adapter)).toThrow(message);
    });
  });

  test('is refused by another model, and fits its own none the worse', () => {
    const adapter = getAdapter(applyLoRA(nested().model, {rank: 2}));
    expect(() => applyLoRA(mlp().model, adapter)).toThrow(/body\/first: not in the model/);
    expect(() => applyLoRA(mlp().model, adapter)).toThrow(/head\/lora_A: shape \[4, 2\].*\[6, 2\]/);
    const adapted = applyLoRA(nested().model, adapter);
    expect(factorsOf(adapted)).toHaveLength(6);
  });

  test('is refused by a model that is adapted already', () => {
    const adapted = applyLoRA(mlp().model, {rank: 2});
    expect(() => applyLoRA(adapted, getAdapter(adapted))).toThrow('adapted already');
  });
});

describe('loadAdapter and saveAdapter', () => {
  async function saved(): Promise<MemoryHandler> {
    const handler = new MemoryHandler();
    await saveAdapter(applyLoRA(mlp().model, {rank: 2}), handler);
    return handler;
  }

  type Artifacts = tf.io.ModelArtifacts & {
    modelTopology: {class_name: unknown; version: unknown; config: unknown};
    weightSpecs: tf.io.WeightsManifestEntry[];
  };

  test.each<[what: string, change: (artifacts: Artifacts) => unknown, message: string]>([
    ['no topology', a => delete (a as {modelTopology?: object}).modelTopology, 'not an adapter but something else'],
    ['the file of a model', a => (a.modelTopology.class_name = 'Sequential'), 'but a "Sequential". Models are loaded'],
    ['another version', a => (a.modelTopology.version = 2), 'format version 2; this library reads version 1'],
    ['no config', a => (a.modelTopology.config = null), 'not the config of an adapter'],
    ['no list of tensors', a => delete (a as {weightSpecs?: object}).weightSpecs, 'no tensors'],
    ['no bytes', a => delete a.weightData, 'no tensors'],
    [
      'null for bytes',
      a => (a.weightData = null as never),
      'weightData that was loaded must be one ArrayBuffer or a list, got null',
    ],
    ['a number for bytes', a => (a.weightData = 5 as never), 'one ArrayBuffer or a list, got 5'],
    [
      'bytes that are cut off',
      a => (a.weightData = (a.weightData as ArrayBuffer).slice(4)),
      'the tensors take 160 bytes, the file has 156',
    ],
    ['a tensor twice', a => (a.weightSpecs[1]!.name = a.weightSpecs[0]!.name), 'there twice'],
    ['a tensor of another type', a => (a.weightSpecs[0]!.dtype = 'int32'), 'of type int32, not float32'],
    ['an invalid shape', a => (a.weightSpecs[0]!.shape = [-5, 2]), 'its shape is [-5,2]'],
    ['a shape that is no list', a => ((a.weightSpecs[0] as {shape: unknown}).shape = '5,2'), 'hidden/lora_A'],
    ['an invalid entry', a => (a.weightSpecs as unknown[]).push(null), 'cannot have the name undefined'],
    [
      'a tensor that no table can hold',
      a => (a.weightSpecs[0]!.name = '__proto__'),
      'cannot have the name "__proto__"',
    ],
    ['an invalid list of tensors', a => ((a as {weightSpecs: unknown}).weightSpecs = {}), 'adapter'],
  ])('refuse %s, and leave nothing behind', async (_, change, message) => {
    const {artifacts} = await saved();
    change(artifacts as Artifacts);
    await withoutLeaks(async () => {
      const loading = loadAdapter({load: () => Promise.resolve(artifacts)});
      await expect(loading).rejects.toThrow(LoRAError);
      await expect(loading).rejects.toThrow(message);
    });
  });

  test('take bytes in several pieces', async () => {
    const {artifacts} = await saved();
    const bytes = artifacts.weightData as ArrayBuffer;
    const weightData = [bytes.slice(0, 10), bytes.slice(10)];
    const adapter = await loadAdapter({load: () => Promise.resolve({...artifacts, weightData})});
    const whole = await loadAdapter({load: () => Promise.resolve(artifacts)});
    const values = (a: Adapter) => Object.entries(a.tensors).map(([name, t]) => [name, numbers(t)]);
    expect(values(adapter)).toEqual(values(whole));
  });

  test('refuse a model that is not adapted, and save nothing', async () => {
    const handler = new MemoryHandler();
    await expect(saveAdapter(mlp().model, handler)).rejects.toThrow('The model has no LoRA layers.');
    expect(handler.json).toBe('');
  });

  test('refuse handlers that cannot, and URLs that nothing handles', async () => {
    const adapted = applyLoRA(mlp().model, {rank: 2});
    await expect(saveAdapter(adapted, {})).rejects.toThrow('The handler cannot save');
    await expect(loadAdapter({})).rejects.toThrow('The handler cannot load');
    const url = 'gopher://adapter';
    await expect(saveAdapter(adapted, url)).rejects.toThrow(`Nothing here can save "${url}"`);
    await expect(loadAdapter(url)).rejects.toThrow(`Nothing here can load "${url}"`);
    await expect(saveAdapter(adapted, '')).rejects.toThrow('The path must be a string');
    await expect(loadAdapter('')).rejects.toThrow('The path must be a string');
  });

  test.each([
    ['tfjs', {}],
    ['safetensors', {format: 'safetensors'}],
  ] as const)('refuse numbers that are not finite by name, as %s, unless they are allowed', async (_, options) => {
    const base = mlp().model;
    for (const value of [NaN, Infinity]) {
      const adapted = applyLoRA(base, {rank: 2, seed: 1});
      const [name] = Object.keys(getAdapter(adapted).tensors) as [string];
      const adapter = getAdapter(adapted);
      const broken = {...adapter, tensors: {...adapter.tensors, [name]: tf.fill(adapter.tensors[name]!.shape, value)}};
      setAdapter(adapted, broken);
      const handler = new MemoryHandler();
      for (const source of [adapted, broken]) {
        await withoutLeaks(async () => {
          const save = saveAdapter(source, handler, options);
          await expect(save).rejects.toThrow(LoRAError);
          await expect(save).rejects.toThrow(`${name}: NaN or infinite, so nothing is written.`);
        });
      }
      expect(handler.json).toBe('');
      await saveAdapter(adapted, handler, {...options, allowNonFinite: true});
      const loaded = await loadAdapter(handler);
      expect(numbers(loaded.tensors[name]!)[0]).toBe(value);
      expect(numbers(loaded.tensors[name]!)).toEqual(numbers(broken.tensors[name]!));
    }
  });

  test('pass on what goes wrong in a handler, and leak nothing', async () => {
    const adapted = applyLoRA(mlp().model, {rank: 2});
    await withoutLeaks(async () => {
      const save = () => Promise.reject(new Error('disk full'));
      await expect(saveAdapter(adapted, {save})).rejects.toThrow('disk full');
    });
  });
});

test('a URL that several handlers of tfjs accept is refused', async () => {
  const router = (url: string | string[]) =>
    String(url).startsWith('twice://') ? new MemoryHandler() : (null as never);
  [1, 2].forEach(() => tf.io.registerLoadRouter(router));
  await expect(loadAdapter('twice://adapter')).rejects.toThrow(
    '2 handlers of tfjs accept "twice://adapter". Pass one of them instead.',
  );
});
