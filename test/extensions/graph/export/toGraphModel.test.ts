import * as tf from '@tensorflow/tfjs';
import {applyLoRA, mergeLoRA, replaceHead, summarizeLoRA} from 'tfjs-lora';
import {fromGraphModel, toGraphModel} from 'tfjs-lora/graph';
import {Gelu} from 'tfjs-lora/transformers';
import {registerResetAfterGRU} from '../../../../src/core/keras/gruResetAfter';
import {disposeModel} from '../../../../src/core/rewire/dispose';
import type {CallOptions, CallProgress} from '../../../../src/platform/signals';
import {numbers, random, withoutLeaks} from '../../../helpers';
import {stirFactors} from '../../../models';
import {artifactsOf, converted, convolution, graphOf, input, node, outputsOf, reloadedGraph} from '../graphs';

const signature = {
  inputs: {
    image: {name: 'x:0', dtype: 'DT_FLOAT', tensorShape: {dim: [1, 6, 6, 2].map(size => ({size: String(size)}))}},
  },
  outputs: {scores: {name: 'Identity:0', dtype: 'DT_FLOAT', tensorShape: {dim: [{size: '1'}, {size: '3'}]}}},
};

/** A convolution with a folded bias, a product with a transposed matrix, and an output of its own name. */
function classifier(): Promise<tf.GraphModel> {
  return graphOf(
    [
      input('x', [1, 6, 6, 2]),
      node('conv', 'Conv2D', ['x', 'k'], convolution({strides: [2, 2]})),
      node('biased', 'AddV2', ['conv', 'b']),
      node('relu', 'Relu', ['biased']),
      node('pooled', 'Mean', ['relu', 'axes']),
      node('scores', 'MatMul', ['pooled', 'w'], {transpose_b: {b: true}}),
      node('Identity', 'Softmax', ['scores']),
    ],
    {
      k: random([3, 3, 2, 4], 1, 0.3),
      b: tf.reshape(random([4], 2), [1, 1, 1, 4]),
      axes: tf.tensor1d([1, 2], 'int32'),
      w: random([3, 4], 3),
    },
    signature,
  );
}

const x = () => random([1, 6, 6, 2], 9);

async function adapted(base: tf.LayersModel): Promise<tf.LayersModel> {
  const model = applyLoRA(base, {rank: 1, seed: 1, bias: 'all'});
  stirFactors(model);
  model.compile({optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError'});
  const y = tf.zerosLike(model.predict(x()) as tf.Tensor);
  await model.trainOnBatch(x(), y);
  return model;
}

test('a trained model becomes its graph again, with the same names and the new weights', async () => {
  const graph = await classifier();
  const model = await adapted(await fromGraphModel(graph));
  const expected = numbers(model.predict(x()) as tf.Tensor);
  const before = numbers(outputsOf(graph, {image: x()})[0]!);
  const written = await reloadedGraph(await toGraphModel(model, graph));
  expect(numbers(outputsOf(written, {image: x()})[0]!)).toBeAllClose(expected);
  expect(expected).not.toBeAllClose(before);
  expect([written.inputNodes, written.outputNodes]).toEqual([['image'], ['scores']]);
  expect((await artifactsOf(written)).signature).toEqual(signature);
  // The graph that it came from is as it was.
  expect(numbers(outputsOf(graph, {image: x()})[0]!)).toEqual(before);
  expect(graph.inputNodes).toEqual(['image']);
});

test('a model that was imported and not trained gives the file that it came from', async () => {
  const graph = await converted('denseNet');
  const written = await artifactsOf(await toGraphModel(await fromGraphModel(graph), graph));
  const original = await artifactsOf(graph);
  expect(written.weightSpecs).toEqual(original.weightSpecs);
  expect(new Uint8Array(written.weightData as ArrayBuffer)).toEqual(
    new Uint8Array(tf.io.CompositeArrayBuffer.join(original.weightData)),
  );
  expect(written.modelTopology).toEqual(original.modelTopology);
});

test('weights that did not change keep their 8 bits; the others have 32 or 16', async () => {
  const graph = await converted('denseNet');
  const given = tf.randomUniform([1, 12, 12, 3], 0, 1, 'float32', 3);
  const base = await fromGraphModel(graph);
  const model = applyLoRA(base, {rank: 1, seed: 1, targets: ['Dense']});
  stirFactors(model);
  const expected = numbers(model.predict(given) as tf.Tensor);
  const merged = mergeLoRA(model);
  for (const [dtype, tolerance] of [
    ['float32', 1e-6],
    ['float16', 2e-3],
  ] as const) {
    const written = await toGraphModel(merged, graph, {dtype});
    const {weightSpecs = []} = await artifactsOf(written);
    const kinds = weightSpecs.map(spec => (spec as {quantization?: {dtype: string}}).quantization?.dtype ?? spec.dtype);
    expect(kinds.filter(kind => kind === 'uint8').length).toBeGreaterThan(3);
    expect(weightSpecs.filter(({name}) => name.includes('merged_kernel')).map(({shape}) => shape)).toEqual([[16, 4]]);
    expect(kinds[weightSpecs.findIndex(({name}) => name.includes('merged_kernel'))]).toBe(dtype);
    const [y] = outputsOf(await reloadedGraph(written), {[graph.inputNodes[0]!]: given});
    expect(numbers(y!)).toBeAllClose(expected, {atol: tolerance, rtol: tolerance});
  }
});

test('a new head is written as nodes, and the output bears its old name', async () => {
  const graph = await classifier();
  const body = await fromGraphModel(graph, {outputs: ['relu']});
  const {layers} = tf;
  const head = [
    layers.conv2d({filters: 5, kernelSize: 2, padding: 'same', activation: 'relu', name: 'more'}),
    layers.batchNormalization({name: 'norm'}),
    layers.maxPooling2d({poolSize: 2, strides: 1, name: 'pool'}),
    layers.dropout({rate: 0.5, name: 'drop'}),
    layers.flatten({name: 'flat'}),
    layers.dense({units: 6, activation: 'tanh', name: 'hidden'}),
    layers.reLU({maxValue: 6, name: 'relu6'}),
    layers.dense({units: 2, useBias: false, name: 'classes'}),
    layers.activation({activation: 'softmax', name: 'softmax'}),
  ];
  const model = await adapted(replaceHead(body, head, {after: 'conv'}));
  const expected = numbers(model.predict(x()) as tf.Tensor);
  const written = await reloadedGraph(await toGraphModel(model, graph));
  expect(written.outputNodes).toEqual(['scores']);
  expect(numbers(outputsOf(written, {image: x()})[0]!)).toBeAllClose(expected);
  // What the old head had is left out.
  expect(Object.keys(written.weights)).not.toContain('w');
  const {outputs} = written.modelSignature as {outputs: {scores: {tensorShape: object}}};
  expect(outputs.scores.tensorShape).toEqual({dim: [{size: '-1'}, {size: '2'}]});
});

const steps = () => tf.layers.reshape({targetShape: [9, 4]});
const BIASED = {biasInitializer: tf.initializers.randomNormal({seed: 3})};

/** Heads over features `[1, 3, 3, 4]`, of layers that ONNX files have too. */
const HEADS: Record<string, () => tf.layers.Layer[]> = {
  'global average pooling': () => [tf.layers.globalAveragePooling2d({name: 'h'})],
  'global max pooling': () => [tf.layers.globalMaxPooling2d({name: 'h'})],
  'average pooling': () => [tf.layers.averagePooling2d({poolSize: 2, name: 'h'})],
  'padded pooling': () => [tf.layers.maxPooling2d({poolSize: 2, padding: 'same', name: 'h'})],
  'a strided convolution': () => [tf.layers.conv2d({filters: 2, kernelSize: 2, strides: 2, padding: 'same'})],
  'a depthwise convolution': () => [tf.layers.depthwiseConv2d({kernelSize: 2, depthMultiplier: 2, name: 'h'})],
  'a separable convolution': () => [tf.layers.separableConv2d({kernelSize: 2, filters: 3, activation: 'swish'})],
  'a transposed convolution': () => [tf.layers.conv2dTranspose({kernelSize: 3, filters: 2, strides: 2})],
  'a transposed convolution with a large kernel': () => [tf.layers.conv2dTranspose({kernelSize: [4, 1], filters: 2, strides: [2, 3]})], // prettier-ignore
  'channels first': () => [tf.layers.conv2d({filters: 2, kernelSize: 1, dataFormat: 'channelsFirst'})],
  'transposed convolutions, channels first': () => [tf.layers.conv2dTranspose({kernelSize: 2, filters: 2, strides: [2, 3], padding: 'same', dataFormat: 'channelsFirst'})], // prettier-ignore
  'upsampling, channels first': () => [tf.layers.upSampling2d({size: [2, 3], dataFormat: 'channelsFirst'})],
  upsampling: () => [tf.layers.upSampling2d({size: [2, 3], name: 'h'})],
  'padding and cropping': () => [tf.layers.zeroPadding2d({padding: 2}), tf.layers.cropping2D({cropping: [[1, 0], [0, 2]]})], // prettier-ignore
  'steps of a sequence': () => [
    tf.layers.reshape({targetShape: [9, 4]}),
    tf.layers.conv1d({filters: 3, kernelSize: 3, strides: 2, padding: 'same'}),
    tf.layers.layerNormalization({}),
    tf.layers.dense({units: 2, activation: 'selu'}),
    tf.layers.globalAveragePooling1d({}),
  ],
  'elementwise layers': () => [
    tf.layers.permute({dims: [3, 1, 2]}),
    tf.layers.prelu({alphaInitializer: 'ones'}),
    tf.layers.elu({}),
    tf.layers.leakyReLU({alpha: 0.1}),
    tf.layers.activation({activation: 'hardSigmoid'}),
    new Gelu({approximate: true}),
    tf.layers.activation({activation: 'softsign'}),
    tf.layers.thresholdedReLU({theta: 0.3}),
    tf.layers.softmax({axis: -1}),
  ],
  'an LSTM': () => [steps(), tf.layers.lstm({units: 3, ...BIASED})],
  'a GRU that goes backwards': () => [steps(), tf.layers.gru({units: 3, goBackwards: true, ...BIASED})],
  'sequences of a GRU that goes backwards': () => [
    steps(),
    tf.layers.gru({units: 3, goBackwards: true, returnSequences: true, recurrentActivation: 'sigmoid', ...BIASED}),
  ],
  'a simple RNN without a bias': () => [steps(), tf.layers.simpleRNN({units: 3, useBias: false, activation: 'relu'})],
  'a stack of cells': () => [
    steps(),
    tf.layers.rnn({
      cell: [tf.layers.lstmCell({units: 3, ...BIASED}), tf.layers.gruCell({units: 2, ...BIASED})],
      returnSequences: true,
    }),
  ],
  'both directions of an LSTM': () => [
    steps(),
    tf.layers.bidirectional({
      layer: tf.layers.lstm({units: 3, returnSequences: true, ...BIASED}),
      mergeMode: 'concat',
    }),
    tf.layers.bidirectional({layer: tf.layers.gru({units: 2, ...BIASED}), mergeMode: 'ave'}),
  ],
  'a GRU that resets after the product': () => {
    const {layer} = registerResetAfterGRU();
    const cls = tf.serialization.SerializationMap.getMap().classNameMap[layer]![0];
    return [steps(), new cls({units: 3, returnSequences: true, ...BIASED}) as unknown as tf.layers.Layer];
  },
  'a log softmax': () => [tf.layers.dense({units: 3, activation: 'logSoftmax' as 'softmax'})],
};

test.each(Object.entries(HEADS))('%s can be a head', async (_, makeHead) => {
  const graph = await classifier();
  const model = replaceHead(await fromGraphModel(graph, {outputs: ['relu']}), makeHead(), {after: 'conv'});
  const written = await reloadedGraph(await toGraphModel(model, graph));
  const expected = model.predict(x()) as tf.Tensor;
  const [actual] = outputsOf(written, {image: x()});
  expect(actual!.shape).toEqual(expected.shape);
  expect(numbers(actual!)).toBeAllClose(numbers(expected));
});

test('heads of images of any size can be written, and imported again', async () => {
  const graph = await graphOf([input('x', [-1, -1, -1, 2]), node('y', 'Conv2D', ['x', 'k'], convolution({}))], {
    k: random([3, 3, 2, 4], 1, 0.3),
  });
  const {conv2dTranspose, upSampling2d} = tf.layers;
  const head = [upSampling2d({size: [2, 3]}), conv2dTranspose({kernelSize: 3, filters: 2, strides: 2})];
  const model = replaceHead(await fromGraphModel(graph), head, {after: 'y'});
  const written = await reloadedGraph(await toGraphModel(model, graph));
  const again = await fromGraphModel(written);
  for (const shape of [
    [2, 3, 5, 2],
    [1, 7, 4, 2],
  ]) {
    const images = random(shape, 8);
    const expected = model.predict(images) as tf.Tensor;
    for (const actual of [outputsOf(written, {x: images})[0]!, again.predict(images) as tf.Tensor]) {
      expect(actual.shape).toEqual(expected.shape);
      expect(numbers(actual)).toBeAllClose(numbers(expected));
    }
  }
});

test('a recurrent head is written once for each step, for any number of sequences, and imported again', async () => {
  const graph = await graphOf([input('x', [-1, 5, 4]), node('y', 'Relu', ['x'])], {});
  const head = [tf.layers.lstm({units: 3, returnSequences: true}), tf.layers.gru({units: 2})];
  const model = replaceHead(await fromGraphModel(graph), head, {after: 'y'});
  stirFactors(model);
  const written = await reloadedGraph(await toGraphModel(model, graph));
  const again = await fromGraphModel(written);
  for (const count of [1, 3]) {
    const sequences = random([count, 5, 4], count);
    const expected = numbers(model.predict(sequences) as tf.Tensor);
    expect(numbers(outputsOf(written, {x: sequences})[0]!)).toBeAllClose(expected);
    expect(numbers(again.predict(sequences) as tf.Tensor)).toBeAllClose(expected);
  }
});

test('a recurrent head over a number of steps that is open is refused', async () => {
  const graph = await graphOf([input('x', [-1, -1, 4]), node('y', 'Relu', ['x'])], {});
  const head = [tf.layers.gru({units: 2, name: 'memory'})];
  const model = replaceHead(await fromGraphModel(graph), head, {after: 'y'});
  await expect(toGraphModel(model, graph)).rejects.toThrow('Layer "memory": The number of its steps is open');
});

test('a head computes the same bits as the operations of tfjs', async () => {
  const graph = await classifier();
  const body = await fromGraphModel(graph, {outputs: ['relu']});
  const [norm, dense] = [tf.layers.batchNormalization({name: 'norm'}), tf.layers.dense({units: 2, name: 'd'})];
  const model = replaceHead(body, [norm, tf.layers.flatten(), dense], {after: 'conv'});
  model.getLayer('norm').setWeights([1, 2, 3, 4].map(seed => tf.abs(random([4], seed))));
  const features = graph.execute({image: x()}, 'relu') as tf.Tensor;
  const [gamma, beta, mean, variance] = model.getLayer('norm').getWeights() as [tf.Tensor, ...tf.Tensor[]];
  const factor = tf.div(gamma, tf.sqrt(tf.add(variance!, 1e-3)));
  const normal = tf.add(tf.mul(features, factor), tf.sub(beta!, tf.mul(mean!, factor)));
  const [kernel, bias] = model.getLayer('d').getWeights() as [tf.Tensor2D, tf.Tensor];
  const expected = tf.add(tf.matMul(tf.reshape(normal, [1, -1]), kernel), bias);
  const [actual] = outputsOf(await toGraphModel(model, graph), {image: x()});
  expect(numbers(actual!)).toEqual(numbers(expected));
});

test('layers that no nodes compute are refused by name, and so are models that are not of the graph', async () => {
  const graph = await classifier();
  const body = await fromGraphModel(graph, {outputs: ['relu']});
  const images = tf.layers.reshape({targetShape: [3, 3, 2, 2]});
  const memory = tf.layers.convLstm2d({filters: 2, kernelSize: 1, name: 'memory'}) as tf.layers.Layer;
  const odd = replaceHead(body, [images, memory], {after: 'conv'});
  const other = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
  await withoutLeaks(async () => {
    await expect(toGraphModel(odd, graph)).rejects.toThrow(
      /Layer "memory": GraphModels lack the operation ConstantOfShape/,
    );
    await expect(toGraphModel(other, graph)).rejects.toThrow(/None of its layers is from the graph/);
    await expect(toGraphModel(body, graph, {dtype: 'uint8'} as object)).rejects.toThrow(/the update would be lost/);
  });
});

test('weights that are too large for 16 bits are refused', async () => {
  const graph = await classifier();
  const model = await fromGraphModel(graph);
  model.getLayer('scores').setWeights([tf.fill([4, 3], 1e6)]);
  await expect(toGraphModel(model, graph, {dtype: 'float16'})).rejects.toThrow(/too large for float16/);
});

test('weights that are not finite are refused by name, those of a new head too, unless they are allowed', async () => {
  const graph = await classifier();
  const model = await fromGraphModel(graph);
  model.getLayer('scores').setWeights([tf.fill([4, 3], NaN)]);
  const body = await fromGraphModel(graph, {outputs: ['relu']});
  const head = [tf.layers.flatten({name: 'flat'}), tf.layers.dense({units: 2, name: 'classes'})];
  const headed = replaceHead(body, head, {after: 'conv'});
  const [kernel] = headed.getLayer('classes').getWeights() as [tf.Tensor];
  headed.getLayer('classes').setWeights([tf.fill(kernel.shape, Infinity), tf.zeros([2])]);
  await withoutLeaks(async () => {
    await expect(toGraphModel(model, graph)).rejects.toThrow('scores/kernel: NaN or infinite, so nothing is written.');
    await expect(toGraphModel(headed, graph)).rejects.toThrow(/classes.*: NaN or infinite, so nothing is written\./);
  });
  const written = await toGraphModel(model, graph, {allowNonFinite: true});
  expect(
    Object.values(written.weights)
      .flat()
      .some(tensor => numbers(tensor).every(Number.isNaN)),
  ).toBe(true);
});

test('an adapted model is merged on the way, stays adapted, and nothing is left behind', async () => {
  const graph = await classifier();
  await withoutLeaks(async () => {
    const base = await fromGraphModel(graph);
    const model = applyLoRA(base, {rank: 1, seed: 1});
    stirFactors(model);
    const merged = mergeLoRA(model);
    await withoutLeaks(async () => {
      const [written, expected] = [await toGraphModel(model, graph), await toGraphModel(merged, graph)];
      expect((await artifactsOf(written)).weightData).toEqual((await artifactsOf(expected)).weightData);
      [written, expected].forEach(each => each.dispose());
    });
    expect(summarizeLoRA(model).trainableParameters).toBeGreaterThan(0);
    [merged, model, base].forEach(disposeModel);
  });
});

test('an aborted call, or one whose onProgress throws, changes and leaves nothing', async () => {
  const graph = await classifier();
  const base = await fromGraphModel(graph, {outputs: ['relu']});
  const head = [tf.layers.flatten({name: 'flat'}), tf.layers.dense({units: 2, name: 'classes'})];
  const model = applyLoRA(replaceHead(base, head, {after: 'conv'}), {rank: 1, seed: 1});
  stirFactors(model);
  const before = numbers(model.predict(x()) as tf.Tensor);
  const calls: ((options: CallOptions) => Promise<{dispose: () => void}>)[] = [
    async options => ({dispose: disposeModel.bind(null, await fromGraphModel(graph, options))}),
    options => toGraphModel(model, graph, options),
  ];
  for (const call of calls) {
    const reports: CallProgress[] = [];
    (await call({onProgress: progress => reports.push(progress)})).dispose();
    expect(reports.length).toBeGreaterThan(6);
    expect(reports.at(-1)!.done).toBe(reports.at(-1)!.total);
    for (const [moment] of reports.entries()) {
      await withoutLeaks(async () => {
        const controller = new AbortController();
        const reason = new Error(`at step ${moment}`);
        let step = 0;
        const onProgress = () => {
          if (step++ === moment) {
            controller.abort(reason);
          }
        };
        const error: unknown = await call({signal: controller.signal, onProgress}).catch((thrown: unknown) => thrown);
        expect(error).toMatchObject({code: 'ERR_ABORTED', cause: reason});
        const failing = () => {
          if (step-- === 1) {
            throw reason;
          }
        };
        await expect(call({onProgress: failing})).rejects.toBe(reason);
      });
    }
    await expect(call({signal: AbortSignal.abort()})).rejects.toMatchObject({code: 'ERR_ABORTED'});
    await expect(call({signal: {} as AbortSignal})).rejects.toThrow('signal must be an AbortSignal');
  }
  expect(numbers(model.predict(x()) as tf.Tensor)).toEqual(before);
});

test('a matrix that two nodes share is one constant again', async () => {
  const graph = await graphOf([input('x', [-1, 4]), node('a', 'MatMul', ['x', 'k']), node('y', 'MatMul', ['a', 'k'])], {
    k: random([4, 4], 2),
  });
  const model = applyLoRA(await fromGraphModel(graph), {rank: 1, seed: 1});
  stirFactors(model);
  const given = random([2, 4], 1);
  const written = await toGraphModel(model, graph);
  expect(Object.keys(written.weights)).toEqual(['a/merged_kernel']);
  expect(numbers(outputsOf(written, {x: given})[0]!)).toBeAllClose(numbers(model.predict(given) as tf.Tensor));
});

test('what was imported behind a cut is written into the whole graph', async () => {
  const graph = await classifier();
  const model = applyLoRA(await fromGraphModel(graph, {inputs: ['pooled'], inputShapes: {pooled: [4]}}), {rank: 1});
  stirFactors(model);
  const written = await toGraphModel(model, graph);
  const [pooled] = outputsOf(graph, {image: x()}, ['pooled']);
  expect(numbers(outputsOf(written, {image: x()})[0]!)).toBeAllClose(numbers(model.predict(pooled!) as tf.Tensor));
});
