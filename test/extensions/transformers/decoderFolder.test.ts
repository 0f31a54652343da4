import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {adaptONNX, toONNX} from 'tfjs-lora/onnx';
import {loadTransformer} from 'tfjs-lora/transformers';
import {type OnnxGraph, readOnnx} from '../../../src/extensions/onnx/file/readOnnx';
import {readRows, rowBytes} from '../../../src/extensions/quantized/formats/blockMatrix';
import type {BlockLayer} from '../../../src/extensions/quantized/layers/blockLayer';
import {useBackend, withoutLeaks} from '../../helpers';
import {stirFactors} from '../../models';
import {fileOf} from '../language/ggufFiles';
import {fixture} from './fixtures';

beforeAll(() => useBackend('cpu'));

type Files = Record<string, string | Uint8Array>;

/** The graph of a folder, whose tensors have their values. */
function graphOf(files: Files): OnnxGraph {
  const path = Object.keys(files).find(name => name.endsWith('.onnx'))!;
  const {graph} = readOnnx(files[path] as Uint8Array);
  for (const tensor of graph.initializers.values()) {
    if (tensor.external !== undefined) {
      tensor.supply(files[`onnx/${tensor.external.location}`] as Uint8Array);
    }
  }
  return graph;
}

async function loaded(name: string): Promise<tf.LayersModel> {
  const {config, weights, tied} = fixture(name);
  return (await loadTransformer({config, weights, tied, tokenizer: false})).model;
}

/** The formats of a file whose matrices have values without minima, and with them. */
const EXACT = ['Q4_0', 'Q5_0', 'Q6_K', 'Q8_0'];
const SHIFTED = ['Q4_1', 'Q4_K', 'Q5_1', 'Q5_K'];

describe('the blocks of a GGUF file', () => {
  const seen = new Set<string>();

  test.each(['llama', 'llama3', 'qwen2', 'kQuants'])('of %s have their values in MatMulNBits', async name => {
    const {model} = await loadGGUF(fileOf(name));
    const {nodes, initializers} = graphOf(await toONNX(model, {folder: true}));
    const valuesOf = (tensor: string | undefined) => initializers.get(tensor ?? '')!.values();
    const products = nodes.filter(({op}) => op === 'MatMulNBits');
    const layers = new Map(model.layers.map(layer => [layer.name, layer as unknown as BlockLayer]));
    for (const {name: node, inputs, outputs, attributes} of products) {
      const layer = layers.get(node.replace(/\/MatMulNBits.*$/, ''));
      if (layer?.matrix === undefined) {
        continue; // the tied head, whose tensors are those of the table
      }
      const {blocks, matrix} = layer;
      const {format, rows, width} = matrix;
      const bytes = new Uint8Array(blocks.read().dataSync().slice().buffer);
      const expected = readRows(matrix, bytes, 0, rows);
      const [bits, block] = ['bits', 'block_size'].map(key => attributes.get(key)!.i!) as [number, number];
      const [packed, scales] = inputs.slice(1).map(valuesOf) as [Int32Array, Float32Array];
      const sum = nodes.find(({op, inputs: [first]}) => op === 'Add' && first === outputs[0]);
      const shift = nodes.find(({op, outputs: [last]}) => op === 'MatMul' && last === sum?.inputs[1]);
      const minima = shift && valuesOf(shift.inputs[1]);
      const values = Float32Array.from({length: rows * width}, (_, i) => {
        const integer = bits === 8 ? packed[i]! : (packed[i >> 1]! >> (4 * (i & 1))) & 15;
        const at = Math.floor(i / block);
        const [row, ofRow] = [Math.floor(i / width), Math.floor((i % width) / block)];
        return (integer - 2 ** (bits - 1)) * scales[at]! + (minima?.[ofRow * rows + row] ?? 0) + 0;
      });
      seen.add(format.name);
      expect(minima !== undefined).toBe(SHIFTED.includes(format.name));
      if (minima === undefined) {
        expect(values).toEqual(expected.map(value => value + 0)); // no negative zeros
      } else {
        expect(values).toBeAllClose(expected, {rtol: 0, atol: 2e-7 * Math.max(...expected.map(Math.abs))});
      }
      if (['Q4_0', 'Q8_0'].includes(format.name)) {
        expect(rebuilt(packed, scales, bits)).toEqual(bytes.slice(0, rows * rowBytes(matrix)));
      }
    }
    disposeModel(model);
  });

  test('are of every format', () => {
    expect([...seen].sort()).toEqual([...EXACT, ...SHIFTED].sort());
  });
});

/** The bytes of Q4_0 or Q8_0: a scale in float16, then 32 integers, those of 4 bits in halves of 16. */
function rebuilt(packed: Int32Array, scales: Float32Array, bits: number): Uint8Array {
  const size = 2 + 4 * bits;
  const bytes = new Uint8Array(scales.length * size);
  scales.forEach((scale, i) => {
    new DataView(bytes.buffer).setUint16(i * size, halfOf(scale), true);
    for (let j = 0; j < 4 * bits; j++) {
      const nibble = (k: number) => (packed[(32 * i + k) >> 1]! >> (4 * (k & 1))) & 15;
      bytes[i * size + 2 + j] = bits === 8 ? packed[32 * i + j]! - 128 : nibble(j) | (nibble(j + 16) << 4);
    }
  });
  return bytes;
}

/** The bits of a float that float16 holds. */
function halfOf(value: number): number {
  const [bits = 0] = new Uint32Array(Float32Array.of(value).buffer);
  const exponent = (bits >> 23) & 255;
  const mantissa = bits & 0x7fffff;
  const magnitude =
    exponent > 112 ? ((exponent - 112) << 10) | (mantissa >> 13) : (mantissa | 0x800000) >> (126 - exponent);
  return ((bits >>> 31) << 15) | (exponent === 0 ? 0 : magnitude);
}

describe('with {merge: false}', () => {
  test.each(['gpt2', 'phi3'])('%s has the graph of its base, with the inputs of adaptONNX', async name => {
    await withoutLeaks(async () => {
      const base = await loaded(name);
      const model = applyLoRA(base, {rank: 2, seed: 1, targets: [/attn/]});
      stirFactors(model);
      const files = await toONNX(model, {folder: true, merge: false});
      const plain = await toONNX(base, {folder: true});
      const adapter = getAdapter(model);
      const {file, inputs} = await adaptONNX(plain['onnx/model.onnx'] as Uint8Array, adapter);
      expect(Object.keys(inputs).length).toBeGreaterThan(2);
      expect(files).toEqual({...plain, 'onnx/model.onnx': file});
      const again = await adaptONNX(files['onnx/model.onnx'] as Uint8Array, adapter);
      expect(again).toEqual({file, inputs, data: new Uint8Array()});
      adapter.dispose();
      [model, base].forEach(disposeModel);
    });
  });

  test.each([
    ['gpt2', 'onnx/model.onnx_data_1', 2],
    ['bert', 'onnx/model.onnx_data', 1],
  ])('and {mode: data}, %s has a second data file, as its config says', async (name, path, count) => {
    await withoutLeaks(async () => {
      const base = await loaded(name);
      const model = applyLoRA(base, {rank: 2, seed: 1, targets: [/attn|query/]});
      stirFactors(model);
      const files = await toONNX(model, {folder: true, merge: false, mode: 'data'});
      const graph = graphOf(files);
      const adapter = getAdapter(model);
      const {inputs} = await adaptONNX(files['onnx/model.onnx'] as Uint8Array, adapter).catch(() =>
        toONNX(base, {folder: true}).then(plain => adaptONNX(plain['onnx/model.onnx'] as Uint8Array, adapter)),
      );
      expect(files[path]).toHaveLength(Object.values(inputs).reduce((sum, {data}) => sum + data.byteLength, 0));
      for (const [input, {data}] of Object.entries(inputs)) {
        expect(graph.initializers.get(input)!.values()).toEqual(data);
      }
      expect(JSON.parse(files['config.json'] as string)).toMatchObject({
        'transformers.js_config': {use_external_data_format: count},
      });
      adapter.dispose();
      [model, base].forEach(disposeModel);
    });
  });

  test('what is not adapted, or no product, is refused, and so are options that do not fit', async () => {
    const base = await loaded('gpt2');
    const before = tf.memory().numTensors;
    await expect(toONNX(base, {folder: true, merge: false})).rejects.toMatchObject({code: 'ERR_NOT_ADAPTED'});
    const model = applyLoRA(base, {rank: 1, targets: [/c_attn$/], bias: 'all'});
    await expect(toONNX(model, {folder: true, merge: false})).rejects.toThrow('its bias is part of the adapter');
    disposeModel(model);
    expect(tf.memory().numTensors).toBe(before);
    for (const [options, message] of [
      [{merge: false}, '{merge: false} is for {folder: true}'],
      [{folder: true, merge: 'no'}, 'merge must be true or false, got "no"'],
      [{folder: true, merge: false, mode: 'file'}, "mode must be 'inputs' or 'data', got \"file\""],
      [{folder: true, mode: 'data'}, 'mode is for {merge: false}'],
    ] as const) {
      await expect(toONNX(base, options as object as {folder: true})).rejects.toThrow(message);
    }
  });
});

test('a model that another copy of the library made is written with its cache', async () => {
  const files: Files[] = [];
  const {config, weights} = fixture('gpt2');
  const base = await loaded('gpt2');
  files.push(await toONNX(base, {folder: true}));
  await jest.isolateModulesAsync(async () => {
    jest.doMock('@tensorflow/tfjs', () => tf);
    const copy = await import('tfjs-lora/transformers');
    expect(copy.loadTransformer).not.toBe(loadTransformer);
    const {model} = await copy.loadTransformer({config, weights, tokenizer: false});
    files.push(await toONNX(model, {folder: true}));
  });
  const [expected, actual] = files.map(graphOf);
  expect(actual).toEqual(expected);
});

test('a hybrid caches what its short convolutions reach', async () => {
  const {model} = await loadGGUF(fileOf('lfm2'));
  const files = await toONNX(model, {folder: true});
  const {layer_types} = JSON.parse(files['config.json'] as string) as {layer_types: string[]};
  const convolutions = layer_types.flatMap((type, i) => (type === 'conv' ? [i] : []));
  const {inputs, outputs} = graphOf(files);
  const shapes = inputs.flatMap(({name, shape}) => (name.startsWith('past_conv.') ? [[name, shape]] : []));
  const layer = model.layers.find(({name}) => name.endsWith('conv/conv'))!;
  const [packed] = layer.inboundNodes[0]!.inputShapes as tf.Shape[];
  const {taps} = layer.getConfig() as {taps: number};
  expect(shapes).toEqual(convolutions.map(i => [`past_conv.${i}`, ['batch_size', packed![2]! / 3, taps]]));
  expect(shapes.length).toBeGreaterThan(0);
  const names = inputs.slice(3).map(({name}) => name.replace(/^past(_key_values)?/, 'present'));
  expect(outputs.map(({name}) => name)).toEqual(['logits', ...names]);
  const attending = names.flatMap(name => /^present\.(\d+)\.key$/.exec(name)?.[1] ?? []);
  expect(attending.map(Number)).toEqual(layer_types.flatMap((type, i) => (type === 'conv' ? [] : [i])));
  disposeModel(model);
});

test('a Whisper with {merge: false} is refused, since it has two graphs', async () => {
  await withoutLeaks(async () => {
    const base = await loaded('whisperTiedText');
    const model = applyLoRA(base, {rank: 1, targets: [/q_proj$/]});
    await expect(toONNX(model, {folder: true, merge: false})).rejects.toThrow(
      /models of one graph, and this model has onnx\/encoder_model.onnx and onnx\/decoder_model_merged.onnx/,
    );
    [model, base].forEach(disposeModel);
  });
});

test('more than 2 GB is refused before a value is read', async () => {
  const model = await loaded('gpt2');
  const layer = model.layers.find(({name}) => name.endsWith('c_fc')) as unknown as {kernel: tf.LayerVariable};
  const read = jest.fn();
  layer.kernel = {shape: [2 ** 15, 2 ** 14], read} as unknown as tf.LayerVariable;
  await expect(toONNX(model, {folder: true})).rejects.toMatchObject({code: 'ERR_TOO_LARGE'});
  expect(read).not.toHaveBeenCalled();
});
