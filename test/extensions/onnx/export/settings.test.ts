import * as tf from '@tensorflow/tfjs';
import {registerResetAfterGRU} from '../../../../src/core/keras/gruResetAfter';
import {SeparableConv1D, Subtract} from '../../../../src/core/keras/kerasLayer';
import {MaskedBidirectional} from '../../../../src/core/keras/maskedBidirectional';
import {FusedConv2D, FusedDepthwiseConv2D} from '../../../../src/extensions/graph/layers/fusedConvolution';
import {readOnnx} from '../../../../src/extensions/onnx/file/readOnnx';
import {Call} from '../../../../src/extensions/onnx/layers/call';
import {LAYERS, writeCalls} from '../../../../src/extensions/onnx/layers/layers';
import {GraphWriter, Tensor, typeNumberOf} from '../../../../src/extensions/onnx/write/graphWriter';
import {QuantizedDense} from '../../../../src/extensions/quantized/layers/quantizedDense';
import {QuantizedEmbedding} from '../../../../src/extensions/quantized/layers/quantizedEmbedding';
import {RelativeBias} from '../../../../src/extensions/transformers/layers/relativeBias';
import {disposeModel} from '../../../../src/index';
import {toONNX} from '../../../../src/onnx';
import {loadTransformer} from '../../../../src/transformers';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';
import {stir} from '../../../models';
import {fixture} from '../../transformers/fixtures';
import {MASKED, type MaskedCase} from './maskedModels';
import {inputsOf, MODELS} from './models';

beforeAll(() => useBackend('cpu'));

/** Transformers that have a layer of every class between them. */
const TRANSFORMERS = [
  ...['beit', 'clipPairs', 'convnextV2Pooled', 'debertaClasses', 'dinov3', 'gemma2Tied', 'mobilebertChoices'],
  ...['mobilevit', 'resnet', 'segformerPositions', 'siglip2', 'siglipPairs', 'swin', 'swinV2Pooled'],
  ...['t5', 'wav2vec2', 'wav2vec2CTC', 'whisper'],
];

function modelOf(shape: number[], layer: tf.layers.Layer): tf.LayersModel {
  const inputs = [tf.input({shape}), ...(layer instanceof Subtract ? [tf.input({shape})] : [])];
  return tf.model({inputs, outputs: layer.apply(inputs.length > 1 ? inputs : inputs[0]!) as tf.SymbolicTensor});
}

function madeGRU(): tf.layers.Layer {
  const [cls, fromConfig] = tf.serialization.SerializationMap.getMap().classNameMap[registerResetAfterGRU().layer]!;
  return fromConfig(cls, {units: 2, name: 'd'}) as tf.layers.Layer;
}

/** Models of layers that neither tf.layers nor transformers give. */
const OTHERS: readonly (() => tf.LayersModel)[] = [
  () => modelOf([3], new Subtract({name: 'a'})),
  () => modelOf([5, 2], new SeparableConv1D({filters: 2, kernelSize: [1, 2], name: 'b'})),
  () =>
    modelOf([5, 2], new MaskedBidirectional({layer: tf.layers.lstm({units: 2}) as never, mergeMode: 'sum', name: 'c'})),
  () => modelOf([5, 2], madeGRU()),
  () => modelOf([4, 4, 2], new FusedConv2D({filters: 2, kernelSize: 2, name: 'e'})),
  () => modelOf([4, 4, 2], new FusedDepthwiseConv2D({kernelSize: 2, name: 'f'})),
  () => modelOf([32], new QuantizedDense({units: 2, blocks: {name: 'Q8_0'}, name: 'g'})),
  () => modelOf([3], new QuantizedEmbedding({inputDim: 2, outputDim: 32, blocks: {name: 'Q8_0'}, name: 'g'})),
];

test('a bias for distances is written for texts so short that no distance is far', async () => {
  const model = modelOf([5, 2], new RelativeBias({heads: 2, maxDistance: 100}));
  await expect(toONNX(model)).resolves.toBeInstanceOf(Uint8Array);
});

test('all settings of all layers are written, or change no predictions', async () => {
  const found = new Map<string, Set<string>>();
  const {value: unread} = Object.getOwnPropertyDescriptor(Call.prototype, 'unread') as {value: Call['unread']};
  jest.spyOn(Call.prototype, 'unread').mockImplementation(function (this: Call) {
    const settings = unread.call(this);
    const name = this.layer.getClassName();
    found.set(name, new Set([...(found.get(name) ?? []), ...settings.map(([setting]) => setting)]));
    return settings;
  });
  const write = (model: tf.LayersModel) => {
    model.countParams(); // a Sequential lays out its graph when it is first used
    const known = model.inputs.map(input => {
      return [input, new Tensor(input.shape, typeNumberOf(input.dtype), input.name)] as const;
    });
    writeCalls(new GraphWriter(17), model, new Map(known));
    disposeModel(model);
  };
  MODELS.filter(({name}) => !/open sizes|stride 2|dilation 2|with a mask/.test(name)).forEach(({make}) =>
    write(make()),
  );
  OTHERS.forEach(make => write(make()));
  for (const name of TRANSFORMERS) {
    const {config, weights, tied, pooling} = fixture(name);
    write((await loadTransformer({config, weights, tied, pooling, tokenizer: false})).model);
  }
  expect([...found.keys()].sort()).toEqual(Object.keys(LAYERS).sort());
  expect([...found].filter(([, settings]) => settings.size > 0)).toEqual([]);
});

test('a setting that the writer does not know is refused by the names of its layer and its own', async () => {
  const model = tf.sequential({
    layers: [
      tf.layers.dense({units: 2, inputShape: [4, 3], name: 'first'}),
      tf.layers.lstm({units: 2, name: 'second'}),
    ],
  });
  const [first, second] = model.layers as [tf.layers.Layer, tf.layers.Layer & {cell: tf.layers.Layer}];
  for (const [layer, more] of [
    [first, {gates: {order: 'later'}, more: null}],
    [second.cell, {clip: 3}],
  ] as const) {
    const config = layer.getConfig();
    jest.spyOn(layer, 'getConfig').mockReturnValue({...config, ...more});
  }
  await expect(toONNX(model)).rejects.toMatchObject({
    code: 'ERR_UNSUPPORTED',
    faults: [
      'Layer "first": The class Dense with gates.order: "later" cannot be written.',
      'Layer "second": The class LSTM with clip: 3 cannot be written.',
    ],
  });
});

beforeAll(() => useBackend('cpu'));

/** What tfjs predicts for token ids, some of which are 0, or `undefined` if it throws. */
function predicted(model: tf.LayersModel, each: MaskedCase): number[] | undefined {
  return tf.tidy(() => {
    try {
      return numbers(model.predict(inputsOf(model, each, 3)) as tf.Tensor);
    } catch {
      return undefined;
    }
  });
}

/** Whether a recurrent operation of a file gets the lengths of its sequences, or a softmax hides values. */
function readsMask(file: Uint8Array): boolean {
  const {nodes} = readOnnx(file).graph;
  const isSum = (name: string | undefined) => nodes.some(({op, outputs}) => op === 'Add' && outputs[0] === name);
  return nodes.some(
    ({op, inputs}) =>
      (/^(?:LSTM|GRU|RNN)$/.test(op) && (inputs[4] ?? '') !== '') ||
      (op === 'Softmax' && isSum(inputs[0]) && nodes.some(node => node.op === 'Sub')),
  );
}

/** tfjs runs these, with a part of the mask of all steps on each step, and with states at masked steps. */
const REFUSED = /timeDistributed LSTM|: states of a decoder/;

test.each(MASKED)('$name: the file skips the steps that tfjs skips, or is refused', async each => {
  await withoutLeaks(async () => {
    const [model, plain] = [each.make(), each.make(false)];
    // Drawn without a seed, embeddings may all stay below a threshold, and then a mask changes nothing.
    stir(model);
    plain.setWeights(model.getWeights());
    const [expected, unmasked] = [predicted(model, each), predicted(plain, each)];
    if (expected === undefined || REFUSED.test(each.name)) {
      await expect(toONNX(model)).rejects.toThrow(
        /Layer ".+": .*(?:eave out the mask|reads no mask|Leave one of them out)/,
      );
    } else {
      const differs = expected.some((value, i) => Math.abs(value - unmasked![i]!) > 1e-6);
      expect(readsMask(await toONNX(model))).toBe(differs);
    }
    expect(readsMask(await toONNX(plain))).toBe(false);
    [model, plain].forEach(disposeModel);
  });
});
