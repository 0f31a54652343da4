import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, LoRAError, modelCard} from 'tfjs-lora';
import {type Adapter, exportPEFT, getAdapter, loadAdapter, type LoRAConfig} from '../../../src';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {numbers, withoutLeaks} from '../../helpers';
import {predictions, stir, stirFactors, train} from '../../models';
import {KEY_MAP, largeNetwork, peftFiles, smallNetwork} from '../../peftNetworks';

function values(adapter: Adapter): Record<string, number[]> {
  return Object.fromEntries(Object.entries(adapter.tensors).map(([name, tensor]) => [name, numbers(tensor)]));
}

/** The tensors of a file of PEFT, by name. */
function tensorsOf(weights: Uint8Array): Record<string, unknown> {
  return Object.fromEntries(decodeSafetensors(weights).tensors);
}

/** A dense model whose layers have these names and sizes. */
function mlp(...layers: [name: string, units: number][]): tf.Sequential {
  return tf.sequential({
    layers: layers.map(([name, units], i) => tf.layers.dense({units, name, ...(i === 0 && {inputShape: [4]})})),
  });
}

async function exportOf(model: tf.LayersModel, config: LoRAConfig, options = {}) {
  const adapted = applyLoRA(model, config);
  stirFactors(adapted);
  return exportPEFT(model, {adapter: getAdapter(adapted), ...options});
}

test('the config names the base that is given', async () => {
  const model = mlp(['fc', 2]);
  expect((await exportOf(model, {rank: 1})).config.base_model_name_or_path).toBeNull();
  const {config} = await exportOf(model, {rank: 1}, {baseModel: 'google/mnist'});
  expect(config.base_model_name_or_path).toBe('google/mnist');
  await expect(exportOf(model, {rank: 1}, {baseModel: ''})).rejects.toThrow('baseModel must be the name or path');
});

test.each(['lora', 'rslora', 'modules_to_save', 'bias_lora_only'])(
  'what is imported from %s is exported as PEFT wrote it',
  async name => {
    const {model} = smallNetwork();
    const files = peftFiles(name);
    const adapter = await loadAdapter(files, {model});
    const {config, weights} = await exportPEFT(model, {adapter});
    expect(tensorsOf(weights)).toEqual(tensorsOf(files.weights));
    const original = JSON.parse(files.config) as Record<string, unknown>;
    for (const field of ['r', 'lora_alpha', 'use_rslora', 'bias', 'modules_to_save', 'rank_pattern', 'alpha_pattern']) {
      expect([field, config[field]]).toEqual([field, original[field]]);
    }
    expect([...(config.target_modules as string[])].sort()).toEqual([...(original.target_modules as string[])].sort());
  },
);

test.each([
  ...['expression', 'convolutions', 'transposed', 'biasAll', 'modulesToSave'],
  ...['dora', 'doraKinds', 'ia3', 'vera', 'loha', 'lokr'],
])(
  'what is imported from %s of the larger network is exported with the tensors and strengths that it had',
  async name => {
    const {model} = largeNetwork(true);
    const files = peftFiles('made', name);
    const adapter = await loadAdapter(files, {model, keyMap: KEY_MAP});
    const exported = await exportPEFT(model, {adapter, keyMap: KEY_MAP});
    const [written, stored] = [exported.weights, files.weights].map(tensorsOf);
    for (const [key, tensor] of Object.entries(written!)) {
      const {shape, data} = stored![key] as {shape: number[]; data: Float32Array | null};
      expect(tensor).toMatchObject({shape, data});
    }
    const original = JSON.parse(files.config) as Record<string, unknown>;
    for (const [field, value] of Object.entries(exported.config)) {
      if (!/_modules$|_pattern$|^fan_in|^init_|^modules_|^(?:r|lora_alpha)$/.test(field)) {
        expect([field, value]).toEqual([field, original[field]]);
      }
    }
    const again = await loadAdapter(exported, {model, keyMap: KEY_MAP});
    expect(values(again)).toEqual(values(adapter));
    expect(again.config).toEqual(adapter.config);
  },
);

test('an adapter that trained here comes back equal from a file for PEFT', async () => {
  await withoutLeaks(async () => {
    const {model, inputs} = largeNetwork(true);
    const adapted = applyLoRA(model, {
      rank: 3,
      alpha: 5,
      rankStabilized: true,
      targets: ['tokens', 'line', 'volume', 'pointwise', /query/, 'mix'],
      trainInFull: ['batch', 'depthwise', 'layer_0_norm', 'head_out'],
      overrides: [{targets: ['line'], rank: 2, alpha: 7}],
      bias: 'all',
    });
    await train(adapted, inputs);
    const adapter = getAdapter(adapted);
    const again = await loadAdapter(await exportPEFT(adapted, {adapter, keyMap: KEY_MAP}), {model, keyMap: KEY_MAP});
    const sorted = ({layers, trainable, biases}: Adapter['config']) => ({
      layers,
      trainable: [...trainable].sort(),
      biases: [...(biases ?? [])].sort(),
    });
    expect(sorted(again.config)).toEqual(sorted(adapter.config));
    expect(values(again)).toEqual(values(adapter));
    const applied = applyLoRA(model, again);
    expect(predictions(applied, inputs)).toEqual(predictions(adapted, inputs));
    [adapter, again].forEach(each => each.dispose());
    [adapted, applied, model].forEach(each => each.dispose());
    tf.dispose(inputs);
  });
});

test.each([
  ['one output a channel', 1, 1],
  ['more outputs than the rank', 4, 2],
  ['fewer outputs than the rank', 2, 3],
])(
  'an update of a depthwise convolution with %s has the same delta after a file for PEFT',
  async (_, multiplier, rank) => {
    const model = tf.sequential({
      layers: [
        tf.layers.depthwiseConv2d({
          kernelSize: [2, 3],
          depthMultiplier: multiplier,
          name: 'depth',
          inputShape: [5, 6, 3],
        }),
      ],
    });
    stir(model);
    const adapted = applyLoRA(model, {rank, alpha: 3, targets: ['depth']});
    stirFactors(adapted);
    const x = tf.randomNormal([2, 5, 6, 3], 0, 1, 'float32', 3);
    const exported = await exportPEFT(model, {adapter: getAdapter(adapted)});
    // PEFT asks for a rank that the groups divide.
    expect((exported.config.r as number) % 3).toBe(0);
    const again = applyLoRA(model, await loadAdapter(exported, {model}));
    expect(predictions(again, [x])[0]).toBeAllClose(predictions(adapted, [x])[0]!, {atol: 1e-5, rtol: 0});
  },
);

describe('the config', () => {
  test('says what PEFT has to know', async () => {
    const {config, weights} = await exportOf(mlp(['one', 3], ['two', 5]), {rank: 2, alpha: 6});
    expect(config).toEqual({
      alpha_pattern: {},
      base_model_name_or_path: null,
      bias: 'none',
      fan_in_fan_out: false,
      inference_mode: true,
      init_lora_weights: true,
      lora_alpha: 6,
      lora_bias: false,
      lora_dropout: 0,
      modules_to_save: null,
      peft_type: 'LORA',
      r: 2,
      rank_pattern: {},
      target_modules: ['one', 'two'],
      task_type: null,
      use_dora: false,
      use_rslora: false,
    });
    expect(Object.keys(tensorsOf(weights))).toEqual([
      'base_model.model.one.lora_A.weight',
      'base_model.model.one.lora_B.weight',
      'base_model.model.two.lora_A.weight',
      'base_model.model.two.lora_B.weight',
    ]);
    expect(Object.fromEntries(decodeSafetensors(weights).metadata)).toEqual({format: 'pt'});
  });

  test('has a pattern for each strength that differs', async () => {
    const model = mlp(['one', 3], ['two', 5], ['three', 4], ['x.one', 4]);
    const overrides = [
      {targets: ['one'], rank: 3, alpha: 3},
      {targets: ['x.one'], alpha: 1},
    ];
    const {config} = await exportOf(model, {rank: 2, alpha: 4, overrides});
    expect(config).toMatchObject({
      r: 2,
      lora_alpha: 4,
      rank_pattern: {'^one': 3},
      alpha_pattern: {'^one': 3, [String.raw`^x\.one`]: 1},
    });
  });

  test('has one way of scaling, in which others are expressed', async () => {
    const model = mlp(['one', 4], ['two', 4]);
    const all = await exportOf(model, {rank: 4, alpha: 6, rankStabilized: true});
    expect(all.config).toMatchObject({use_rslora: true, lora_alpha: 6});
    const overrides = [{targets: ['one'], rankStabilized: false}];
    const some = await exportOf(model, {rank: 4, alpha: 6, rankStabilized: true, overrides});
    // 6 / √4 = 12 / 4
    expect(some.config).toMatchObject({use_rslora: false, lora_alpha: 6, alpha_pattern: {'^two': 12}});
  });

  test('names its targets by an expression where a name is also the end of another', async () => {
    const model = mlp(['x.fc', 3], ['fc', 3]);
    const {config} = await exportOf(model, {rank: 1, targets: [/^fc$/]});
    expect(config.target_modules).toBe('fc');
  });

  test('has the names that the key map gives, by table or by function', async () => {
    const model = mlp(['layer_0_query', 3], ['layer_1_query', 3]);
    const keyMaps = [
      {'encoder.*.query': 'layer_*_query'},
      (name: string) => name.replace(/layer_(\d)_/, 'encoder.$1.'),
    ];
    for (const keyMap of keyMaps) {
      const {config} = await exportOf(model, {rank: 1}, {keyMap});
      expect(config.target_modules).toEqual(['encoder.0.query', 'encoder.1.query']);
    }
  });

  test('leaves out what the key map maps to null', async () => {
    const keyMap = (name: string) => (name === 'one' ? null : undefined);
    const {config} = await exportOf(mlp(['one', 3], ['two', 3]), {rank: 1}, {keyMap});
    expect(config.target_modules).toEqual(['two']);
  });
});

describe('the weights', () => {
  test.each([
    ['float16', 'F16'],
    ['bfloat16', 'BF16'],
  ] as const)('are of half the size as %s', async (dtype, stored) => {
    const {weights} = await exportOf(mlp(['one', 3]), {rank: 1}, {dtype});
    const {tensors} = decodeSafetensors(weights);
    expect([...tensors.values()].map(each => each.dtype)).toEqual([stored, stored]);
  });

  test('of a normalization have the counter without which PEFT does not load them', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({units: 3, name: 'one', inputShape: [4]}),
        tf.layers.batchNormalization({name: 'batch'}),
      ],
    });
    const {weights} = await exportOf(model, {rank: 1, trainInFull: ['batch']});
    const counter = tensorsOf(weights)['base_model.model.batch.num_batches_tracked'];
    expect(counter).toEqual({dtype: 'I64', shape: [], data: null});
  });
});

describe('is refused:', () => {
  async function refusal(model: tf.LayersModel, config: LoRAConfig, options = {}): Promise<string> {
    const error: unknown = await exportOf(model, config, options).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(LoRAError);
    return (error as LoRAError).message;
  }

  test('a base that trains along', async () => {
    expect(await refusal(mlp(['one', 3]), {rank: 1, freezeBaseLayer: false})).toContain('one: its base trains too');
  });

  test('biases that train with another method than LoRA', async () => {
    const config = {method: 'ia3', targets: ['one'], bias: 'adapted'} as const;
    expect(await refusal(mlp(['one', 3]), config)).toContain('one: its bias trains too, which PEFT supports only with');
  });

  test('kinds of layers that PEFT does not adapt or PyTorch does not have, all at once', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.conv2dTranspose({filters: 2, kernelSize: 2, name: 'up', inputShape: [4, 4, 2]}),
        tf.layers.reshape({targetShape: [5, 10]}),
        tf.layers.gru({units: 3, name: 'gru'}),
        tf.layers.dense({units: 2, name: 'head'}),
      ],
    });
    const words = tf.sequential({layers: [tf.layers.embedding({inputDim: 5, outputDim: 4, name: 'words'})]});
    expect(await refusal(words, {method: 'loha', rank: 1, targets: ['words']})).toContain(
      '  words: PEFT has no updates of the class Embedding by the method loha.',
    );
    const message = await refusal(model, {rank: 1, targets: ['up'], trainInFull: ['gru']});
    expect(message).toContain('  up: PEFT has no updates of the class Conv2DTranspose.');
    expect(message).toContain('  gru: of class GRU, whose weights do not correspond to one PyTorch module.');
    expect(await refusal(model, {rank: 1, targets: ['head'], bias: 'all'})).toContain('gru: a bias of the class GRU');
  });

  test('DoRA of a grouped convolution', async () => {
    const depthwise = tf.layers.depthwiseConv2d({kernelSize: 2, name: 'deep', inputShape: [4, 4, 2]});
    const model = tf.sequential({layers: [depthwise]});
    expect(await refusal(model, {method: 'dora', rank: 1, targets: ['deep']})).toContain(
      'deep: PEFT has no DoRA for grouped convolutions.',
    );
  });

  test('no whole module for the sake of a layer without weights', async () => {
    const model = mlp(['one', 3], ['classes', 2]);
    model.add(tf.layers.softmax({name: 'softmax_classes'}));
    const {config} = await exportOf(model, {rank: 1, targets: ['one'], trainInFull: ['classes']});
    expect(config.modules_to_save).toEqual(['classes']);
  });

  test('whole modules whose name ends as that of another', async () => {
    const message = await refusal(mlp(['fc', 3], ['x.fc', 3], ['one', 2]), {
      rank: 1,
      targets: ['one'],
      trainInFull: [/^fc$/],
    });
    expect(message).toContain('fc: PEFT would take x.fc for the same, because the names have the same end');
  });

  test('an adapter without an update, which PEFT does not load', async () => {
    const message = await refusal(mlp(['one', 3], ['two', 3]), {targets: ['one'], trainInFull: ['one', 'two']});
    expect(message).toContain('PEFT loads only adapters with a low-rank update');
    expect(message).not.toContain('PEFT trains only tokens'); // a fault of adapters with tokens
  });

  test('two layers for one module', async () => {
    const keyMap = () => 'same';
    expect(await refusal(mlp(['one', 3], ['two', 3]), {rank: 1}, {keyMap})).toContain(
      'Layers one and two would both be module "same"',
    );
  });

  test('numbers that are not finite, unless they are allowed', async () => {
    const base = mlp(['one', 3]);
    const adapter = getAdapter(applyLoRA(base, {rank: 1}));
    const tensors = {...adapter.tensors, 'one/lora_B': tf.fill([1, 3], NaN)};
    const broken = {...adapter, tensors};
    const name = 'base_model.model.one.lora_B.weight';
    await expect(exportPEFT(base, {adapter: broken})).rejects.toThrow(
      `${name}: NaN or infinite, so nothing is written.`,
    );
    const {weights} = await exportPEFT(base, {adapter: broken, allowNonFinite: true});
    expect([...decodeSafetensors(weights).tensors.get(name)!.data!]).toEqual([NaN, NaN, NaN]);
  });

  test('another model, and a type that does not exist', async () => {
    const adapter = getAdapter(applyLoRA(mlp(['one', 3]), {rank: 1}));
    await expect(exportPEFT(mlp(['two', 3]), {adapter})).rejects.toThrow('one: not in the model');
    await expect(exportPEFT(mlp(['one', 3]), {adapter, dtype: 'F16' as 'float16'})).rejects.toThrow(
      'dtype must be one of',
    );
  });
});

const adapted = () =>
  applyLoRA(
    tf.sequential({
      layers: [
        tf.layers.dense({units: 4, inputShape: [4], name: 'hidden'}),
        tf.layers.dense({units: 2, inputShape: [4], name: 'out'}),
      ],
    }),
    {rank: 2, alpha: 4, seed: 1, targets: ['hidden'], trainInFull: ['out']},
  );

test('a card says how the adapter was made', async () => {
  const model = adapted();
  model.compile({optimizer: adamW({learningRate: 0.01}), loss: 'meanSquaredError'});
  const history = await model.fit(tf.zeros([4, 4]), tf.ones([4, 2]), {epochs: 2, verbose: 0});
  const card = modelCard(model, {
    name: 'Tones: "warm"\n# not a title',
    description: 'Judges tones.',
    baseModel: 'some/base',
    license: 'mit',
    data: {training: 900, validation: 100},
    settings: {'batch size': 16, 'loss | weights': 'a|b'},
    history,
  });
  const [, header, body] = card.split('---\n', 3);
  expect(header).toBe('base_model: "some/base"\nlibrary_name: "peft"\nlicense: "mit"\ntags: ["lora","tfjs-lora"]\n');
  expect(body).toMatch(/^\n# Tones: "warm" # not a title\n\nJudges tones\.\n\n## Adapter\n/);
  const rows = [
    '| method | lora |',
    '| rank | 2 |',
    '| alpha | 4 |',
    '| adapted layers | 1 |',
    '| layers that train in full | out |',
    '| trained parameters | 26 of 46 |', // 2·(4 + 4) and 4·2 + 2, of 20 + 16 + 10
    '| learningRate | 0.01 |',
    '| epochs | 2 |',
    '| batch size | 16 |',
    '| loss \\| weights | a\\|b |',
    '| training | 900 |',
    '| validation | 100 |',
    `| loss | ${Number(Number(history.history.loss!.at(-1)).toPrecision(6))} |`,
  ];
  rows.forEach(row => expect(card.split('\n')).toContain(row));
});

test('a card without options says what the model knows', () => {
  const card = modelCard(adapted());
  expect(card).toContain('# LoRA adapter');
  expect(card).not.toContain('## Training');
  expect(card).not.toContain('## Results');
});

test('errors say what is wrong', () => {
  expect(() => modelCard(tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [1]})]}))).toThrow(LoRAError);
  expect(() => modelCard(adapted(), {name: 1 as never})).toThrow('name must be a string, got a number.');
  expect(() => modelCard(adapted(), {data: [1] as never})).toThrow(
    'data must be an object of values by name, got an array.',
  );
  expect(() => modelCard(adapted(), {history: {} as never})).toThrow('history must be what fit returned');
});
