import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {
  applyLoRA,
  loadAdapter,
  type KeyMap,
  LoRAError,
  mergeLoRA,
  type PEFTFiles,
  removeLoRA,
  setAdapter,
} from '../../../src';
import {whyNoTokenRows} from '../../../src/core/peft/torchLayers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {withoutLeaks} from '../../helpers';
import {predictions, train} from '../../models';
import {expectedOf, KEY_MAP, largeNetwork, type Network, peftFiles, smallNetwork} from '../../peftNetworks';

const SMALL = ['lora', 'rslora', 'modules_to_save', 'bias_lora_only'];
/** Adapters of the larger network, and whether its depthwise convolution is one in tfjs. */
const MADE: [name: string, depthwise: boolean][] = [
  ['expression', true],
  ['allLinear', true],
  ['convolutions', true],
  ['transposed', true],
  ['embedding', true],
  ['biasAll', true],
  ['loraBias', true],
  ['loraBiasOnly', true],
  ['modulesToSave', true],
  ['grouped', false],
  ['depthwise', true],
  ['depthwise', false],
  ['dora', true],
  ['doraKinds', true],
  ['ia3', true],
  ['vera', true],
  ['pissa', true],
  ['olora', true],
  ['loha', true],
  ['lohaWide', true],
  ['lokr', true],
  ['lokrBoth', true],
];

const CASES: [name: string, folder: string[], make: () => Network][] = [
  ...SMALL.map(name => [name, [name], smallNetwork] as [string, string[], () => Network]),
  ...MADE.map(([name, depthwise]) => {
    const title = `${name}${depthwise ? '' : ', as a full convolution'}`;
    return [title, ['made', name], () => largeNetwork(depthwise)] as [string, string[], () => Network];
  }),
];

/** Values in a shape, no two of them equal. */
function filled(shape: readonly number[]): NamedValues {
  const size = shape.reduce((product, axis) => product * axis, 1);
  return {shape, data: Float32Array.from({length: size}, (_, i) => i + 1)};
}

const TOLERANCE = {atol: 1e-5, rtol: 0};

test('the networks compute in tfjs what they compute in PyTorch', () => {
  for (const {model, inputs, y} of [smallNetwork(), largeNetwork(true), largeNetwork(false)]) {
    expect(predictions(model, inputs)[0]).toBeAllClose(y, TOLERANCE);
  }
});

test.each(CASES)('the adapter %s of PEFT gives its outputs and its merged weights', async (_, folder, make) => {
  const {model, inputs, torchWeight, torchNames} = make();
  const {y, y_merged: yMerged, merged: weights = {}} = expectedOf(...folder);
  const original = predictions(model, inputs);
  const adapter = await loadAdapter(peftFiles(...folder), {model, keyMap: KEY_MAP});
  const adapted = applyLoRA(model, adapter);
  expect(predictions(adapted, inputs)[0]).toBeAllClose(y.data, TOLERANCE);
  const merged = mergeLoRA(adapted);
  expect(predictions(merged, inputs)[0]).toBeAllClose((yMerged ?? y).data, TOLERANCE);
  for (const [name, {data}] of Object.entries(weights).filter(([each]) => torchNames.includes(each))) {
    expect(torchWeight(merged, name)).toBeAllClose(data, TOLERANCE);
  }
  expect(predictions(removeLoRA(adapted), inputs)).toEqual(original);
});

describe('an adapter of PEFT', () => {
  /** The files of the small adapter, with something changed. */
  function changed(changes: Record<string, unknown>, rename: (name: string) => string = name => name) {
    const files = peftFiles('lora');
    const {tensors} = decodeSafetensors(files.weights);
    const renamed = [...tensors].map(([name, {shape, data}]) => [rename(name), {shape, data: data!}] as const);
    return {
      config: {...(JSON.parse(files.config) as object), ...changes},
      weights: encodeSafetensors(Object.fromEntries(renamed), {metadata: {format: 'pt'}}),
    };
  }

  test('is recorded with the strength of each layer, by the first pattern that matches', async () => {
    const {model} = largeNetwork(true);
    const {config} = await loadAdapter(peftFiles('made', 'expression'), {model, keyMap: KEY_MAP});
    const strengths = Object.entries(config.layers).map(([path, {rank, alpha}]) => [path, rank, alpha]);
    expect(strengths.sort()).toEqual([
      ['layer_0_query', 2, 3],
      ['layer_0_value', 2, 7],
      ['layer_1_query', 3, 3],
      ['layer_1_value', 2, 5],
    ]);
  });

  test('of a rank beyond what a layer holds is reduced to that, with the scaling it had', async () => {
    const {model} = largeNetwork(true);
    const {config} = await loadAdapter(peftFiles('made', 'allLinear'), {model, keyMap: KEY_MAP});
    for (const [path, {rank, alpha}] of Object.entries(config.layers)) {
      const [fanIn, fanOut] = model.getLayer(path).getWeights()[0]!.shape as [number, number];
      expect(rank).toBe(Math.min(fanIn, fanOut, 9));
      expect(alpha / Math.sqrt(rank)).toBeCloseTo(4 / Math.sqrt(9), 12);
    }
    const {layers} = (await loadAdapter(peftFiles('made', 'embedding'), {model, keyMap: KEY_MAP})).config;
    expect(layers.tokens).toMatchObject({rank: 6, alpha: 3});
  });

  test('may have its config as an object', async () => {
    const {model} = smallNetwork();
    const {config, weights} = peftFiles('lora');
    const adapter = await loadAdapter({config: JSON.parse(config) as Record<string, unknown>, weights}, {model});
    expect(adapter.config).toEqual((await loadAdapter({config, weights}, {model})).config);
  });

  test('may lack the prefix, and may have the name of the adapter in its names', async () => {
    const {model} = smallNetwork();
    const expected = (await loadAdapter(peftFiles('lora'), {model})).config;
    const bare = changed({}, name => name.replace('base_model.model.', ''));
    const named = changed({}, name =>
      name.replace(/(lora_[AB])\.weight/, '$1.default.weight').replace(/(embedding_[AB])$/, '$1.default'),
    );
    expect((await loadAdapter(bare, {model})).config).toEqual(expected);
    expect((await loadAdapter(named, {model})).config).toEqual(expected);
  });

  test('is set on an adapted model like any other', async () => {
    const {model, inputs} = smallNetwork();
    const adapted = applyLoRA(model, {rank: 1, bias: 'adapted'});
    for (const name of ['lora', 'bias_lora_only', 'rslora']) {
      setAdapter(adapted, await loadAdapter(peftFiles(name), {model: adapted}));
      expect(predictions(adapted, inputs)[0]).toBeAllClose(expectedOf(name).y.data, TOLERANCE);
    }
  });

  test('shifts the original bias of a model that has trained its own', async () => {
    const {model, inputs} = largeNetwork(true);
    const adapted = applyLoRA(model, {
      rank: 1,
      bias: 'all',
      targets: ['layer_0_query', 'layer_1_query', 'volume', 'head_hidden'],
    });
    await train(adapted, inputs);
    setAdapter(adapted, await loadAdapter(peftFiles('made', 'loraBias'), {model: adapted, keyMap: KEY_MAP}));
    expect(predictions(adapted, inputs)[0]).toBeAllClose(expectedOf('made', 'loraBias').y.data, TOLERANCE);
  });

  test('is imported without a tensor left over, whether it fits or not', async () => {
    const {model} = largeNetwork(true);
    await withoutLeaks(async () => {
      for (const name of ['biasAll', 'loraBias', 'loraBiasOnly', 'modulesToSave']) {
        (await loadAdapter(peftFiles('made', name), {model, keyMap: KEY_MAP})).dispose();
      }
      await expect(loadAdapter(peftFiles('lora'), {model})).rejects.toThrow(LoRAError);
    });
  });

  test('that a module is left out of by the key map is imported without it', async () => {
    const {model} = smallNetwork();
    const keyMap = (name: string) => (name === 'emb' ? null : undefined);
    const {config, tensors} = await loadAdapter(peftFiles('lora'), {model, keyMap});
    expect(Object.keys(config.layers)).toEqual(['conv1', 'conv2', 'fc1']);
    expect(Object.keys(tensors)).toHaveLength(6);
  });

  test('finds layers by the last part of a path where one alone has it', async () => {
    const {model} = smallNetwork();
    const deep = changed({}, name => name.replace('base_model.model.', 'base_model.model.net.body.'));
    expect((await loadAdapter(deep, {model})).config).toEqual((await loadAdapter(peftFiles('lora'), {model})).config);
  });

  test('takes no layer without weights for a module', async () => {
    const input = tf.input({shape: [8], name: 'fc1'});
    const dense = tf.layers.dense({units: 5, name: 'fc1', inputShape: [8]});
    const body = tf.sequential({layers: [dense], name: 'body'});
    const model = tf.model({inputs: input, outputs: body.apply(input) as tf.SymbolicTensor});
    const keyMap = (name: string) => (name === 'fc1' ? undefined : null);
    expect(Object.keys((await loadAdapter(peftFiles('lora'), {model, keyMap})).config.layers)).toEqual(['body/fc1']);
  });

  test('finds nested layers by equal paths', async () => {
    const body = tf.sequential({
      layers: [tf.layers.dense({units: 5, name: 'fc1', inputShape: [8]}), tf.layers.dense({units: 5, name: 'fc2'})],
      name: 'body',
    });
    const model = tf.sequential({layers: [body, tf.layers.dense({units: 3, name: 'fc1'})]});
    const {weights} = peftFiles('lora');
    const {tensors} = decodeSafetensors(weights);
    const own = ['A', 'B'].map(letter => {
      const {shape, data} = tensors.get(`base_model.model.fc1.lora_${letter}.weight`)!;
      return [`base_model.model.body.fc1.lora_${letter}.weight`, {shape, data: data!}] as const;
    });
    const files = {config: peftFiles('lora').config, weights: encodeSafetensors(Object.fromEntries(own))};
    expect(Object.keys((await loadAdapter(files, {model})).config.layers)).toEqual(['body/fc1']);
  });

  test('that names modules which are not there is refused with the closest names', async () => {
    const {model} = smallNetwork();
    const other = changed({}, name => name.replace('.fc1.', '.fcl.').replace('.conv2.', '.dense.3.'));
    const read = () => loadAdapter(other, {model});
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow("The adapter's modules do not match the model's layers:\n");
    await expect(read).rejects.toThrow(/\n {2}fcl: there is no such layer\. Closest: fc1, /);
    await expect(read).rejects.toThrow(/\n {2}dense\.3: there is no such layer\. Closest: /);
    await expect(read).rejects.toThrow('The model has: ');
  });

  test('that names very many modules which are not there is refused with ten of them', async () => {
    const files = peftFiles('lora');
    const {tensors} = decodeSafetensors(files.weights);
    const many = Array.from({length: 12}, (_, i) =>
      ['A', 'B'].map(letter => {
        const {shape, data} = tensors.get(`base_model.model.fc1.lora_${letter}.weight`)!;
        return [`base_model.model.absent${i}.lora_${letter}.weight`, {shape, data: data!}] as const;
      }),
    ).flat();
    const other = {config: files.config, weights: encodeSafetensors(Object.fromEntries(many))};
    const error: unknown = await loadAdapter(other, {model: smallNetwork().model}).catch((reason: unknown) => reason);
    const lines = (error as Error).message.split('\n');
    expect(lines.filter(line => /absent\d+: there is no such layer/.test(line))).toHaveLength(10);
    expect(lines[11]).toBe('  and 2 more');
  });

  test('whose key map is wrong is refused', async () => {
    const {model} = smallNetwork();
    const read = (keyMap: KeyMap) => () => loadAdapter(peftFiles('lora'), {model, keyMap});
    await expect(read({fc1: 'fc9'})).rejects.toThrow(
      '  fc1: keyMap gives "fc9"; there is no such layer. Closest: fc1, ',
    );
    await expect(read({fc1: 'conv1'})).rejects.toThrow('matches layer conv1, and so does conv1');
    await expect(read({'a.*': 'b'})).rejects.toThrow('as many * in one as in the other:\n  "a.*": "b"');
    await expect(read('fc1' as unknown as KeyMap)).rejects.toThrow('keyMap must be a function or a table');
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['of another method', {peft_type: 'ADALORA'}, /peft_type is "ADALORA"/],
    ['of no method', {peft_type: undefined}, /peft_type is undefined/],
    ['with DoRA and without magnitudes', {use_dora: true}, /fc1: no magnitude, though use_dora is true/],
    ['with parameters as targets', {target_parameters: ['w']}, /target_parameters is \["w"\]/],
    ['with tokens that are not there', {trainable_token_indices: [1]}, /has no embeddings of tokens/],
    ['with copied layers', {layer_replication: [[0, 2]]}, /layer_replication is/],
    ['with an activated adapter', {alora_invocation_tokens: [1]}, /alora_invocation_tokens/],
    ['started at random from the weight', {init_lora_weights: 'pissa_niter_4'}, /init_lora_weights is "pissa_niter_4"/],
    ['started from data', {init_lora_weights: 'corda'}, /"corda": .*path_initial_model_for_weight_conversion/],
    ['with DoRA from the weight', {use_dora: true, init_lora_weights: 'pissa'}, /this combination is not supported/],
    [
      'with PiSSA of a convolution',
      {init_lora_weights: 'pissa'},
      /conv1: PEFT has no updates for a Conv2D that start from its weight \(pissa\)/,
    ],
    ['with a quantised one', {use_qalora: true}, /use_qalora/],
    ['with an unknown bias', {bias: 'some'}, /bias is "some"/],
    ['with an invalid rank', {r: 0}, /rank must be a positive integer, got 0/],
    ['with an invalid strength', {lora_alpha: null}, /alpha must be/],
    ['with patterns that are none', {rank_pattern: ['fc1']}, /rank_pattern is \["fc1"\]/],
    ['with a pattern that is broken', {alpha_pattern: {'(': 2}}, /alpha_pattern: The pattern "\(" leaves a group open/],
    ['with a pattern for no number', {rank_pattern: {fc1: '3'}}, /rank_pattern: rank must be/],
    [
      'with tokens that are no ids',
      {trainable_token_indices: [1.5]},
      /trainable_token_indices is \[1\.5\], not a list of token ids, or lists by module/,
    ],
    [
      'with a module whose tokens are no ids',
      {trainable_token_indices: {emb: [1], other: [2, '3']}},
      /not a list of token ids, or lists by module/,
    ],
    ['with a number of tokens for a list', {trainable_token_indices: {emb: 5}}, /not a list of token ids/],
    ['with names that are none', {modules_to_save: 'head'}, /modules_to_save is "head"/],
    ['with a bias that PEFT does not have', {bias: 'some'}, /bias is "some", not "none", "lora_only" or "all"\./],
    ['whose rank is not that of its tensors', {rank_pattern: {fc1: 2}}, /fc1: A has rank 3, and the config says 2/],
  ])('%s is refused by name', async (_, changes, message) => {
    const {model} = smallNetwork();
    const read = () => loadAdapter(changed(changes), {model});
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow(message);
  });

  test.each([
    ['inputs', [8, 3], [5, 8]],
    ['outputs', [8, 5], [3, 8]],
  ])('of PiSSA with more rows than the weight has %s is refused', async (_, a, b) => {
    const [units, inputs] = [b[0]!, a[1]!];
    const model = tf.sequential({layers: [tf.layers.dense({units, name: 'fc1', inputShape: [inputs]})]});
    const factors = (rank: number) => ({
      'base_model.model.fc1.lora_A.weight': filled([rank, inputs]),
      'base_model.model.fc1.lora_B.weight': filled([units, rank]),
    });
    const {config} = changed({init_lora_weights: 'pissa', r: 8});
    const read = (rank: number) => loadAdapter({config, weights: encodeSafetensors(factors(rank))}, {model});
    await expect(read(8)).rejects.toThrow('fc1: A has rank 8, and the config says 3');
    expect(Object.keys((await read(3)).config.layers)).toEqual(['fc1']);
  });

  test('with more patterns than are worth the time is refused at once', async () => {
    const patterns = Array.from({length: 700}, (_, i) => [`[a]${'a'.repeat(1980)}${i}`, 2]);
    const read = loadAdapter(changed({rank_pattern: Object.fromEntries(patterns)}), {model: smallNetwork().model});
    const error: unknown = await read.catch((reason: unknown) => reason);
    expect(error).toMatchObject({code: 'ERR_TOO_LARGE'});
    expect((error as Error).message).not.toContain('rank_pattern: Comparing');
  });

  test('several faults of the config are told at once', async () => {
    const read = () =>
      loadAdapter(changed({use_bdlora: true, use_qalora: true, bias: 1}), {model: smallNetwork().model});
    await expect(read).rejects.toThrow(/use_qalora(.|\n)*use_bdlora(.|\n)*bias is 1/);
  });

  test.each<[string, string | RegExp, string, RegExp]>([
    ['half an update', /fc1\.lora_B\.weight/, 'fc1.lora_C.weight', /fc1\.lora_C\.weight: neither a factor/],
    ['a lonely factor', /fc1\.lora_A\.weight/, 'fc2.lora_A.weight', /fc2: its factor B is missing/],
    [
      'a weight that no base has',
      /emb\.lora_embedding_A/,
      'emb.base_layer.scale',
      /emb\.base_layer\.scale: no weight of a base/,
    ],
    ['a bias that the config does not announce', /fc1\.lora_A\.weight/, 'fc1.bias', /fc1\.bias: neither a factor/],
    [
      'factors of another kind',
      /emb\.lora_embedding_([AB])/,
      'emb.lora_$1.weight',
      /emb: The update is of a weight with 2 axes, but the layer is of class Embedding/,
    ],
    ['factors of a convolution for a product', /(conv1|fc1)\./, 'swap', /swap/],
  ])('with %s is refused', async (_, pattern, replacement, message) => {
    const {model} = smallNetwork();
    const swapped = replacement === 'swap';
    const rename = (name: string) =>
      swapped
        ? name.replace(pattern, (__, module: string) => (module === 'fc1' ? 'conv1.' : 'fc1.'))
        : name.replace(pattern, replacement);
    const read = () => loadAdapter(changed({}, rename), {model});
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow(
      swapped ? /conv1: The update is of a weight with 2 axes, but the layer is of class Conv2D/ : message,
    );
  });

  test('with a magnitude that the config does not announce is refused', async () => {
    const {config, weights} = peftFiles('made', 'dora');
    const plain = {...(JSON.parse(config) as Record<string, unknown>), use_dora: false};
    await expect(
      loadAdapter({config: plain, weights}, {model: largeNetwork(true).model, keyMap: KEY_MAP}),
    ).rejects.toThrow('head.0: a magnitude (DoRA), and use_dora is false');
  });

  test('of VeRA without its projections is refused, with what to do', async () => {
    await expect(
      loadAdapter(peftFiles('made', 'veraWithout'), {model: largeNetwork(true).model, keyMap: KEY_MAP}),
    ).rejects.toThrow('Save with save_projection=True.');
  });

  test.each([
    ['lokr', {decompose_factor: 2}, 'decompose_factor is 2, but only -1 is supported.'],
    ['loha', {r: 4}, 'its hada_w1 has factors of rank 3 and 3, and the config says 4.'],
    ['loha', {use_effective_conv2d: true}, 'use_effective_conv2d is true, which is not supported'],
    ['ia3', {feedforward_modules: '.*out|volume'}, 'feedforward_modules is an expression. Write it as a list.'],
  ])('of %s with %j is refused by name', async (name, changes, message) => {
    const {config, weights} = peftFiles('made', name);
    const other = {...(JSON.parse(config) as Record<string, unknown>), ...changes};
    await expect(
      loadAdapter({config: other, weights}, {model: largeNetwork(true).model, keyMap: KEY_MAP}),
    ).rejects.toThrow(message);
  });

  test.each([
    ['loha', 'hada_w1_a'],
    ['loha', 'hada_w2_b'],
    ['lokr', 'lokr_w2_a'],
    ['vera', 'vera_lambda_b'],
    ['vera', 'vera_lambda_d'],
  ])('of %s without its %s is refused, for each module that lacks it', async (name, missing) => {
    const {config, weights} = peftFiles('made', name);
    const {tensors} = decodeSafetensors(weights);
    const lacking = [...tensors.keys()].filter(key => key.endsWith(`.${missing}`));
    const others = [...tensors].filter(([key]) => !lacking.includes(key));
    const left = Object.fromEntries(others.map(([key, {shape, data}]) => [key, {shape, data: data!}]));
    const files = {config, weights: encodeSafetensors(left, {metadata: {format: 'pt'}})};
    const error: unknown = await loadAdapter(files, {model: largeNetwork(true).model, keyMap: KEY_MAP}).catch(
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(LoRAError);
    expect((error as Error).message.match(new RegExp(`: its ${missing} is missing\\.`, 'g'))).toHaveLength(
      lacking.length,
    );
  });

  describe('of LoKr with a small matrix in two factors', () => {
    /** The files of an adapter of LoKr, with `w₁` of each module as a product. */
    function factored(first: (w1: NamedValues) => NamedValues) {
      const {config, weights} = peftFiles('made', 'lokr');
      const tensors = [...decodeSafetensors(weights).tensors].flatMap(
        ([name, {shape, data}]): [string, NamedValues][] => {
          if (!name.endsWith('lokr_w1')) {
            return [[name, {shape, data: data!}]];
          }
          const size = shape[1]!;
          // Row i has its 1 in the next column, so that the factors do not commute.
          const cycle = Array.from({length: size * size}, (_, i) =>
            Number(i % size === (Math.floor(i / size) + 1) % size),
          );
          return [
            [`${name}_a`, first({shape, data: data!})],
            [`${name}_b`, {shape: [size, size], data: Float32Array.from(cycle)}],
          ];
        },
      );
      return {config, weights: encodeSafetensors(Object.fromEntries(tensors), {metadata: {format: 'pt'}})};
    }

    test('has their product', async () => {
      const {model, inputs} = largeNetwork(true);
      const files = factored(({shape: [rows = 1, size = 1], data}) => ({
        shape: [rows, size],
        data: Float32Array.from({length: rows * size}, (_, i) => Number(data[i - (i % size) + ((i + 1) % size)])),
      }));
      const adapter = await loadAdapter(files, {model, keyMap: KEY_MAP});
      const {y} = expectedOf('made', 'lokr');
      expect(predictions(applyLoRA(model, adapter), inputs)[0]).toBeAllClose(y.data, TOLERANCE);
    });

    test('is refused before they are multiplied if that is larger than the layer', async () => {
      const files = factored(({shape}) => filled([100_000, shape[1]!]));
      await expect(loadAdapter(files, {model: largeNetwork(true).model, keyMap: KEY_MAP})).rejects.toThrow(
        'do not fit the layer',
      );
    });
  });

  test('of IA³ is one of the inputs where feedforward_modules name the module', async () => {
    const {config} = await loadAdapter(peftFiles('made', 'ia3'), {model: largeNetwork(true).model, keyMap: KEY_MAP});
    const methods = Object.entries(config.layers).map(([path, {method}]) => [path, method]);
    expect(Object.fromEntries(methods)).toMatchObject({
      layer_0_query: 'ia3',
      layer_0_out: 'ia3-feedforward',
      volume: 'ia3-feedforward',
      pointwise: 'ia3',
    });
  });

  // PEFT compares the names of modules with an expression; the shape of the factors then tells what they multiply.
  test.each([
    [[1, 8], 8, 5, 'ia3-feedforward'],
    [[5, 1], 8, 5, 'ia3'],
    [[1, 1], 8, 1, 'ia3'],
    [[1, 2], 2, 5, 'ia3-feedforward'],
  ])('of IA³ with factors of shape %j is one of the side that these have', async (shape, inputs, units, method) => {
    const model = tf.sequential({layers: [tf.layers.dense({units, name: 'fc', inputShape: [inputs]})]});
    const config = {peft_type: 'IA3', target_modules: '.*', feedforward_modules: '.*fc', fan_in_fan_out: false};
    const weights = encodeSafetensors({'base_model.model.fc.ia3_l': filled(shape)});
    const adapter = await loadAdapter({config, weights}, {model});
    expect(adapter.config.layers.fc!.method).toBe(method);
    const values = Array.from({length: Math.max(...shape)}, (_, i) => i + 1);
    expect(Object.values(adapter.tensors).map(tensor => [...tensor.dataSync()])).toEqual([values]);
  });

  test('of IA³ for a convolution is refused if an expression says which modules have factors of inputs', async () => {
    const model = tf.sequential({
      layers: [tf.layers.conv2d({filters: 3, kernelSize: 1, name: 'conv', inputShape: [4, 4, 2]})],
    });
    const config = {peft_type: 'IA3', target_modules: '.*', feedforward_modules: '.*conv', fan_in_fan_out: false};
    const weights = encodeSafetensors({'base_model.model.conv.ia3_l': filled([1, 3, 1, 1])});
    await expect(loadAdapter({config, weights}, {model})).rejects.toThrow(
      'the factors of a convolution look alike for inputs and outputs, and feedforward_modules is an expression.',
    );
  });

  test('that mixes channels is refused for a depthwise convolution, with a way out', async () => {
    const {model} = largeNetwork(true);
    const read = () => loadAdapter(peftFiles('made', 'grouped'), {model, keyMap: KEY_MAP});
    await expect(read).rejects.toThrow(
      /depthwise: In PEFT, the update of a grouped convolution.*Build the model with a Conv2D in its place/,
    );
  });

  test('of another size is refused with both shapes', async () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 5, name: 'fc1', inputShape: [7]})]});
    const keyMap = (name: string) => (name === 'fc1' ? 'fc1' : null);
    await expect(loadAdapter(peftFiles('lora'), {model, keyMap})).rejects.toThrow(
      "fc1: The update is of a weight of shape [8, 5], but the layer's is [7, 5].",
    );
  });

  test('with a bias for a layer that has none is refused', async () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 5, name: 'fc1', useBias: false, inputShape: [8]})]});
    const keyMap = (name: string) => (name === 'fc1' ? 'fc1' : null);
    await expect(loadAdapter(peftFiles('bias_lora_only'), {model, keyMap})).rejects.toThrow(
      'fc1: The file has a bias, but the layer, of class Dense, has none.',
    );
  });

  test('in a pickle is refused with what to do', async () => {
    const weights = new TextEncoder().encode('PK\u0003\u0004 and so on');
    await expect(
      loadAdapter({config: peftFiles('lora').config, weights}, {model: smallNetwork().model}),
    ).rejects.toThrow('safe_serialization=True');
  });

  test.each<[string | Record<string, unknown>, RegExp]>([
    ['{', /not valid JSON/],
    ['[]', /must be an object/],
    ['{"peft_type": "LORA", "peft_type": "LORA"}', /has \["peft_type"\] twice/],
    [null as unknown as Record<string, unknown>, /Expected the two files of a PEFT adapter/],
  ])('with the config %p is refused', async (config, message) => {
    await expect(
      loadAdapter({config, weights: peftFiles('lora').weights}, {model: smallNetwork().model}),
    ).rejects.toThrow(message);
  });

  test('whose factors do not belong together is refused', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.conv2d({filters: 3, kernelSize: 2, inputShape: [4, 4, 2], name: 'conv'}),
        tf.layers.flatten(),
        tf.layers.dense({units: 6, name: 'fc'}),
      ],
    });
    const read = (tensors: Record<string, number[]>) => () => {
      const values = Object.entries(tensors).map(([name, shape]) => [name, filled(shape)] as const);
      return loadAdapter(
        {config: {peft_type: 'LORA', r: 4}, weights: encodeSafetensors(Object.fromEntries(values))},
        {model},
      );
    };
    // Only a convolution has B in pieces, one for each group; and its outputs are divided among them.
    for (const [linear, message] of [
      [{'fc.lora_A.weight': [4, 27], 'fc.lora_B.weight': [6, 2]}, 'fc: A has rank 4, B 2'],
      [{'fc.lora_embedding_A': [4, 27], 'fc.lora_embedding_B': [6, 2]}, 'fc: A has rank 4, B 2'],
      [{'conv.lora_A.weight': [4, 2, 2, 2], 'conv.lora_B.weight': [3, 2, 1, 1]}, 'conv: A has rank 4, B 2'],
    ] as const) {
      await expect(read(linear as unknown as Record<string, number[]>)).rejects.toThrow(LoRAError);
      await expect(read(linear as unknown as Record<string, number[]>)).rejects.toThrow(message);
    }
  });

  test('brings whole modules by the end of their paths, as PEFT finds them', async () => {
    // PEFT looks for `key.endswith(name)`, so that "classifier" is "pre_classifier" too, as in DistilBERT.
    const model = tf.sequential({
      layers: [
        tf.layers.dense({units: 3, inputShape: [2], name: 'query'}),
        tf.layers.dense({units: 3, name: 'pre_classifier'}),
        tf.layers.dense({units: 2, name: 'classifier'}),
      ],
    });
    const weights = encodeSafetensors({
      'query.lora_A.weight': filled([1, 2]),
      'query.lora_B.weight': filled([3, 1]),
      'pre_classifier.weight': filled([3, 3]),
      'pre_classifier.bias': filled([3]),
      'classifier.weight': filled([2, 3]),
      'classifier.bias': filled([2]),
    });
    const config = (modules: string[]) => ({peft_type: 'LORA', r: 1, modules_to_save: modules});
    const adapter = await loadAdapter({config: config(['classifier']), weights}, {model});
    expect([...adapter.config.trainable].sort()).toEqual(['classifier', 'pre_classifier']);
    await expect(loadAdapter({config: config(['pre_classifier']), weights}, {model})).rejects.toThrow(
      'classifier.bias: neither a factor of LoRA nor of a module in modules_to_save',
    );
  });

  test('with a tensor of a whole module under two names is refused', async () => {
    const {model} = smallNetwork();
    const {config, weights} = peftFiles('modules_to_save');
    const tensors = Object.fromEntries(decodeSafetensors(weights).tensors) as Record<string, NamedValues>;
    const bias = tensors['base_model.model.head.bias']!;
    const twice = {...tensors, 'base_model.model.head.modules_to_save.default.bias': bias};
    await expect(loadAdapter({config, weights: encodeSafetensors(twice)}, {model})).rejects.toThrow(
      'head.modules_to_save.default.bias: stored under two names',
    );
  });

  test('with a whole module of another size is refused with both shapes in one order', async () => {
    const {model} = smallNetwork();
    const {config, weights} = peftFiles('modules_to_save');
    const tensors = Object.fromEntries(decodeSafetensors(weights).tensors) as Record<string, NamedValues>;
    const [out, inner] = tensors['base_model.model.head.weight']!.shape as [number, number];
    const permuted = {...tensors, 'base_model.model.head.weight': filled([inner, out])};
    await expect(loadAdapter({config, weights: encodeSafetensors(permuted)}, {model})).rejects.toThrow(
      `head: The file has a weight of shape [${out}, ${inner}], and the layer's kernel is [${inner}, ${out}].`,
    );
  });

  test('whose order of patterns is lost in JavaScript is refused where it matters', async () => {
    // Of two patterns that fit the first counts, and JavaScript puts keys that are whole numbers before all others.
    const model = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [2], name: 'fc'})]});
    const weights = encodeSafetensors({'net.1.lora_A.weight': filled([1, 2]), 'net.1.lora_B.weight': filled([3, 1])});
    const read = async (patterns: string) => {
      const config = `{"peft_type": "LORA", "r": 1, "alpha_pattern": ${patterns}}`;
      return (await loadAdapter({config, weights}, {model, keyMap: {'net.1': 'fc'}})).config.layers.fc!.alpha;
    };
    await expect(read('{"net.1": 4, "1": 2}')).rejects.toThrow(LoRAError);
    await expect(read('{"net.1": 4, "1": 2}')).rejects.toThrow('net.1: fits the patterns "1" and "net.1"');
    expect(await read('{"net.1": 4, "(1)": 2}')).toBe(4);
    expect(await read('{"net.1": 2, "1": 2}')).toBe(2);
    expect(await read('{"1": 2}')).toBe(2);
    expect(await read('{"net.0": 4, "1": 2, "0": 3}')).toBe(2);
  });

  test('whose key map gives something else than a name is refused', async () => {
    const {model} = smallNetwork();
    const read = () => loadAdapter(peftFiles('lora'), {model, keyMap: (() => 5) as unknown as KeyMap});
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow(/keyMap gives 5 for "\w+"/);
  });

  test('without weights is refused', async () => {
    const {config} = peftFiles('lora');
    const files = {config} as unknown as PEFTFiles;
    await expect(loadAdapter(files, {model: smallNetwork().model})).rejects.toThrow(LoRAError);
    await expect(loadAdapter(files, {model: smallNetwork().model})).rejects.toThrow(
      'Expected the two files of a PEFT adapter, {config, weights}',
    );
  });

  test('that names very many modules is refused within the time that a test has', async () => {
    const entries = Array.from({length: 20_000}, (_, i) => [
      [`b.m${i}.lora_A.weight`, filled([1, 1])] as const,
      [`b.m${i}.lora_B.weight`, filled([1, 1])] as const,
    ]);
    const weights = encodeSafetensors(Object.fromEntries(entries.flat()));
    await expect(
      loadAdapter({config: {peft_type: 'LORA', r: 1}, weights}, {model: smallNetwork().model}),
    ).rejects.toThrow(LoRAError);
  });

  test('that has fields that nobody knows is imported with a warning', async () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    await loadAdapter(changed({use_magic: true}), {model: smallNetwork().model});
    expect(warn.mock.calls.flat()).toEqual([expect.stringContaining('["use_magic"]')]);
  });
});

describe('a file of PEFT that is mutated', () => {
  test('is imported or refused, and nothing else', async () => {
    const {model} = largeNetwork(true);
    const sources = ['modulesToSave', 'loraBiasOnly', 'biasAll', 'depthwise'].map(name => peftFiles('made', name));
    const tensors = fc.record({
      which: fc.nat(sources.length - 1),
      at: fc.nat(30),
      shape: fc.array(fc.integer({min: 0, max: 4}), {maxLength: 5}),
      rename: fc.constantFrom(
        '',
        'weight',
        'bias',
        'lora_A.weight',
        'lora_B.bias',
        'running_mean',
        'base_layer.bias',
        '__proto__',
        '',
      ),
      module: fc.constantFrom(
        '',
        'batch',
        'head.0',
        'depthwise',
        'tokens',
        'line',
        'constructor',
        'encoder.layer.1.norm',
      ),
    });
    let imported = 0;
    await fc.assert(
      fc.asyncProperty(tensors, async ({which, at, shape, rename, module}) => {
        const {config, weights} = sources[which]!;
        const entries = [...decodeSafetensors(weights).tensors].filter(([, {data}]) => data !== null);
        const changed = entries.map(([name, {shape: own, data}], i) => {
          if (i !== at % entries.length) {
            return [name, {shape: own, data: data!}] as const;
          }
          const size = shape.reduce((product, axis) => product * axis, 1);
          const key = `base_model.model.${module}.${rename}`;
          return [rename === '' || module === '' ? name : key, {shape, data: new Float32Array(size)}] as const;
        });
        const before = tf.memory().numTensors;
        try {
          const file = encodeSafetensors(Object.fromEntries(changed));
          (await loadAdapter({config, weights: file}, {model, keyMap: KEY_MAP})).dispose();
          imported++;
        } catch (error) {
          expect(error).toBeInstanceOf(LoRAError);
        }
        expect(tf.memory().numTensors).toBe(before);
      }),
      {numRuns: 500, seed: 5},
    );
    expect(imported).toBeGreaterThan(0);
  });
});

test.each<[string, tf.layers.Layer, number[], string?]>([
  ['an Embedding', tf.layers.embedding({inputDim: 4, outputDim: 2}), [3]],
  ['a Dense without a bias', tf.layers.dense({units: 4, useBias: false}), [3]],
  ['a Dense with a bias', tf.layers.dense({units: 4}), [3], 'PEFT leaves out the bias of a layer where tokens train.'],
  [
    'a convolution',
    tf.layers.conv1d({filters: 4, kernelSize: 1}),
    [3, 2],
    'PEFT trains tokens of an Embedding or Dense, not of a Conv1D.',
  ],
])('PEFT trains rows of tokens of %s, or says why not', (_, layer, shape, ...[reason]) => {
  layer.apply(tf.input({shape}));
  expect(whyNoTokenRows(layer)).toBe(reason);
});
