import * as tf from '@tensorflow/tfjs';
import type {LoRAConfig} from '../../../src/core/model/config';
import type {LoRAStrength} from '../../../src/core/methods/method';
import {LoRAError} from '../../../src/platform/errors';
import {adaptableClasses} from '../../../src/core/layers/registry';
import {getAdapter} from '../../../src/core/model/currentAdapter';
import {combineAdapters} from '../../../src/core/adapter/combine';
import {scaleAdapter} from '../../../src/core/adapter/scale';
import {applyLoRA} from '../../../src/core/model/apply';
import {summarizeLoRA} from '../../../src/core/model/summary';
import {loraSites} from '../../../src/core/model/adapted';
import {sitesOf} from '../../../src/core/rewire/walk';
import {numbers, withoutLeaks} from '../../helpers';
import {baseWeights, cnn, mlp, nested, stirFactors} from '../../models';

function adaptedPaths(model: tf.LayersModel): string[] {
  return loraSites(model).map(({path}) => path);
}

function trainedPaths(model: tf.LayersModel): string[] {
  return sitesOf(model)
    .filter(({layer}) => layer.getClassName() === 'tfjs-lora>TrainedLayer')
    .map(({path}) => path);
}

describe('targets', () => {
  const everything = ['body/first', 'body/second', 'head'];
  test.each<[what: string, config: LoRAConfig, paths: string[]]>([
    ['all by default', {}, everything],
    ['all', {targets: 'all'}, everything],
    ['a name', {targets: ['first']}, ['body/first']],
    ['a path', {targets: ['body/second']}, ['body/second']],
    ['the name of a container', {targets: ['body']}, ['body/first', 'body/second']],
    ['a class', {targets: ['Dense']}, everything],
    ['the class of a container', {targets: ['Sequential']}, ['body/first', 'body/second']],
    ['a pattern for names', {targets: [/^h/]}, ['head']],
    ['a pattern for paths', {targets: [/^body\/f/]}, ['body/first']],
    ['a pattern with memory', {targets: [/d/g]}, everything],
    ['several entries', {targets: ['head', /first/]}, ['body/first', 'head']],
    ['all but some', {exclude: ['body']}, ['head']],
    ['some of a class', {targets: ['Dense'], exclude: [/second|head/]}, ['body/first']],
    ['all but what trains in full', {trainInFull: ['head']}, ['body/first', 'body/second']],
    ['not what trains in full', {targets: ['Dense'], trainInFull: ['body']}, ['head']],
  ])('can be %s', (_, config, paths) => {
    expect(adaptedPaths(applyLoRA(nested().model, {rank: 1, ...config} as LoRAConfig))).toEqual(paths);
  });

  test('take in both classes that can be adapted, and no others', () => {
    const adapted = applyLoRA(cnn().model, {rank: 1});
    expect(loraSites(adapted).map(({layer}) => layer.getClassName())).toEqual([
      'tfjs-lora>LoRAConv2D',
      'tfjs-lora>LoRADense',
    ]);
    expect(adaptedPaths(applyLoRA(cnn().model, {rank: 1, targets: ['Conv2D']}))).toEqual(['conv']);
  });

  test('need not leave anything but layers that train in full', () => {
    const config = {trainInFull: ['head', 'norm'], exclude: ['conv']};
    const adapted = applyLoRA(cnn().model, config);
    expect(adaptedPaths(adapted)).toEqual([]);
    expect(trainedPaths(adapted)).toEqual(['norm', 'head']);
    expect(adapted.trainableWeights.map(w => w.originalName)).toEqual([
      'norm/gamma',
      'norm/beta',
      'head/kernel',
      'head/bias',
    ]);
  });
});

describe('strengths', () => {
  function strengths(config: LoRAConfig): Record<string, Required<LoRAStrength>> {
    const adapted = applyLoRA(nested().model, config);
    return Object.fromEntries(
      loraSites(adapted).map(({path, layer}) => {
        const {rank, alpha, rankStabilized} = layer;
        return [path, {rank, alpha, rankStabilized}];
      }),
    );
  }

  test('are overridden by the first entry that matches, option by option', () => {
    const config: LoRAConfig = {
      rank: 2,
      alpha: 6,
      overrides: [
        {targets: ['first'], rank: 1},
        {targets: ['body'], alpha: 4, rankStabilized: true},
        {targets: [/./], rank: 3, alpha: 3},
      ],
    };
    expect(strengths(config)).toEqual({
      'body/first': {rank: 1, alpha: 6, rankStabilized: false},
      'body/second': {rank: 2, alpha: 4, rankStabilized: true},
      head: {rank: 3, alpha: 3, rankStabilized: false},
    });
  });

  test('have alpha = rank where alpha is not given, an overridden rank included', () => {
    const config = {rank: 2, overrides: [{targets: ['head'], rank: 3}]};
    expect(strengths(config).head).toEqual({rank: 3, alpha: 3, rankStabilized: false});
  });

  test.each([
    [false, 8 / 6],
    [true, 8 / Math.sqrt(6)],
  ])(
    'of named layers above min(fan-in, fan-out) are lowered at the same scaling (stabilized: %s)',
    (rankStabilized, scaling) => {
      const warn = jest.spyOn(console, 'warn').mockImplementation();
      const adapted = applyLoRA(nested().model, {rank: 6, alpha: 8, rankStabilized, targets: ['Dense']});
      const sites = loraSites(adapted);
      // Kernels of 5×6, 6×4 and 4×3.
      expect(sites.map(({layer}) => layer.rank)).toEqual([5, 4, 3]);
      sites.forEach(({layer}) => expect(layer.scaling).toBeCloseTo(scaling));
      expect(warn).toHaveBeenCalledTimes(1);
      expect(warn.mock.calls[0]![0]).toMatch(
        /body\/first: 5 instead of 6, body\/second: 4 instead of 6, head: 3 instead of 6/,
      );
    },
  );
});

describe("the rank of a layer that 'all' takes in", () => {
  /** A body of 64 features and a head of some outputs. */
  function classifier(outputs: number): tf.LayersModel {
    return tf.sequential({
      layers: [
        tf.layers.dense({units: 64, inputShape: [80], name: 'body', kernelInitializer: 'ones'}),
        tf.layers.dense({units: outputs, name: 'head', kernelInitializer: 'ones'}),
      ],
    });
  }
  const headOf = (model: tf.LayersModel) => loraSites(model)[1]!.layer;

  test.each([
    // 8·(64 + 10) = 592 numbers for 640; 5·69 = 345 for 320, 4·69 = 276; 2·67 = 134 for 192; 1·66 for 128.
    [10, 8],
    [5, 4],
    [3, 2],
    [2, 1],
    // With one output the update has one number more than the kernel, whatever the rank.
    [1, 1],
  ])('is such that the update of a Dense 64 → %i has fewer parameters than the kernel: %i', (outputs, rank) => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    for (const config of [{}, {targets: 'all'}, {targets: ['head', 'body']}] as LoRAConfig[]) {
      const adapted = applyLoRA(classifier(outputs), config);
      expect(headOf(adapted)).toMatchObject({rank, scaling: 1});
      expect(loraSites(adapted)[0]!.layer.rank).toBe(8);
    }
    expect(warn).not.toHaveBeenCalled();
  });

  test('is lowered without a warning if a rank for all layers is more than the kernel can hold; the summary shows it', () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    const adapted = applyLoRA(classifier(5), {rank: 8, alpha: 16});
    expect(headOf(adapted)).toMatchObject({rank: 4, alpha: 8, scaling: 2});
    expect(warn).not.toHaveBeenCalled();
    const summary = summarizeLoRA(adapted);
    expect(summary.layers[1]).toMatchObject({rank: 4, cappedFrom: 8, trainableParameters: 276});
    expect(String(summary)).toMatch(/head +Dense +64×5 +4 \(not 8\)/);
    expect(String(summary)).toContain('(not n): at rank n the update would add nothing, or have no fewer parameters');
  });

  test('is what was asked for where the kernel holds it', () => {
    expect(headOf(applyLoRA(classifier(5), {rank: 5})).rank).toBe(5);
  });

  test('is warned of where it was asked for this layer, and lowered no further than the kernel holds', () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    const asked: LoRAConfig[] = [{rank: 8, targets: ['head', 'body']}, {overrides: [{targets: ['head'], rank: 8}]}];
    for (const [i, config] of asked.entries()) {
      expect(headOf(applyLoRA(classifier(5), config)).rank).toBe(5);
      expect(warn).toHaveBeenCalledTimes(i + 1);
      expect(warn.mock.calls[i]![0]).toMatch(/Lowered, with the same scaling: head: 5 instead of 8\.$/);
    }
  });

  test('counts all kernels of a layer that has several', () => {
    const model = tf.sequential({layers: [tf.layers.lstm({units: 3, inputShape: [2, 4], name: 'lstm'})]});
    // Kernels 4×12 and 3×12 hold 84 numbers; updates of rank 2 hold 2·16 + 2·15, of rank 3 93.
    expect(loraSites(applyLoRA(model))[0]!.layer.rank).toBe(2);
  });

  test('lets adapters made with defaults be combined, scaled and averaged', async () => {
    const base = classifier(5);
    const [one, other] = [1, 2].map(seed => {
      const adapted = applyLoRA(base, {seed});
      stirFactors(adapted, seed);
      return adapted;
    }) as [tf.LayersModel, tf.LayersModel];
    const mean = await combineAdapters([one, other].map(model => ({adapter: getAdapter(model), weight: 0.5})));
    const half = scaleAdapter(getAdapter(one), 0.5);
    const deltas = [one, other, applyLoRA(base, mean), applyLoRA(base, half)].map(model =>
      numbers(headOf(model).loraLayer.delta()),
    );
    const [a, b, ofMean, ofHalf] = deltas as [number[], number[], number[], number[]];
    expect(ofMean).toBeAllClose(a.map((value, i) => (value + b[i]!) / 2));
    expect(ofHalf).toBeAllClose(a.map(value => value / 2));
  });
});

describe('applyLoRA refuses', () => {
  const inventory = /The model has: hidden \(Dense\), head \(Dense\)\./;

  test.each<[what: string, config: unknown, ...messages: (string | RegExp)[]]>([
    ['an invalid rank', {rank: 0}, 'rank must be a positive integer, got 0.'],
    ["PEFT's name of the rank", {r: 4}, 'There is no option "r".', 'PEFT\'s "r" is called rank here.'],
    ["PEFT's names", {lora_alpha: 8, target_modules: ['q']}, 'is called alpha here', 'is called targets here'],
    ['an invalid alpha', {alpha: NaN}, 'alpha must be a finite number', 'got NaN'],
    ['an option that does not exist', {ranks: 4}, 'There is no option "ranks"', 'rank, alpha'],
    ['an empty list of targets', {targets: []}, /targets must be a list.*not empty/],
    ['targets that are no list', {targets: 'dense'}, /targets must be a list.*"dense"/],
    ['a target that is no matcher', {targets: [3]}, 'targets holds 3'],
    ['a target that names nothing', {targets: ['dens']}, 'No layer matches target "dens"', inventory],
    ['a pattern that fits nothing', {targets: [/x/]}, 'No layer matches target /x/', inventory],
    ['an exclusion that names nothing', {exclude: ['x']}, 'matches exclude "x"', inventory],
    ['an entry of trainInFull that names nothing', {trainInFull: ['x']}, 'matches trainInFull "x"', inventory],
    ['an override that names nothing', {overrides: [{targets: ['x'], rank: 1}]}, 'matches override "x"', inventory],
    ['an override without targets', {overrides: [{rank: 1}]}, 'overrides[0].targets must be a list'],
    ['overrides that are no list', {overrides: {targets: ['head']}}, 'overrides'],
    ['an invalid override', {overrides: [null]}, 'overrides'],
    ['an override with an invalid rank', {overrides: [{targets: ['head'], rank: -1}]}, 'got -1'],
    ['an override with another option', {overrides: [{targets: ['head'], seed: 1}]}, 'There is no option "seed"'],
    ['an invalid flag', {freezeBaseLayer: 'no'}, 'freezeBaseLayer must be true or false'],
    ['an invalid seed', {seed: 0.5}, 'seed must be an integer, got 0.5'],
    ['an initializer that does not exist', {init: 'nothing'}, 'nothing'],
    ['the exclusion of everything', {exclude: ['Dense']}, 'There is nothing to adapt.'],
    ['an invalid config', null, 'The config must be an object'],
    ['a config that is a number', 8, 'The config must be an object'],
    ['a promise of an adapter', Promise.resolve(), 'got a promise: await it'],
    ['a rank that no JSON holds', {rank: 8n}, 'rank must be a positive integer, got bigint'],
    [
      'several faults, all told at once',
      {rank: 0, targets: [], seed: 0.5, biass: 'all'},
      'rank must be',
      'targets must be',
      'seed must be',
      '"biass"',
    ],
    [
      'several matchers that name nothing, all told at once',
      {targets: ['one', 'hidden'], exclude: ['two']},
      'target "one"',
      'exclude "two"',
    ],
  ])('%s, and leaves everything as it was', async (_, config, ...messages) => {
    const {model} = mlp();
    const before = baseWeights(model);
    const apply = () => applyLoRA(model, config as LoRAConfig);
    await withoutLeaks(() => {
      expect(apply).toThrow(LoRAError);
      messages.forEach(message => expect(apply).toThrow(message));
    });
    expect(baseWeights(model)).toEqual(before);
    expect(model.trainableWeights).toHaveLength(4);
  });

  test('a target that names nothing in a model of many layers, with the five that are most like it', () => {
    const names = ['stem', 'one', 'two', 'three', 'query', 'key', 'value', 'tail'];
    const layers = names.map(name => tf.layers.dense({units: 3, inputShape: [3], name}));
    expect(() => applyLoRA(tf.sequential({layers}), {targets: ['querys', 'valu']})).toThrow(
      [
        'No layer matches target "querys". Closest: query.',
        'No layer matches target "valu". Closest: value.',
        'The model has 8 layers, such as:',
        '  query (Dense)',
        '  value (Dense)',
        '  stem (Dense)',
        '  one (Dense)',
        '  two (Dense)',
      ].join('\n'),
    );
  });

  test('a target that cannot be adapted, saying what can', () => {
    const {model} = cnn();
    expect(() => applyLoRA(model, {targets: ['pool', 'head']})).toThrow(
      `Layer "pool": LoRA cannot adapt a MaxPooling2D. Adaptable: ${adaptableClasses().join(', ')}.`,
    );
    expect(() => applyLoRA(model, {trainInFull: ['flat']})).toThrow('Layer "flat": A Flatten has no weights to train.');
  });

  test("nothing but layers that 'all' leaves, each with its reason", () => {
    const model = tf.sequential({
      layers: [
        tf.layers.depthwiseConv2d({kernelSize: 2, name: 'depthwise', inputShape: [4, 4, 2]}),
        tf.layers.separableConv2d({filters: 2, kernelSize: 2, depthMultiplier: 2, name: 'separable'}),
      ],
    });
    const message = new RegExp(
      '^There is nothing to adapt\\. Adaptable: .*\\.\n' +
        'Layer "depthwise": The kernel of a DepthwiseConv2D .* To adapt it anyway, name it in targets\\.\n' +
        'Layer "separable": tfjs forgets depthMultiplier 2 .* or exclude the layer\\.$',
    );
    expect(() => applyLoRA(model)).toThrow(LoRAError);
    expect(() => applyLoRA(model)).toThrow(message);
  });

  test('a model with nothing to adapt', () => {
    const model = tf.sequential({layers: [tf.layers.layerNormalization({inputShape: [3]})]});
    expect(() => applyLoRA(model)).toThrow(/There is nothing to adapt. Adaptable: .* \(LayerNormalization\)/);
  });

  test('a model that is adapted already', async () => {
    const adapted = applyLoRA(mlp().model, {rank: 1, targets: ['head']});
    await withoutLeaks(() => {
      expect(() => applyLoRA(adapted, {rank: 1})).toThrow(LoRAError);
      expect(() => applyLoRA(adapted, {rank: 1})).toThrow(/adapted already/);
    });
  });

  test('a model that is adapted already, by the layers that have an update', () => {
    const apply = (options: LoRAConfig) => () => applyLoRA(applyLoRA(mlp().model, {rank: 1, ...options} as LoRAConfig));
    expect(mlp().model.layers.map(({name}) => name)).toEqual(expect.arrayContaining(['hidden', 'head']));
    expect(apply({targets: ['head']})).toThrow('The model is adapted already (head). First remove');
    expect(apply({targets: ['head'], trainInFull: ['hidden']})).toThrow(
      'The model is adapted already (head). First remove',
    );
  });

  test('a model that is adapted already, by at most three of its layers', () => {
    const layers = (count: number) =>
      Array.from({length: count}, (_, i) => tf.layers.dense({units: 2, name: `d${i}`, inputShape: [2]}));
    const apply = (count: number) => () =>
      applyLoRA(applyLoRA(tf.sequential({layers: layers(count)}), {rank: 1, targets: 'all'}));
    expect(apply(3)).toThrow('The model is adapted already (d0, d1, d2). First');
    expect(apply(4)).toThrow('The model is adapted already (d0, d1, d2, …). First');
  });

  test('a model without layers', () => {
    expect(() => applyLoRA(tf.sequential())).toThrow('The model is not built');
  });

  test('a GraphModel, with the way out', () => {
    const model = new tf.GraphModel('model.json') as unknown as tf.LayersModel;
    expect(() => applyLoRA(model)).toThrow(LoRAError);
    expect(() => applyLoRA(model)).toThrow(/fromGraphModel.*tfjs-lora\/graph.*toGraphModel/);
  });

  test.each([
    ['a text', 'model'],
    ['null', null],
    ['a layer', 'layer'],
    ['an object', {layers: []}],
  ])('what is no model: %s', (_, value) => {
    const model = value === 'layer' ? tf.layers.dense({units: 2}) : value;
    expect(() => applyLoRA(model as unknown as tf.LayersModel)).toThrow('The model must be a tf.LayersModel');
  });
});
