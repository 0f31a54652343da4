import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  disposeModel,
  exportPEFT,
  getAdapter,
  loadAdapter,
  type LoRAConfig,
  mergeLoRA,
  planLoRA,
  removeLoRA,
  replaceHead,
  setAdapter,
  summarizeLoRA,
  trainableVariables,
} from 'tfjs-lora';
import {adaptLayer} from 'tfjs-lora/layers';
import {quantizeBase} from 'tfjs-lora/quantized';
import {dequantize, formatNamed} from '../../../src/extensions/quantized/formats/formats';
import {quantize4, quantize8} from '../../../src/extensions/quantized/formats/quantize';
import {namedWeights} from '../../../src/platform/tfjs/weights';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {artifactsOf, reloaded} from '../../models';
import {LoRAQuantizedDense, QuantizedDense} from '../../../src/extensions/quantized/layers/quantizedDense';
import {QuantizedConv2D} from '../../../src/extensions/quantized/layers/quantizedConv2d';
import {QuantizedEmbedding} from '../../../src/extensions/quantized/layers/quantizedEmbedding';

const BITS = [8, 4] as const;

/** Token ids, a Dense of three axes, pixels of both formats, a frozen Dense. Not all widths are whole blocks. */
function network(): tf.LayersModel {
  const {layers} = tf;
  const ids = tf.input({shape: [6], dtype: 'int32', name: 'ids'});
  const looked = layers.embedding({inputDim: 40, outputDim: 64, name: 'table'}).apply(ids) as tf.SymbolicTensor;
  const up = layers.dense({units: 72, activation: 'relu', name: 'up'}).apply(looked);
  const pixels = layers.reshape({targetShape: [2, 3, 72]}).apply(up);
  const mixed = layers.conv2d({filters: 64, kernelSize: 1, activation: 'tanh', name: 'mix'}).apply(pixels);
  const first = {filters: 32, kernelSize: 1, name: 'first'};
  const channels = layers.permute({dims: [3, 1, 2]}).apply(mixed);
  const inChannels = layers.conv2d({...first, dataFormat: 'channelsFirst'}).apply(channels);
  const wide = layers.conv2d({filters: 32, kernelSize: 3, padding: 'same', name: 'wide'}).apply(mixed);
  const joined = layers
    .concatenate()
    .apply([
      layers.flatten().apply(inChannels) as tf.SymbolicTensor,
      layers.flatten().apply(wide) as tf.SymbolicTensor,
    ]);
  const out = layers.dense({units: 3, activation: 'softmax', name: 'out', trainable: false}).apply(joined);
  const model = tf.model({inputs: ids, outputs: out as tf.SymbolicTensor});
  model.setWeights(model.weights.map(({shape}, i) => random(shape as number[], 30 + i, 0.1)));
  return model;
}

const QUANTIZED = ['table', 'up', 'mix', 'first', 'out'];
const ids = () => tf.tensor2d([3, 1, 39, 0, 3, 7, 5, 5, 22, 38, 2, 1], [2, 6], 'int32');
const outputs = (model: tf.LayersModel) => tf.tidy(() => numbers(model.predict(ids()) as tf.Tensor));

/** A kernel as it is after it was quantized, by the formats alone. */
function rounded(kernel: tf.Tensor, bits: 8 | 4, isTable: boolean): tf.Tensor {
  return tf.tidy(() => {
    const width = (isTable ? kernel.shape.at(-1) : kernel.shape.at(-2)) ?? 0;
    const matrix = isTable ? kernel : tf.transpose(tf.reshape(kernel, [width, -1]));
    const rows = tf.pad(matrix as tf.Tensor2D, [
      [0, 0],
      [0, -width & 31],
    ]);
    const values = Float32Array.from(rows.dataSync());
    const format = formatNamed(bits === 8 ? 'Q8_0' : 'Q4_0')!;
    const bytes = new Uint8Array(format.bytes);
    for (let at = 0; at < values.length; at += 32) {
      const block = values.subarray(at, at + 32);
      (bits === 8 ? quantize8 : quantize4)(block, bytes, 0);
      dequantize(format, bytes, 0, 1, block);
    }
    const whole = tf.slice2d(tf.tensor2d(values, rows.shape), [0, 0], [-1, width]);
    return tf.reshape(isTable ? whole : tf.transpose(whole), kernel.shape);
  });
}

/** The same model with the numbers of the blocks in float32. */
function reference(model: tf.LayersModel, bits: 8 | 4, names = QUANTIZED): tf.LayersModel {
  const copy = network();
  copy.layers.forEach((layer, i) => {
    const weights = model.layers[i]!.getWeights();
    layer.setWeights(
      weights.map(value =>
        names.includes(layer.name) && value.rank > 1 ? rounded(value, bits, layer.name === 'table') : value,
      ),
    );
  });
  return copy;
}

/** Gives the updates of a model values, the same for the same shapes in the same order. */
function perturb(model: tf.LayersModel): void {
  trainableVariables(model).forEach((variable, i) =>
    tf.tidy(() => variable.assign(tf.add(variable, random(variable.shape, 7 + i, 0.2)))),
  );
}

/** The gradients of a model in what trains, of a random sum of its outputs. */
function gradients(model: tf.LayersModel): number[][] {
  return tf.tidy(() => {
    const weights = random([2, 3], 99);
    const sum = () => tf.sum<tf.Scalar>(tf.mul(model.apply(ids(), {training: true}) as tf.Tensor, weights));
    const {grads} = tf.variableGrads(sum, trainableVariables(model));
    return trainableVariables(model).map(({name}) => numbers(grads[name]!));
  });
}

const EVERY: LoRAConfig = {rank: 3, seed: 1, targets: QUANTIZED};

describe.each(BITS)('with %i bits', bits => {
  test('a model computes with the numbers of its blocks', async () => {
    const model = network();
    const before = outputs(model);
    const base = await quantizeBase(model, {bits});
    expect(base.layers.filter(({name}) => QUANTIZED.includes(name)).map(layer => layer.getClassName())).toEqual(
      expect.arrayContaining(['Embedding', 'Dense', 'Conv2D'].map(name => `tfjs-lora/quantized>Quantized${name}`)),
    );
    expect(outputs(base)).toBeAllClose(outputs(reference(model, bits)), {rtol: 1e-4, atol: 1e-6});
    expect(outputs(model)).toEqual(before);
  });

  test.each([
    ['lora', {}],
    ['lora, with biases', {bias: 'all' as const}],
    ['lora-fa', {method: 'lora-fa' as const}],
    ['vera', {method: 'vera' as const}],
  ])('an update by %s and its gradients are those of the float32 base', async (_, config) => {
    const model = network();
    const adapted = applyLoRA(await quantizeBase(model, {bits}), {...EVERY, ...config} as LoRAConfig);
    const expected = applyLoRA(reference(model, bits), {...EVERY, ...config} as LoRAConfig);
    perturb(adapted);
    perturb(expected);
    expect(outputs(adapted)).toBeAllClose(outputs(expected), {rtol: 1e-4, atol: 1e-5});
    const [actual, wanted] = [gradients(adapted), gradients(expected)];
    expect(actual).toHaveLength(wanted.length);
    actual.forEach((gradient, i) => {
      const largest = Math.max(...wanted[i]!.map(Math.abs));
      expect(gradient).toBeAllClose(wanted[i]!, {rtol: 1e-3, atol: 2e-5 * largest + 1e-7});
    });
  });

  test.each(['ia3', 'ia3-feedforward'] as const)('an update by %s and its gradients too', async method => {
    const model = network();
    const config = {method, targets: ['up', 'mix', 'first', 'out']};
    const adapted = applyLoRA(await quantizeBase(model, {bits}), config);
    const expected = applyLoRA(reference(model, bits), config);
    expect(outputs(adapted)).toBeAllClose(outputs(reference(model, bits)), {rtol: 1e-4, atol: 1e-6});
    perturb(adapted);
    perturb(expected);
    expect(outputs(adapted)).toBeAllClose(outputs(expected), {rtol: 1e-4, atol: 1e-5});
    gradients(adapted).forEach((gradient, i) => {
      const wanted = gradients(expected)[i]!;
      expect(gradient).toBeAllClose(wanted, {rtol: 1e-3, atol: 2e-5 * Math.max(...wanted.map(Math.abs)) + 1e-7});
    });
    const merged = mergeLoRA(adapted);
    expect(outputs(merged)).toBeAllClose(outputs(expected), {rtol: 1e-4, atol: 1e-5});
  });
});

test('a new update changes nothing, bit for bit', async () => {
  const base = await quantizeBase(network(), {bits: 8});
  const before = outputs(base);
  expect(outputs(applyLoRA(base, EVERY))).toEqual(before);
  expect(outputs(applyLoRA(base, {method: 'ia3', targets: ['up', 'mix', 'out']}))).toEqual(before);
});

test('merged, an updated layer is a stock one in float32; the others stay as they are', async () => {
  const adapted = applyLoRA(await quantizeBase(network(), {bits: 4}), {...EVERY, targets: ['table', 'up', 'mix']});
  perturb(adapted);
  const merged = mergeLoRA(adapted);
  const classes = Object.fromEntries(merged.layers.map(layer => [layer.name, layer.getClassName()]));
  expect(classes).toMatchObject({
    ...{table: 'Embedding', up: 'Dense', mix: 'Conv2D'},
    ...{first: 'tfjs-lora/quantized>QuantizedConv2D', out: 'tfjs-lora/quantized>QuantizedDense'},
  });
  expect(outputs(merged)).toBeAllClose(outputs(adapted), {rtol: 1e-4, atol: 1e-5});
  const alone = (adapted.getLayer('up') as unknown as LoRAQuantizedDense).mergeToOriginalLayer();
  expect(alone.getClassName()).toBe('Dense');
  expect(numbers(namedWeights(alone).get('kernel')!.read())).toEqual(
    numbers(namedWeights(merged.getLayer('up')).get('kernel')!.read()),
  );
});

test('removed, the base is what it was, in the same buffers', async () => {
  const base = await quantizeBase(network(), {bits: 8});
  const before = outputs(base);
  const {numDataBuffers} = tf.memory();
  const adapted = applyLoRA(base, EVERY);
  const made = adapted.trainableWeights.length;
  const removed = removeLoRA(adapted);
  expect(outputs(removed)).toEqual(before);
  expect(tf.memory().numDataBuffers - numDataBuffers).toBe(made);
});

test('training leaves the blocks as they are, and leaks nothing', async () => {
  const base = await quantizeBase(network(), {bits: 4});
  await withoutLeaks(async () => {
    const adapted = applyLoRA(base, {rank: 2, seed: 1});
    const before = base.getWeights().map(numbers);
    adapted.compile({optimizer: 'adam', loss: 'categoricalCrossentropy'});
    const [x, y] = [ids(), tf.tensor2d([1, 0, 0, 0, 0, 1], [2, 3])];
    const {history} = await adapted.fit(x, y, {epochs: 8, verbose: 0});
    expect(history.loss!.at(-1)).toBeLessThan(history.loss![0] as number);
    expect(base.getWeights().map(numbers)).toEqual(before);
    tf.dispose([x, y]);
    adapted.optimizer.dispose();
    disposeModel(adapted);
  });
});

describe('a quantized model', () => {
  beforeAll(() => useBackend('cpu'));
  test.each([
    [8, 34],
    [4, 18],
  ] as const)('of %i bits takes the bytes of its blocks', async (bits, bytes) => {
    const base = await quantizeBase(network(), {bits});
    const blocks = {table: 40 * 2, up: 72 * 2, mix: 64 * 3, first: 32 * 2, out: 3 * 12};
    for (const [name, count] of Object.entries(blocks)) {
      const [variable] = [...namedWeights(base.getLayer(name)).values()];
      expect(variable!.dtype).toBe('int32');
      expect(variable!.shape).toEqual([Math.ceil((count * bytes) / 4)]);
    }
  });

  test('is saved and loaded in its blocks, plain and adapted', async () => {
    const base = await quantizeBase(network(), {bits: 4});
    const artifacts = await artifactsOf(base);
    const words32 = artifacts.weightSpecs!.filter(({dtype}) => dtype === 'int32');
    expect(words32.map(({name}) => name).sort()).toEqual(QUANTIZED.map(name => `${name}/blocks`).sort());
    const again = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
    expect(outputs(again)).toEqual(outputs(base));
    const adapted = applyLoRA(again, EVERY);
    perturb(adapted);
    const loaded = await reloaded(adapted);
    expect(outputs(loaded)).toEqual(outputs(adapted));
    expect(outputs(removeLoRA(loaded))).toEqual(outputs(base));
  });

  test('keeps flags, nested models and shared layers', async () => {
    const {layers} = tf;
    const inner = tf.sequential({name: 'inner', layers: [layers.dense({units: 32, inputShape: [32], name: 'dense'})]});
    const x = tf.input({shape: [32]});
    const once = inner.apply(x);
    const model = tf.model({inputs: x, outputs: inner.apply(once) as tf.SymbolicTensor});
    inner.trainable = false;
    model.setUserDefinedMetadata({made: 'here'});
    const base = await quantizeBase(model, {bits: 8});
    expect((base.getLayer('inner') as tf.LayersModel).layers[0]).toBeInstanceOf(QuantizedDense);
    expect(base.getLayer('inner').trainable).toBe(false);
    expect(base.getUserDefinedMetadata()).toEqual({made: 'here'});
    expect(base.trainableWeights).toEqual([]);
  });

  test('quantizes what is named, or all that takes less memory so', async () => {
    const model = network();
    const classes = async (options: Parameters<typeof quantizeBase>[1]) =>
      (await quantizeBase(model, options)).layers
        .filter(layer => layer.getClassName().startsWith('tfjs-lora/quantized>'))
        .map(({name}) => name);
    expect(await classes({bits: 8})).toEqual(QUANTIZED);
    expect(await classes({bits: 4, targets: ['Dense'], exclude: [/^up/]})).toEqual(['out']);
    expect(await classes({bits: 4, targets: [/./]})).toEqual(QUANTIZED);
    const narrow = tf.sequential({layers: [tf.layers.dense({units: 9, inputShape: [4], name: 'narrow'})]});
    await expect(quantizeBase(narrow, {bits: 8})).rejects.toThrow('There is nothing to quantize.');
    const asked = await quantizeBase(narrow, {bits: 8, targets: ['narrow']});
    expect(asked.layers[0]).toBeInstanceOf(QuantizedDense);
  });

  test('leaves a new head as it is', async () => {
    const headed = replaceHead(network(), [tf.layers.dense({units: 40, name: 'new'})], {after: 'wide'});
    const base = await quantizeBase(headed, {bits: 8});
    expect(base.getLayer('new').getClassName()).toBe('Dense');
    expect(String(planLoRA(base))).toMatch(/new +Dense +trained/);
  });

  test.each([
    [{bits: 3}, 'bits must be 8 or 4, got 3.'],
    [{bits: 8, target: []}, 'There is no option "target".'],
    [{bits: 8, targets: ['nothing']}, 'No layer matches target "nothing".'],
    [{bits: 8, targets: ['wide']}, 'Layer "wide": A Conv2D cannot be quantized. Only Dense'],
  ])('%j is refused', async (options, message) => {
    await expect(quantizeBase(network(), options as never)).rejects.toThrow(message);
  });

  test('weights that no block holds are refused, and nothing is left', async () => {
    const model = network();
    model.getLayer('up').setWeights([tf.fill([64, 72], 1e8), tf.zeros([72])]);
    await withoutLeaks(async () => {
      await expect(quantizeBase(model, {bits: 8})).rejects.toThrow('Layer "up" has weights that cannot be quantized');
    });
  });

  test.each(['dora', 'loha', 'lokr', 'pissa', 'olora'])('%s is refused by name', async method => {
    const base = await quantizeBase(network(), {bits: 8});
    const config = method === 'pissa' || method === 'olora' ? {init: method} : {method};
    expect(() => applyLoRA(base, {...config, targets: ['up']} as LoRAConfig)).toThrow(
      `Layer "up": The weights are quantized or streamed, and the method "${method}" needs the whole kernel in float32.`,
    );
  });

  test('its blocks do not train', async () => {
    const base = await quantizeBase(network(), {bits: 8});
    expect(() => applyLoRA(base, {targets: ['up'], freezeBaseLayer: false})).toThrow(
      'has quantized or streamed weights, which cannot train',
    );
    expect(() => applyLoRA(base, {targets: ['up'], trainInFull: ['out']})).toThrow(
      'Layer "out": Quantized or streamed weights cannot train.',
    );
    expect(() => applyLoRA(base, {targets: ['up'], method: 'ia3', dropout: 0.5})).toThrow('with dropout');
    expect(
      applyLoRA(base, {targets: ['up'], trainInFull: [/./]})
        .getLayer('out')
        .getClassName(),
    ).toBe('tfjs-lora>FrozenLayer');
  });

  test('dropout works on the update alone', async () => {
    const adapted = applyLoRA(await quantizeBase(network(), {bits: 8}), {...EVERY, dropout: 0.5});
    perturb(adapted);
    const apply = () => tf.tidy(() => numbers(adapted.apply(ids(), {training: true}) as tf.Tensor));
    expect(apply()).not.toEqual(apply());
  });

  test('an adapter fits the quantized base and the one in float32', async () => {
    const model = network();
    const base = await quantizeBase(model, {bits: 8});
    const [onFloats, onBlocks] = [applyLoRA(model, EVERY), applyLoRA(base, EVERY)];
    perturb(onFloats);
    setAdapter(onBlocks, getAdapter(onFloats));
    expect(getAdapter(onBlocks).config).toEqual(getAdapter(onFloats).config);
    expect(outputs(onBlocks)).toBeAllClose(outputs(onFloats), {atol: 0.05});
    expect(outputs(applyLoRA(base, getAdapter(onFloats)))).toEqual(outputs(onBlocks));
    const files = await exportPEFT(base, {adapter: getAdapter(onBlocks)});
    expect(getAdapter(applyLoRA(base, await loadAdapter(files, {model: base}))).config.layers.up).toMatchObject({
      className: 'Dense',
    });
  });

  test('its layers can be adapted one by one', async () => {
    const base = await quantizeBase(network(), {bits: 8});
    const layer = adaptLayer({layer: base.getLayer('up'), rank: 2});
    expect(layer).toBeInstanceOf(LoRAQuantizedDense);
  });

  test.each([QuantizedDense, QuantizedConv2D, QuantizedEmbedding])('%p needs a format', layerClass => {
    const args = {units: 2, filters: 2, kernelSize: 1, inputDim: 2, outputDim: 2, name: 'x'};
    expect(() => new layerClass({...args, blocks: {name: 'Q3_K'}} as never)).toThrow(
      'blocks of layer "x" must be {name}, one of F32, F16',
    );
    expect(() => new layerClass(args as never)).toThrow('got undefined');
  });
});

test('parameters are counted, not the integers that hold them', async () => {
  const model = network();
  const base = await quantizeBase(model, {bits: 4});
  const counts = (of: tf.LayersModel) => QUANTIZED.map(name => of.getLayer(name).countParams());
  expect(counts(base)).toEqual(counts(model));
  const options: LoRAConfig = {rank: 2, targets: ['up', 'mix']};
  const [adapted, adaptedBase] = [applyLoRA(model, options), applyLoRA(base, options)];
  const {totalParameters, trainableParameters} = summarizeLoRA(adapted);
  expect(summarizeLoRA(adaptedBase)).toMatchObject({totalParameters, trainableParameters});
  expect(planLoRA(base, options)).toMatchObject({totalParameters: planLoRA(model, options).totalParameters});
  expect(['up', 'mix'].map(name => adaptedBase.getLayer(name).countParams())).toEqual(
    ['up', 'mix'].map(name => adapted.getLayer(name).countParams()),
  );
});
